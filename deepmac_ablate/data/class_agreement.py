"""Agreement of datasets and trained models on the ids and names of classes."""

from __future__ import annotations

from collections.abc import Mapping

from deepmac_ablate.errors import UserError, count_noun

_NAMED_AT_MOST = 3


def check_agreement(
    first: str, first_names: Mapping[int, str], second: str, second_names: Mapping[int, str]
) -> None:
    """Check that no class has one id in one place and another id or name in the other.

    Either may have classes that the other lacks.

    Args:
        first: Name of the first place in messages, such as the path of a dataset.
        first_names: Names of its classes by id.
        second: Name of the second place.
        second_names: Names of its classes by id.

    Raises:
        UserError: If they contradict each other; names the classes.
    """
    conflicts = find_conflicts(first, first_names, second, second_names)
    if conflicts:
        more = len(conflicts) - _NAMED_AT_MOST
        named = "; ".join(conflicts[:_NAMED_AT_MOST]) + (f"; and {more} more" if more > 0 else "")
        raise UserError(
            f"The classes of {first} and of {second} do not agree: {named}. Give each class the "
            "same id and name in both, and convert again.")


def find_conflicts(
    first: str, first_names: Mapping[int, str], second: str, second_names: Mapping[int, str]
) -> list[str]:
    """Return a phrase for each contradiction, by ascending id; see `check_agreement`."""
    conflicts = [
        f"class {i} is {name!r} in {first} but {second_names[i]!r} in {second}"
        for i, name in sorted(first_names.items()) if second_names.get(i, name) != name]
    second_ids = {name: i for i, name in second_names.items()}
    # Where the ids are taken by other names, the phrases above say so already.
    conflicts += [
        f"{name!r} has the id {i} in {first} but {second_ids[name]} in {second}"
        for i, name in sorted(first_names.items())
        if name in second_ids and second_ids[name] != i
        and i not in second_names and second_ids[name] not in first_names]
    return conflicts


def describe_missing(
    first: str, first_names: Mapping[int, str], second: str, second_names: Mapping[int, str]
) -> str:
    """Return a sentence about the classes of the second place that the first lacks, or ""."""
    missing = [name for i, name in sorted(second_names.items()) if i not in first_names]
    if not missing:
        return ""
    listed = ", ".join(map(repr, missing[:_NAMED_AT_MOST]))
    more = len(missing) - _NAMED_AT_MOST
    return (
        f"{second} has {count_noun(len(missing), 'class', 'classes')} that {first} lacks: {listed}"
        f"{f' and {more} more' if more > 0 else ''}; no training image has them.")
