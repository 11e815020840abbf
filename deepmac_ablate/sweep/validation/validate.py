"""Validate candidates in this process, which takes TensorFlow; `client` does it from another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deepmac_ablate import bindings
from deepmac_ablate.errors import UserError
from deepmac_ablate.sweep.validation.judge import Judge
from deepmac_ablate.sweep.validation.model_keys import ModelKeys, model_keys
from deepmac_ablate.sweep.validation.verdict import Candidate, Verdict, with_data


def validate(
    candidates: Sequence[Candidate],
    progress: Callable[[int, Verdict], None] = lambda index, verdict: None,
) -> list[Verdict]:
    """Judge candidates, and whether the datasets that are in reach suit them.

    Args:
        candidates: what to judge.
        progress: is told the index of each candidate and its verdict, without its data, once it is
            found; the order is not that of the candidates.

    Returns:
        A verdict for each candidate; all problems of all of them are in it.
    """
    return with_data(judge_all(candidates, progress))


def judge_all(
    candidates: Sequence[Candidate],
    progress: Callable[[int, Verdict], None] = lambda index, verdict: None,
) -> list[Verdict]:
    """Judge candidates without a look at datasets; see `validate`."""
    verdicts: dict[int, Verdict] = {}

    def note(index: int, verdict: Verdict) -> None:
        verdicts[index] = verdict
        progress(index, verdict)

    waiting: list[tuple[ModelKeys, int, bindings.Text]] = []
    for index, candidate in enumerate(candidates):
        try:
            text = bindings.read(candidate.gin_files, candidate.bindings)
        except UserError as problem:
            note(index, Verdict(candidate.label, (str(problem),)))
        else:
            waiting.append((model_keys(text.bindings), index, text))
    judge = Judge()
    with bindings.isolated():
        # Those with one trunk after each other, as the judge keeps only the last one.
        for keys, index, text in sorted(waiting, key=lambda each: (each[0].trunk, each[1])):
            note(index, judge.judge(candidates[index].label, text, keys))
    return [verdicts[index] for index in range(len(candidates))]
