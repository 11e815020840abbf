"""Plans kept for the next time: used only while nothing that they depend on has changed."""

from __future__ import annotations

import pytest

from deepmac_ablate.storage.user_cache import user_cache
from deepmac_ablate.sweep import Sweep, plan, plan_cache, values
from deepmac_ablate.sweep.validation.verdict import DataNeeds, Verdict


@pytest.fixture
def sweep(tmp_path, monkeypatch) -> Sweep:
    """A sweep of two arms on a gin file of its own that includes another, kept in a cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "part.gin").write_text("Training.steps = 5\n")
    (tmp_path / "all.gin").write_text("include 'part.gin'\n")
    made = Sweep("all.gin", arms=values("Training.freeze", "a", "b"))
    made.name = "cached"
    keep(made)
    return made


def keep(made: Sweep) -> tuple[plan.Plan, list[Verdict]]:
    """Resolves a sweep and keeps it with verdicts."""
    resolved, _ = plan.resolve(made)
    needs = DataNeeds("train", "val", "voc", 91, None)
    verdicts = [Verdict(label, data=needs) for label in resolved.arms]
    plan_cache.save(made, resolved, verdicts)
    return resolved, verdicts


def test_what_was_kept_comes_back(sweep):
    """The plan and the verdicts, equal in every field."""
    assert keep(sweep) == plan_cache.load(sweep)


@pytest.mark.parametrize("change", [
    lambda sweep, folder: (folder / "part.gin").write_text("Training.steps = 6\n"),
    lambda sweep, folder: (folder / "part.gin").unlink(),
    lambda sweep, folder: (folder / "all.gin").write_text("include 'part.gin'\n# changed\n"),
    lambda sweep, folder: user_cache("plans").rename("gone"),
    lambda sweep, folder: [
        path.write_text(path.read_text()[:-40])
        for path in (folder / "cache/deepmac_ablate/plans").iterdir()],
])
def test_a_change_of_the_files_is_seen(sweep, tmp_path, change):
    """An included file changed or gone, the file itself, the cache gone or torn."""
    assert plan_cache.load(sweep) is not None
    change(sweep, tmp_path)
    assert plan_cache.load(sweep) is None


def test_a_change_of_the_sweep_is_seen(sweep, tmp_path, monkeypatch):
    """Seeds, an edit of the command line, or another working directory."""
    assert plan_cache.load(sweep.edited(seeds=2)) is None
    assert plan_cache.load(sweep.edited(["X = 1"])) is None
    assert plan_cache.load(sweep.edited()) is not None
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert plan_cache.load(sweep) is None


def test_a_change_of_the_code_is_seen(sweep, monkeypatch):
    """By its fingerprint."""
    monkeypatch.setattr(plan_cache.cache, "judging_code", lambda modules: "another")
    assert plan_cache.load(sweep) is None
