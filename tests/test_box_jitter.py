"""Names and ranges of jitter on boxes."""

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
    """Parsing a name gives the jitter that has this name."""
    assert expected == box_jitter.parse_jitter(name)
    assert name == expected.name


def test_a_small_ratio_has_a_name_without_exponent():
    """Names never contain an exponent such as 1e-05."""
    assert Jitter(1e-05).name == "jittered0.00001"
    assert box_jitter.parse_jitter(Jitter(1e-05).name) == Jitter(1e-05)


@pytest.mark.parametrize("name", ["detections", "groundtruth", "jitter0.1", "jittered", ""])
def test_other_names_are_not_jitter(name):
    """Names of other box sources are not parsed."""
    assert box_jitter.parse_jitter(name) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("jittered0.1-shrnk", r"^Unknown jitter mode 'shrnk'\. Did you mean 'shrink'\? Known "),
        ("jittered1", r"must be at least 0 and less than 1 in mode 'default', got 1\.0\.$"),
        ("jittered1.5-shrink", r"ratio must be .* in mode 'shrink', got 1\.5\.$"),
        ("jittered0.10", r"^Box source 'jittered0\.10' must be spelled 'jittered0\.1'\.$"),
        ("jittered0.1-default", r"'jittered0\.1-default' must be spelled 'jittered0\.1'"),
    ],
)
def test_mistakes_are_named(name, message):
    """Malformed names of jittered boxes are refused with one sentence."""
    with pytest.raises(UserError, match=message):
        box_jitter.parse_jitter(name)


@pytest.mark.parametrize(("ratio", "bound"), [(-0.1, "at least 0"), (float("nan"), "at least 0")])
def test_a_ratio_has_a_lower_bound(ratio, bound):
    """Negative ratios and NaN are refused, even in modes in which boxes only grow."""
    with pytest.raises(UserError, match=bound):
        Jitter(ratio, "expand")
