"""How long a trial trains on a device, and what that costs."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import NamedTuple

from deepmac_ablate.cloud.devices import Device
from deepmac_ablate.sweep.validation.cost import Cost

# The share of a device's peak that training is taken to reach. NVIDIA's own Mask R-CNN in
# TensorFlow 2 trains on 7.0 images a second on a V100 in mixed precision (README of its
# DeepLearningExamples): at about 300 10^9 multiply-adds an image and three passes 12.6 teraflops,
# a tenth of 125. On two virtual CPUs this package's shapes reached a fifth; of TPUs nothing is
# known.
ASSUMED_UTILISATION = 0.1

# No step is taken to be faster, however little it computes: it is started, and its batch is decoded
# and handed over, by the host. A guess.
LEAST_SECONDS_PER_STEP = 0.05

_FLOPS_PER_MULTIPLY_ADD = 2
_SECONDS_PER_HOUR = 3600.0


class Estimate(NamedTuple):
    """What a trial's training takes; evaluation, start and waiting come on top.

    Attributes:
        hours: with the whole device.
        chip_hours: hours times chips.
        usd: on demand; None where the price is not known.
        usd_spot: on machines that may be taken away; None where the price is not known.
        measured: whether the pace was measured; else it is assumed.
    """

    hours: float
    chip_hours: float
    usd: float | None
    usd_spot: float | None
    measured: bool

    def of_part(self, part: float) -> Estimate:
        """Return what a part of it takes, such as the steps that are left."""
        usd, usd_spot = (None if it is None else part * it for it in (self.usd, self.usd_spot))
        return Estimate(part * self.hours, part * self.chip_hours, usd, usd_spot, self.measured)


def estimate(
    cost: Cost, device: Device, price: Price | None, steps_per_second: float | None = None
) -> Estimate:
    """Estimate what a trial takes from its first step to its last.

    Args:
        cost: What the trial computes.
        device: What it runs on.
        price: Of the device's chips; None where it is not known.
        steps_per_second: A pace that was measured on such a device; None: from the multiply-adds
            and the device's peak, of which `ASSUMED_UTILISATION` is taken to be reached, and with
            `LEAST_SECONDS_PER_STEP`.
    """
    if steps_per_second is None:
        flops = _FLOPS_PER_MULTIPLY_ADD * 1e9 * cost.training_gmacs
        peak = 1e12 * device.teraflops * device.chips
        seconds = max(flops / (ASSUMED_UTILISATION * peak), LEAST_SECONDS_PER_STEP * cost.steps)
    else:
        seconds = cost.steps / steps_per_second
    hours = seconds / _SECONDS_PER_HOUR
    chip_hours = hours * device.chips

    def usd(an_hour: float | None) -> float | None:
        return None if an_hour is None else an_hour * chip_hours

    on_demand, spot = (None, None) if price is None else (price.on_demand, price.spot)
    return Estimate(hours, chip_hours, usd(on_demand), usd(spot), steps_per_second is not None)


class Price(NamedTuple):
    """What an hour of one chip costs, its share of the machine included, in USD.

    Attributes:
        on_demand: None where it is not known.
        spot: on machines that may be taken away; None where it is not known.
        region: where it costs so much.
        read_on: the day on which that was read, such as "2026-11-22".
        source: where it was read.
        confirmed: whether all of it was; else a part of it is somebody's memory.
    """

    on_demand: float | None
    spot: float | None
    region: str
    read_on: str
    source: str
    confirmed: bool


def price(device: Device) -> Price | None:
    """Return the price of a device's chips, or None where there is none in the file."""
    known = _prices()
    return known.get(device.name) or known.get(device.generation)


@functools.cache
def _prices() -> dict[str, Price]:
    file = resources.files("deepmac_ablate.launch.cloud_jobs") / "prices.json"
    text = file.read_text("utf-8")
    return {name: Price(**fields) for name, fields in json.loads(text)["prices"].items()}
