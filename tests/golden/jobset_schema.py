"""Writes what JobSet's published definition says of its own fields, for `tests/cloud`.

    curl -LO https://raw.githubusercontent.com/kubernetes-sigs/jobset/v0.12.0/\
config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml
    python tests/golden/jobset_schema.py jobset.x-k8s.io_jobsets.yaml

Writes `jobset_schema.json` beside this file: the structural schema of version v1alpha2 in JobSet
v0.12.0 (Apache-2.0), without descriptions and rules in CEL. The template of a Job, most of the
original, is a reference to Kubernetes' own schema. As in the strict ones of Kubernetes, a field
that is not listed is an error.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

_TEMPLATE = "https://kubernetes.io/api/_definitions.json#/$defs/io.k8s.api.batch.v1.JobTemplateSpec"
_METADATA = ("https://kubernetes.io/api/_definitions.json"
             "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
_KEPT = {"type", "enum", "required", "properties", "items", "minimum", "maximum", "minLength",
         "maxLength", "maxItems", "pattern"}


def structure(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema's types, enumerations, bounds and required fields."""
    kept = {key: value for key, value in schema.items() if key in _KEPT}
    if "items" in kept:
        kept["items"] = structure(kept["items"])
    if "properties" in kept:
        kept["properties"] = {n: structure(field) for n, field in kept["properties"].items()}
        kept["additionalProperties"] = False
    return kept


def main() -> None:
    """Read the definition that is named on the command line."""
    definition = yaml.safe_load(Path(sys.argv[1]).read_text())
    version, = (v for v in definition["spec"]["versions"] if v["name"] == "v1alpha2")
    schema = version["schema"]["openAPIV3Schema"]
    schema["properties"]["metadata"] = {}
    fields = schema["properties"]["spec"]["properties"]
    # Volumes that JobSet makes; a third of the whole for what no test uses.
    del fields["volumeClaimPolicies"]
    fields["replicatedJobs"]["items"]["properties"]["template"] = {}
    found = structure(schema)
    found["properties"]["metadata"] = {"$ref": _METADATA}
    jobs = found["properties"]["spec"]["properties"]["replicatedJobs"]
    jobs["items"]["properties"]["template"] = {"$ref": _TEMPLATE}
    found["required"] = ["apiVersion", "kind", "metadata", "spec"]
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
