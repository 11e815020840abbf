"""Names in every script in pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from deepmac_ablate.data import label_text
from deepmac_ablate.data.label_text import (
    MAX_LENGTH,
    Label,
    find_fonts,
    report_missing_fonts,
    shorten_label,
)


def drawn(text):
    """The ink of a text, [height, width] bool."""
    image = Image.new("L", (400, 40))
    Label(text, 13).draw(ImageDraw.Draw(image), 5, 5, "white")
    return np.asarray(image) > 100


@pytest.fixture
def bare(monkeypatch):
    """A machine without fonts beside those that matplotlib brings."""
    monkeypatch.setattr(label_text, "_system_fonts", list)
    label_text._find_font.cache_clear()
    yield
    label_text._find_font.cache_clear()


@pytest.mark.usefixtures("bare")
def test_names_of_many_scripts_are_drawn_letter_by_letter():
    """Cyrillic, Greek, accents and signs differ from each other and from a missing glyph."""
    texts = ["чашка", "φλιτζάνι", "tasse à thé", "naïve ☕", "فنجان", "ספל"]
    pictures = [drawn(text) for text in texts]
    for i, picture in enumerate(pictures):
        assert picture.any()
        assert not any(np.array_equal(picture, other) for other in pictures[:i])
        [path] = find_fonts(texts[i])
        assert path.endswith("DejaVuSans.ttf")
    assert not np.array_equal(drawn("чашка"), drawn("чачка"))
    assert np.array_equal(drawn("cafe\u0301"), drawn("café"))


@pytest.mark.usefixtures("bare")
def test_a_character_without_a_font_is_its_code(capsys):
    """The text is drawn with codes, and named once."""
    assert np.array_equal(drawn("é\\u676f\\u5b50"), drawn("é杯子"))
    label_text._reported.clear()
    for _ in range(2):
        report_missing_fonts(["cup", "чашка", "杯子", "杯子", "🍎"])
    said = capsys.readouterr().err
    assert 1 == said.count("\n") == said.count("'杯子', '🍎'")
    assert "чашка" not in said


def test_plain_names_are_drawn_as_before():
    """Names in ASCII look as Pillow draws them."""
    image = Image.new("L", (400, 40))
    ImageDraw.Draw(image).text((5, 5), "dog (y) 0.5", "white", ImageFont.load_default(13))
    assert np.array_equal(np.asarray(image) > 100, drawn("dog (y) 0.5"))


def test_a_label_is_one_short_line():
    """Line breaks become spaces, control characters a sign; long names end with an ellipsis."""
    assert "a b c\ufffd" == shorten_label("a\nb\tc\x00")
    assert "a" * (MAX_LENGTH - 1) + "…" == shorten_label("a" * 200)
    assert "a\u200cb" == shorten_label("a\u200cb")
    assert 5 + Label("ab", 13).width >= np.flatnonzero(drawn("ab").any(axis=0)).max()
    assert 5 + Label("gjé", 13).height >= np.flatnonzero(drawn("gjé").any(axis=1)).max()
