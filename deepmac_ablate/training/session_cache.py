"""Sessions that several seeds of a trial use one after the other in a process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deepmac_ablate import bindings
from deepmac_ablate.training.session import Session, prepare_session
from deepmac_ablate.trial.trial import Trial, trial_id


class SessionCache:
    """The last session of a process, which is used again for other seeds of the same trial.

    What was traced for one seed then serves the others. Results do not depend on it.
    """

    def __init__(self) -> None:
        self._last: tuple[tuple[Any, ...], Session] | None = None

    def prepare(self, trial: Trial, runtime: Sequence[str] = ()) -> Session:
        """Prepare a session, with initial weights as if it were the first; see `prepare_session`.

        Raises:
            UserError: For the reasons of `prepare_session`.
        """
        key = (trial.gin_files, trial.bindings, tuple(runtime))
        if self._last is None or self._last[0] != key:
            # The memory of one model may be needed for the next.
            self._last = None
            self._last = key, prepare_session(trial, runtime)
        else:
            self._last = key, _restart(self._last[1], trial, runtime)
        return self._last[1]


def _restart(session: Session, trial: Trial, runtime: Sequence[str]) -> Session:
    """Return a session for another seed, unless a gin file has changed since."""
    parsed = bindings.parse(trial.gin_files, trial.bindings)
    if bindings.config_text() != session.config:
        return prepare_session(trial, runtime)
    identity = trial_id(bindings.explicit_bindings(parsed), trial.seed)
    if runtime:
        bindings.parse(trial.gin_files, (*trial.bindings, *runtime))
    with bindings.constructing(), session.strategy.scope():
        model = session.training.build_model(trial.seed)
        optimizer = session.training.build_optimizer(model)
    old = (*session.model.variables, *session.optimizer.variables)
    new = (*model.variables, *optimizer.variables)
    for variable, fresh in zip(old, new, strict=True):
        variable.assign(fresh.read_value())
    return session._replace(trial_id=identity)
