"""Cost forecast: hours and money that the trials of a sweep take on a cloud device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from deepmac_ablate.cloud.devices import Device
from deepmac_ablate.errors import count_noun
from deepmac_ablate.launch.cloud_jobs.active_jobs import parse_submission, submission_name
from deepmac_ablate.launch.cloud_jobs.pricing import (
    ASSUMED_UTILISATION,
    LEAST_SECONDS_PER_STEP,
    Estimate,
    Price,
    estimate_training,
    find_price,
)
from deepmac_ablate.launch.status_rows import TrialRow
from deepmac_ablate.launch.sweep_workdir import SweepWorkdir
from deepmac_ablate.storage import file_io
from deepmac_ablate.sweep import device_request
from deepmac_ablate.sweep.checked_plan import CheckedPlan
from deepmac_ablate.sweep.device_request import DeviceRequest

COLUMNS = ("hours", "USD")

_FLOAT32 = (
    "Training.precision is 'float32', which is slow and takes more memory on TPUs; bind 'bfloat16' "
    "for speed, which makes a different trial.")
_VERTEX_FEE = "Vertex AI charges a management fee in addition to these prices."
_UNVERIFIED_PRICE = "Part of this price is unverified; check the provider's list."


class CostForecast(NamedTuple):
    """Cost forecast of a sweep.

    Attributes:
        rented: Requested device.
        price: Price of its chips; None if it is unknown.
        arms: Estimate for one trial, from its first step to its last, by the label of its arm.
        trials: Number of unfinished trials.
        left: Estimate for the remaining steps of all unfinished trials.
        notes: Remarks, one sentence each.
    """

    rented: DeviceRequest
    price: Price | None
    arms: Mapping[str, Estimate]
    trials: int
    left: Estimate
    notes: tuple[str, ...]

    def cells(self, arm: str) -> list[str]:
        """Return the table cells of an arm in the order of `COLUMNS`."""
        trial = self.arms[arm]
        usd = trial.usd_spot if self.rented.spot else trial.usd
        return [_number(trial.hours), "?" if usd is None else _number(usd)]

    def lines(self) -> list[str]:
        """Return the device, the forecast and the notes as lines of text."""
        return [
            _describe_device(self.rented),
            f"{count_noun(self.trials, 'unfinished trial')}: about {_number(self.left.hours)} "
            f"hours in sequence, {_number(self.left.chip_hours)} chip-hours, {self._money()}.",
            f"Training only, {self._basis()}.",
            *(f"Note: {note}" for note in self.notes)]

    def to_json(self) -> dict[str, Any]:
        """Return all fields except the arms as JSON values."""
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
            return "price unknown"
        ways = [("on demand", self.left.usd), ("on spot machines", self.left.usd_spot)]
        if self.rented.spot:
            ways.reverse()
        parts = [
            f"an unknown price {way}" if usd is None else f"{_number(usd)} USD {way}"
            for way, usd in ways]
        return f"{' or '.join(parts)} (prices of {self.price.read_on} in {self.price.region})"

    def _basis(self) -> str:
        assumed = (
            f"at an assumed {100 * ASSUMED_UTILISATION:.0f} % of the device's peak and at least "
            f"{LEAST_SECONDS_PER_STEP:g} s per step")
        measured = [trial.measured for trial in self.arms.values()]
        if not any(measured):
            return assumed
        if all(measured):
            return "at the pace of finished trials on this device"
        return f"{assumed}, or at the pace of a finished trial of the same arm on this device"


def forecast_cost(
    rented: DeviceRequest, checked: CheckedPlan, rows: Sequence[TrialRow], workdir: SweepWorkdir
) -> CostForecast:
    """Forecast the cost of a sweep on a device.

    Args:
        rented: Requested device.
        checked: Checked plan of the sweep.
        rows: Status of its trials.
        workdir: Workdir of the sweep.

    Raises:
        UserError: If a submission there is broken.
    """
    price = find_price(rented.device)
    paces = _paces(rented.device, rows, workdir)
    arms = {
        label: estimate_training(result.cost, rented.device, price, paces.get(label))
        for label, result in checked.results.items()}
    unfinished = [row for row in rows if row.status != "finished"]
    parts = [
        arms[row.arm].scaled(1 - row.step / checked.results[row.arm].cost.steps)
        for row in unfinished]
    return CostForecast(
        rented, price, arms, len(unfinished), _sum(parts), _notes(rented, price, checked))


def _paces(
    device: Device, rows: Sequence[TrialRow], workdir: SweepWorkdir
) -> dict[str, float]:
    """Return steps per second of a finished trial on a device, by arm."""
    finished = {
        f"{workdir.location(row.id)}/{submission_name('train')}": row
        for row in rows if row.status == "finished" and row.steps_per_second}
    texts = file_io.read_many(finished)
    return {
        row.arm: row.steps_per_second
        for path, row in finished.items()
        if texts[path] is not None
        and parse_submission(texts[path], path).device == device.name}


def _sum(estimates: Sequence[Estimate]) -> Estimate:
    def usd(amounts: Sequence[float | None]) -> float | None:
        return None if None in amounts else sum(amounts)

    return Estimate(
        hours=sum(one.hours for one in estimates),
        chip_hours=sum(one.chip_hours for one in estimates),
        usd=usd([one.usd for one in estimates]),
        usd_spot=usd([one.usd_spot for one in estimates]),
        measured=all(one.measured for one in estimates))


def _notes(rented: DeviceRequest, price: Price | None, checked: CheckedPlan) -> tuple[str, ...]:
    notes = list(rented.device.warnings)
    if rented.device.kind == "tpu" and device_request.has_float32(checked.plan):
        notes.append(_FLOAT32)
    if price is not None and not price.confirmed:
        notes.append(_UNVERIFIED_PRICE)
    if rented.executor == "vertex":
        notes.append(_VERTEX_FEE)
    return tuple(notes)


def _describe_device(rented: DeviceRequest) -> str:
    device = rented.device
    if device.kind == "cpu":
        size = f"{device.memory_gib:g} GiB"
    else:
        unit = "GPU" if device.kind == "gpu" else "chip"
        topology = f"{device.topology}, " if device.topology else ""
        size = f"{count_noun(device.chips, unit)} ({topology}{device.memory_gib:g} GiB each)"
    return (
        f"{device.name} on {rented.executor}: {size} on {count_noun(device.hosts, 'host')} of "
        f"{device.machine_type}; {count_noun(device.replicas, 'replica')}.")


def _number(value: float) -> str:
    """Format an estimate with about two digits: "<0.01", "0.042", "4.2", "1,235"."""
    if value >= 10:
        return f"{value:,.0f}"
    return "<0.01" if 0 < value < 0.01 else f"{value:.2g}"
