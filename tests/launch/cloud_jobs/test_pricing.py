"""Hours and money, against calculations by hand; and the file of prices."""

from __future__ import annotations

import dataclasses
import datetime

import pytest

from deepmac_ablate.cloud.devices import device_names, get_device
from deepmac_ablate.launch.cloud_jobs.pricing import Price, estimate_training, find_price
from deepmac_ablate.sweep.validation.cost import Cost

# 100 10^9 multiply-adds an image: 3 * 100 * 90,000 * 64 of them in all, twice as many operations,
# that is 3.456e18.
COST = Cost(
    parameters=46_000_000, trainable_parameters=45_000_000, backbone_gmacs=50.0, box_gmacs=30.0,
    mask_gmacs=0.2, mask_boxes=100, checkpoint_bytes=364, checkpoints=2, steps=90_000,
    batch_size=64)
PRICE = Price(1.2, 0.25, "us-central1", "2026-11-25", "a page", confirmed=True)


def test_an_estimate_by_multiply_adds():
    """A tenth of 16 chips of 197 teraflops each is 3.152e14 per second, so 10,964 seconds."""
    found = estimate_training(COST, get_device("v5e-16"), PRICE)
    assert 3.0457 == pytest.approx(found.hours, rel=1e-4)
    assert 48.731 == pytest.approx(found.chip_hours, rel=1e-4)
    assert 58.477 == pytest.approx(found.usd, rel=1e-4)
    assert 12.183 == pytest.approx(found.usd_spot, rel=1e-4)
    assert not found.measured


def test_an_estimate_by_pace():
    """90,000 steps at 5 a second are 5 hours, whatever the device's peak."""
    found = estimate_training(COST, get_device("v5e-16"), PRICE, 5.0)
    assert (5.0, 80.0, 96.0, 20.0, True) == found


def test_an_estimate_for_a_cpu():
    """8 virtual CPUs of 0.08 teraflops, a tenth of it: 5.4e7 seconds, that is 15,000 hours."""
    found = estimate_training(COST, get_device("cpu-8"), PRICE)
    assert (15_000, 15_000, 18_000) == pytest.approx((found.hours, found.chip_hours, found.usd))


def test_an_estimate_for_several_hosts_with_gpus():
    """Per step, 8 bytes of each of 45 million parameters pass the network, which takes 0.09 s."""
    one, two = (estimate_training(COST, get_device(name), PRICE) for name in ("a100-8", "a100-16"))
    assert one.hours / 2 + 90_000 * 0.09 / 3600 == pytest.approx(two.hours)
    assert two.hours > one.hours
    assert 16 * 1.2 * two.hours == pytest.approx(two.usd)


def test_a_small_model_does_not_make_a_step_free():
    """Each step takes at least 0.05 s, unless its pace was measured."""
    small = dataclasses.replace(COST, backbone_gmacs=0.1, box_gmacs=0.1, mask_gmacs=0.0, steps=7200)
    assert 0.1 == pytest.approx(estimate_training(small, get_device("v5e-16"), PRICE).hours)
    assert 0.02 == pytest.approx(estimate_training(small, get_device("v5e-16"), PRICE, 100.0).hours)


def test_what_is_not_known_is_not_made_up():
    """Without a price, the hours are estimated and the costs are unknown."""
    none = estimate_training(COST, get_device("v5e-16"), None)
    assert (None, None) == (none.usd, none.usd_spot)
    no_spot = estimate_training(COST, get_device("v5e-16"), PRICE._replace(spot=None))
    assert 58.477 == pytest.approx(no_spot.usd, rel=1e-4)
    assert no_spot.usd_spot is None
    assert none.hours == no_spot.hours


def test_a_part_of_an_estimate():
    """A quarter of the steps takes a quarter of everything that is known."""
    whole = estimate_training(COST, get_device("v5e-16"), PRICE._replace(spot=None), 5.0)
    assert (1.25, 20.0, 24.0, None, True) == whole.scaled(0.25)


@pytest.mark.parametrize("name", device_names())
def test_every_price_has_a_date_and_a_source(name):
    """Every price has a region, date and source, and spot machines are cheaper."""
    found = find_price(get_device(name))
    assert found.region
    assert found.source
    assert datetime.date.fromisoformat(found.read_on) >= datetime.date(2026, 1, 1)
    assert found.on_demand > 0
    assert found.spot is None or 0 < found.spot < found.on_demand
    # Unverified prices must say so.
    assert found.confirmed == ("unverified" not in found.source)


def test_a_size_may_have_a_price_of_its_own():
    """A single TPU v2 costs less than the chips of a pod; 16 CPUs cost twice as much as 8."""
    assert find_price(get_device("v2-8")).on_demand < find_price(get_device("v2-32")).on_demand
    assert find_price(get_device("v5e-1")) == find_price(get_device("v5e-256"))
    cpus = [find_price(get_device(name)).on_demand for name in ("cpu-8", "cpu-16")]
    assert 2 * cpus[0] == pytest.approx(cpus[1], rel=0.01)
