"""Candidates in on stdin, a JSON line each; verdicts out on stdout, as soon as they are found."""

from __future__ import annotations

import json
import os
import sys

from deepmac_ablate.sweep.validation.verdict import Candidate, Verdict


def main() -> None:
    """Judge candidates without a look at datasets."""
    # All of them first, so that whoever writes them need not read verdicts at the same time.
    lines = [json.loads(line) for line in sys.stdin]
    candidates = [
        Candidate(it["label"], tuple(it["gin_files"]), tuple(it["bindings"])) for it in lines]
    # What users' modules print must not get between the verdicts.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    from deepmac_ablate.sweep.validation.validate import judge_all

    def write(index: int, verdict: Verdict) -> None:
        print(json.dumps({"index": index, "verdict": verdict.to_json()}), file=out, flush=True)

    judge_all(candidates, write)


if __name__ == "__main__":
    main()
