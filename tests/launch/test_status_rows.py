"""Summaries of the trials of a sweep, and the comparison of causes of failure."""

from __future__ import annotations

import hashlib

import pytest

from deepmac_ablate.launch.status_rows import TrialRow, error_signature, status_summary


def row(number, status, arm="baseline", **fields):
    """A trial with an id of twelve digits."""
    trial_id = hashlib.sha256(str(number).encode()).hexdigest()[:12]
    fields = {"steps": 1000, "attempt": int(status != "new"), **fields}
    return TrialRow(trial_id, arm, number, status, **fields)


def nan(number, **fields):
    """A trial that failed, with its number in the cause."""
    cause = f"The loss is nan between steps {number} and {number + 10}."
    return row(number, "failed", cause=cause, **fields)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The loss is nan between steps 100 and 110; a lower learning rate may help.",
         "The loss is inf between steps 2000 and 2010; a lower learning rate may help."),
        ("There is no gin file '/home/a/x.gin'.", "There is no gin file '../y-2.gin'."),
        ("gin/experiments/coco.gin:17 'A.x = 1': no", "gin/mask_heads/deep.gin:3 'A.x = 2': no"),
        ("gs://bucket/sweep/trials/5feceb66ffc8/checkpoints is gone",
         "gs://other/trials/6b86b273ff34/checkpoints is gone"),
        ("trial 5feceb66ffc8 at 0x7f3a", "trial 6b86b273ff34 at 0X11"),
        ("OOM when allocating tensor with shape[2,32,32,256] and type float",
         "OOM when allocating tensor with shape[8, 2048] and type float"),
        ("rate 1e-05 and -0.5", "rate 0.1 and 3."),
        ("layer conv2d_17 has no gradient", "layer conv2d_3 has no gradient"),
        ("no sign of  life\nfor 600 s", "no sign of life for 60.5 s"),
    ],
)  # fmt: skip
def test_causes_that_differ_in_details_are_equal(one, other):
    """Numbers, hexadecimal digits, paths and shapes do not count."""
    assert error_signature(one) == error_signature(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("killed by SIGKILL (out of memory?)", "killed by SIGTERM"),
        ("cannot cast float32", "cannot cast float16"),
        ("ValueError: x must be 3", "TypeError: x must be 3"),
        ("no configurable is called 'deadhead'", "no configurable is called 'facade'"),
        ("the information is missing", "the nanny is missing"),
        ("", "N"),
    ],
)
def test_causes_with_different_words_differ(one, other):
    """Names count in full, including their digits."""
    assert error_signature(one) != error_signature(other)


def test_words_are_not_taken_for_numbers():
    """Neither hexadecimal letters without digits nor words that begin like "inf" do."""
    text = "Fabaceae: the effaced information of nan-like decades"
    assert "Fabaceae: the effaced information of N-like decades" == error_signature(text)


def test_the_summary_groups_failures_by_cause():
    """The largest group comes first, each with an example and its log; all trials are counted."""
    rows = [
        row(1, "failed", "crop 32", cause="killed by SIGKILL (out of memory?)",
            log="trials/x/logs/train-3.log"),
        nan(2), nan(3), *(row(n, "finished") for n in range(4, 16)),
        row(16, "interrupted"), row(17, "interrupted"), nan(18)]
    assert (
        "3 failed: The loss is nan between steps 2 and 12.\n"
        f"    for example {rows[1].id} (baseline, seed 2): trials/{rows[1].id}/logs\n"
        "1 failed: killed by SIGKILL (out of memory?)\n"
        f"    for example {rows[0].id} (crop 32, seed 1): trials/x/logs/train-3.log\n"
        "12 finished, 4 failed, 2 interrupted, 0 missing") == status_summary(rows)


def test_the_summary_counts_missing_running_and_queued_trials():
    """Trials that never started are missing; those that run or wait are counted at the end."""
    rows = [row(1, "new"), row(2, "new"), row(3, "running"), row(4, "failed"), row(5, "queued")]
    assert [
        "1 failed: unknown cause",
        "0 finished, 1 failed, 0 interrupted, 2 missing, 1 running, 1 queued",
    ] == status_summary(rows).splitlines()[::2]
