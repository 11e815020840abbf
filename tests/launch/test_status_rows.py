"""When two failures are the same."""

from __future__ import annotations

import pytest

from deepmac_ablate.launch.status_rows import normalised


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
def test_what_varies_from_trial_to_trial_does_not_count(one, other):
    """Numbers, hexadecimal digits, paths and shapes."""
    assert normalised(one) == normalised(other)


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
def test_other_words_are_other_causes(one, other):
    """Names stay as they are, digits in them included."""
    assert normalised(one) != normalised(other)


def test_words_are_not_taken_for_numbers():
    """Neither hexadecimal ones without digits nor those that begin like infinity."""
    text = "Fabaceae: the effaced information of nan-like decades"
    assert "Fabaceae: the effaced information of N-like decades" == normalised(text)
