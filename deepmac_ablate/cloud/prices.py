"""What devices cost an hour, read from `prices.json`: each price with its date and source."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import NamedTuple

from deepmac_ablate.cloud.devices import Device


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
    """Returns the price of a device's chips, or None where there is none in the file."""
    known = _prices()
    return known.get(device.name) or known.get(device.generation)


@functools.cache
def _prices() -> dict[str, Price]:
    text = resources.files("deepmac_ablate.cloud").joinpath("prices.json").read_text("utf-8")
    return {name: Price(**fields) for name, fields in json.loads(text)["prices"].items()}
