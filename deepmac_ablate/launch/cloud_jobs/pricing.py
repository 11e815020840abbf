"""Estimates of the hours and the money that a trial's training takes on a device."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import NamedTuple

from deepmac_ablate.cloud.devices import Device
from deepmac_ablate.sweep.validation.cost import Cost

# Assumed share of a device's peak that training reaches. NVIDIA's Mask R-CNN in TensorFlow 2 trains
# on 7.0 images per second on a V100 in mixed precision (README of its DeepLearningExamples): at
# about 300 10^9 multiply-adds per image and three passes 12.6 teraflops, a tenth of 125. On two
# virtual CPUs this package's built-in synthetic dataset reached a fifth; TPUs are not measured.
ASSUMED_UTILISATION = 0.1

# Assumed minimum duration of a step: the host starts it, and decodes and transfers its batch.
LEAST_SECONDS_PER_STEP = 0.05

# Bytes per second between two hosts with GPUs, which exchange gradients over TCP: NVIDIA's figure
# for a3-megagpu-8g without GPUDirect, see `generations.GPU_HOSTS_WARNING`. In a ring, each host
# sends twice the gradients, four bytes each.
TCP_BYTES_PER_SECOND = 4e9
_BYTES_EXCHANGED_PER_PARAMETER = 8

_FLOPS_PER_MULTIPLY_ADD = 2
_SECONDS_PER_HOUR = 3600.0


class Estimate(NamedTuple):
    """Estimate for the training of a trial, without evaluation, startup and waiting.

    Attributes:
        hours: Hours on the whole device.
        chip_hours: Hours times the number of chips.
        usd: Price on demand in USD; None if it is unknown.
        usd_spot: Price on spot machines in USD; None if it is unknown.
        measured: Whether the pace was measured; else it is assumed.
    """

    hours: float
    chip_hours: float
    usd: float | None
    usd_spot: float | None
    measured: bool

    def scaled(self, share: float) -> Estimate:
        """Return the estimate for a share of the training from 0 to 1, such as the steps left."""
        usd, usd_spot = (
            None if price is None else share * price for price in (self.usd, self.usd_spot))
        return Estimate(share * self.hours, share * self.chip_hours, usd, usd_spot, self.measured)


def estimate_training(
    cost: Cost, device: Device, price: Price | None, steps_per_second: float | None = None
) -> Estimate:
    """Estimate the training of a trial from its first step to its last.

    Args:
        cost: Computational cost of the trial.
        device: Device that it runs on.
        price: Price of the device's chips; None if it is unknown.
        steps_per_second: Pace measured on such a device; None to derive it from the multiply-adds
            and the device's peak with `ASSUMED_UTILISATION` and `LEAST_SECONDS_PER_STEP`, and for
            several hosts with GPUs from their network with `TCP_BYTES_PER_SECOND`.
    """
    if steps_per_second is None:
        flops = _FLOPS_PER_MULTIPLY_ADD * 1e9 * cost.training_gmacs
        peak = 1e12 * device.teraflops * device.chips
        seconds = max(flops / (ASSUMED_UTILISATION * peak), LEAST_SECONDS_PER_STEP * cost.steps)
        if device.kind == "gpu" and device.hosts > 1:
            exchanged = _BYTES_EXCHANGED_PER_PARAMETER * cost.trainable_parameters
            seconds += cost.steps * exchanged / TCP_BYTES_PER_SECOND
    else:
        seconds = cost.steps / steps_per_second
    hours = seconds / _SECONDS_PER_HOUR
    chip_hours = hours * device.chips

    def usd(per_hour: float | None) -> float | None:
        return None if per_hour is None else per_hour * chip_hours

    on_demand, spot = (None, None) if price is None else (price.on_demand, price.spot)
    return Estimate(hours, chip_hours, usd(on_demand), usd(spot), steps_per_second is not None)


class Price(NamedTuple):
    """Price of one chip per hour in USD, including its share of the machine.

    Attributes:
        on_demand: Price on demand; None if it is unknown.
        spot: Price on spot machines; None if it is unknown.
        region: Region of the price.
        read_on: Day on which the price was read, such as "2026-11-22".
        source: Source of the price.
        confirmed: Whether the whole price was read there; else a part of it is unverified.
    """

    on_demand: float | None
    spot: float | None
    region: str
    read_on: str
    source: str
    confirmed: bool


def find_price(device: Device) -> Price | None:
    """Return the price of a device's chips, or None if it is unknown."""
    known = _load_prices()
    return known.get(device.name) or known.get(device.generation)


@functools.cache
def _load_prices() -> dict[str, Price]:
    file = resources.files("deepmac_ablate.launch.cloud_jobs") / "prices.json"
    text = file.read_text("utf-8")
    return {name: Price(**fields) for name, fields in json.loads(text)["prices"].items()}
