"""The wording of messages: similar names, and numbers with their nouns."""

from __future__ import annotations

import pytest

from deepmac_ablate.errors import count_noun, did_you_mean_path, inflect


@pytest.mark.parametrize(
    ("number", "words", "expected"),
    [
        (0, ("crowd",), "0 crowds"),
        (1, ("crowd",), "1 crowd"),
        (2, ("crowd",), "2 crowds"),
        (1, ("category", "categories"), "1 category"),
        (2, ("category", "categories"), "2 categories"),
        (1, ("object is", "objects are"), "1 object is"),
        (0, ("object is", "objects are"), "0 objects are"),
    ],
)
def test_a_noun_has_the_form_of_its_number(number, words, expected):
    """Only 1 takes the singular."""
    assert expected == count_noun(number, *words) == f"{number} {inflect(number, *words)}"


def test_similar_paths_have_similar_file_names():
    """Folders and suffixes do not count, except between files of the same name."""
    known = ["gin/heads/deep.gin", "gin/boxes/default.gin", "gin/heads/default.gin"]
    assert " Did you mean 'gin/heads/deep.gin'?" == did_you_mean_path("deeep.gin", known)
    assert " Did you mean 'gin/heads/default.gin'?" == did_you_mean_path(
        "gin/head/default.gin", known)
    assert "" == did_you_mean_path("gin/heads/wide.gin", known)
