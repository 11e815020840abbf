"""What the trials of a sweep take on the device that is rented for them: hours and money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from deepmac_ablate import storage
from deepmac_ablate.cloud.devices import Device
from deepmac_ablate.launch.cloud_jobs import submission
from deepmac_ablate.launch.cloud_jobs.pricing import (
    ASSUMED_UTILISATION,
    LEAST_SECONDS_PER_STEP,
    Estimate,
    Price,
    estimate,
    price,
)
from deepmac_ablate.launch.status_rows import TrialRow
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.sweep import device_request
from deepmac_ablate.sweep.checked_plan import CheckedPlan
from deepmac_ablate.sweep.device_request import DeviceRequest

COLUMNS = ("hours", "USD")

_FLOAT32 = (
    "Training.precision is 'float32', in which a TPU wastes memory and time; bind 'bfloat16' for "
    "speed, which makes another trial.")
_VERTEX_FEE = "Vertex AI adds a fee of its own, which is in none of these prices."
_PARTLY_REMEMBERED = "A part of this price is from memory; look it up before you rely on it."


class DevicePlan(NamedTuple):
    """What is rented, and what it takes.

    Attributes:
        rented: The device.
        price: Of its chips; None where it is not known.
        arms: What one trial takes, from its first step to its last, by the label of its arm.
        trials: How many have not finished.
        left: What the steps of all of these that are left take.
        notes: What else is to be known about it, one sentence each.
    """

    rented: DeviceRequest
    price: Price | None
    arms: Mapping[str, Estimate]
    trials: int
    left: Estimate
    notes: tuple[str, ...]

    def cells(self, arm: str) -> list[str]:
        """Return what a trial of an arm takes, under `COLUMNS`."""
        one = self.arms[arm]
        usd = one.usd_spot if self.rented.spot else one.usd
        return [_number(one.hours), "?" if usd is None else _number(usd)]

    def lines(self) -> list[str]:
        """Return what is rented, what it takes, and the notes."""
        return [
            _description(self.rented),
            f"{self.trials} trials still to come: about {_number(self.left.hours)} hours one after "
            f"the other, {_number(self.left.chip_hours)} chip-hours, {self._money()}.",
            f"That is training alone, {self._basis()}.",
            *(f"Note: {note}" for note in self.notes)]

    def to_json(self) -> dict[str, Any]:
        """Return everything but the arms as plain values."""
        device = self.rented.device
        return {
            "name": device.name, "executor": self.rented.executor, "spot": self.rented.spot,
            "chips": device.chips, "hosts": device.hosts, "replicas": device.replicas,
            "topology": device.topology, "machine_type": device.machine_type,
            "price": None if self.price is None else self.price._asdict(),
            "assumed_utilisation": ASSUMED_UTILISATION,
            "least_seconds_per_step": LEAST_SECONDS_PER_STEP,
            "trials_left": self.trials, "left": self.left._asdict(), "notes": list(self.notes)}

    def _money(self) -> str:
        if self.price is None:
            return "at a price that is not known"
        ways = [("on demand", self.left.usd), ("on spot machines", self.left.usd_spot)]
        if self.rented.spot:
            ways.reverse()
        said = [
            f"an unknown price {way}" if usd is None else f"{_number(usd)} USD {way}"
            for way, usd in ways]
        return f"{' or '.join(said)} (prices of {self.price.read_on} in {self.price.region})"

    def _basis(self) -> str:
        assumed = (
            f"at an assumed {100 * ASSUMED_UTILISATION:.0f} % of the device's peak and at least "
            f"{LEAST_SECONDS_PER_STEP:g} s a step")
        measured = [it.measured for it in self.arms.values()]
        if not any(measured):
            return assumed
        if all(measured):
            return "at the pace of trials that finished on this device"
        return f"{assumed}, or at the pace of a trial of the arm that finished on this device"


def device_plan(
    rented: DeviceRequest, checked: CheckedPlan, rows: Sequence[TrialRow], workdir: SweepWorkdir
) -> DevicePlan:
    """Estimate what a sweep takes on a device.

    Args:
        rented: The device.
        checked: The sweep.
        rows: What has become of its trials.
        workdir: Where they are.

    Raises:
        UserError: If what a trial left there is broken.
    """
    of_chip = price(rented.device)
    paces = _paces(rented.device, rows, workdir)
    arms = {
        label: estimate(result.cost, rented.device, of_chip, paces.get(label))
        for label, result in checked.results.items()}
    unfinished = [row for row in rows if row.status != "finished"]
    parts = [
        arms[row.arm].of_part(1 - row.step / checked.results[row.arm].cost.steps)
        for row in unfinished]
    return DevicePlan(
        rented, of_chip, arms, len(unfinished), _sum(parts), _notes(rented, of_chip, checked))


def _paces(
    device: Device, rows: Sequence[TrialRow], workdir: SweepWorkdir
) -> dict[str, float]:
    """Return steps per second of a trial that finished on a device, by its arm."""
    finished = {
        f"{workdir.location(row.id)}/{submission.file_name('train')}": row
        for row in rows if row.status == "finished" and row.steps_per_second}
    texts = storage.read_many(finished)
    return {
        row.arm: row.steps_per_second
        for path, row in finished.items()
        if texts[path] is not None
        and submission.parse(texts[path], path).device == device.name}


def _sum(estimates: Sequence[Estimate]) -> Estimate:
    def usd(amounts: Sequence[float | None]) -> float | None:
        return None if None in amounts else sum(amounts)

    return Estimate(
        hours=sum(it.hours for it in estimates),
        chip_hours=sum(it.chip_hours for it in estimates),
        usd=usd([it.usd for it in estimates]),
        usd_spot=usd([it.usd_spot for it in estimates]),
        measured=all(it.measured for it in estimates))


def _notes(rented: DeviceRequest, of_chip: Price | None, checked: CheckedPlan) -> tuple[str, ...]:
    notes = list(rented.device.warnings)
    if rented.device.kind == "tpu" and device_request.has_float32(checked.plan):
        notes.append(_FLOAT32)
    if of_chip is not None and not of_chip.confirmed:
        notes.append(_PARTLY_REMEMBERED)
    if rented.executor == "vertex":
        notes.append(_VERTEX_FEE)
    return tuple(notes)


def _description(rented: DeviceRequest) -> str:
    device = rented.device
    if device.kind == "cpu":
        has = f"{device.memory_gib:g} GiB"
    else:
        what = "GPU" if device.kind == "gpu" else "chip"
        topology = f"{device.topology}, " if device.topology else ""
        has = f"{_count(device.chips, what)} ({topology}{device.memory_gib:g} GiB each)"
    return (
        f"{device.name} on {rented.executor}: {has} on {_count(device.hosts, 'host')} of "
        f"{device.machine_type}; {_count(device.replicas, 'replica')}.")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _number(value: float) -> str:
    """Return two digits or so, as more are not known: "<0.01", "0.042", "4.2", "1,235"."""
    if value >= 10:
        return f"{value:,.0f}"
    return "<0.01" if 0 < value < 0.01 else f"{value:.2g}"
