"""Validation process: reads configurations from stdin, a JSON line each, and writes results."""

from __future__ import annotations

import json
import os
import sys

from deepmac_ablate.sweep.validation.validation_result import ArmConfig, ValidationResult


def main() -> None:
    """Validate configurations without their datasets; results are written as they are found."""
    # Read all lines first, so that the sender never has to read and write at the same time.
    lines = [json.loads(line) for line in sys.stdin]
    configs = [
        ArmConfig(fields["label"], tuple(fields["gin_files"]), tuple(fields["bindings"]))
        for fields in lines]
    # Users' modules may print; keep their output apart from the results.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    from deepmac_ablate.sweep.validation.limits import limit_memory
    from deepmac_ablate.sweep.validation.validator import validate_configs

    limit_memory()

    def write(index: int, result: ValidationResult) -> None:
        print(json.dumps({"index": index, "result": result.to_json()}), file=out, flush=True)

    validate_configs(configs, write)


if __name__ == "__main__":
    main()
