"""The names of noise on boxes, and which noise there is."""

from __future__ import annotations

import pytest

from deepmac_ablate import box_jitter
from deepmac_ablate.box_jitter import Jitter
from deepmac_ablate.errors import UserError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("jittered0.1", Jitter(0.1, "default")),
        ("jittered0", Jitter(0.0, "default")),
        ("jittered0.05-shrink_symmetric_xy", Jitter(0.05, "shrink_symmetric_xy")),
        ("jittered2-expand", Jitter(2.0, "expand")),
    ],
)
def test_a_name_says_ratio_and_mode(name, expected):
    """Names are read back from what they were written from."""
    assert expected == box_jitter.parse_jitter(name)
    assert name == expected.name


def test_a_small_ratio_has_a_name_without_exponent():
    """1e-05 is no part of the grammar."""
    assert Jitter(1e-05).name == "jittered0.00001"
    assert box_jitter.parse_jitter(Jitter(1e-05).name) == Jitter(1e-05)


@pytest.mark.parametrize("name", ["detections", "groundtruth", "jitter0.1", "jittered", ""])
def test_other_names_name_no_noise(name):
    """They are left to whoever knows them."""
    assert box_jitter.parse_jitter(name) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("jittered0.1-shrnk", r"^Unknown jitter mode 'shrnk'\. Did you mean 'shrink'\? Known are "),
        ("jittered1", r"ratio 1\.0 makes no sense in mode 'default'; .* 0 and less than 1"),
        ("jittered1.5-shrink", r"ratio 1\.5 makes no sense in mode 'shrink'"),
        ("jittered0.10", r"^Jittered boxes 'jittered0\.10' are called 'jittered0\.1'\.$"),
        ("jittered0.1-default", r"'jittered0\.1-default' are called 'jittered0\.1'"),
    ],
)
def test_mistakes_are_named(name, message):
    """What looks like noise but is none is refused in a sentence."""
    with pytest.raises(UserError, match=message):
        box_jitter.parse_jitter(name)


@pytest.mark.parametrize(("ratio", "bound"), [(-0.1, "at least 0"), (float("nan"), "at least 0")])
def test_a_ratio_is_a_share(ratio, bound):
    """Negative ratios and what is no number are refused, in growing modes too."""
    with pytest.raises(UserError, match=bound):
        Jitter(ratio, "expand")
