"""Names of classes, as people type them."""

from __future__ import annotations

import pytest

from napari_kindred.classes.names import check_names, key, split_names
from napari_kindred.core.errors import OptionError


def test_names_keep_their_order_and_lose_needless_blanks() -> None:
    assert check_names(["  red   cell", "Zellkern", "7b"]) == ("red cell", "Zellkern", "7b")


def test_a_text_is_taken_apart_at_commas_and_lines() -> None:
    assert check_names("nucleus, cytoplasm\n\n mitose ,") == ("nucleus", "cytoplasm", "mitose")
    assert split_names(" ,\n") == ()


def test_spelling_that_people_do_not_see_does_not_count() -> None:
    assert key("Red_Blood  cell") == key("red blood CELL") != key("redblood cell")


@pytest.mark.parametrize("name", ["核", "Köpfchen α", "β-tubulin (2n)", "cell/nucleus"])
def test_names_of_any_language_are_names(name: str) -> None:
    assert check_names([name]) == (name,)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "No class is named"),
        ("  ", "No class is named"),
        (["Cell", "cell "], "'cell' is named twice"),
        (["red cell", "red_cell"], "named twice"),
        (["bad\x00name"], "cannot be shown"),
        (["cell\u202e"], "cannot be shown"),
        (["?!"], "at least a letter or digit"),
        ([""], "at least a letter or digit"),
        (["x" * 101], "has 101 characters"),
        ([3], "3 is no name"),
        (None, "No class is named"),
        (7, "are no names of classes"),
    ],
)
def test_what_is_no_name_is_refused_in_one_sentence(names: object, sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence.replace("?", r"\?")) as caught:
        check_names(names)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
