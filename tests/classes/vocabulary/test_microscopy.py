"""The vocabulary that comes with the package fits the weights that come with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import napari_kindred
from napari_kindred.classes.proposals.open import open_proposer
from napari_kindred.classes.vocabulary.vocabulary import Vocabulary
from napari_kindred.models.download import file_sha256

FOLDER = Path(napari_kindred.__file__).parent / "models" / "weights_data"


@pytest.fixture(scope="module")
def microscopy() -> Vocabulary:
    return Vocabulary.load("microscopy")


def test_it_was_taught_with_the_weights_that_are_shipped(microscopy: Vocabulary) -> None:
    microscopy.check(open_proposer("entities", device="cpu").spec)


def test_it_is_small_and_its_card_tells_its_hash(microscopy: Vocabulary) -> None:
    path = FOLDER / "microscopy.kindred"
    assert path.stat().st_size < 1_000_000
    assert microscopy.sha256 == file_sha256(path)
    assert re.search(rf"`{microscopy.sha256}`", (FOLDER / "microscopy.md").read_text("utf-8"))


def test_a_word_for_several_classes_means_all_of_them(microscopy: Vocabulary) -> None:
    nuclei = [microscopy.names[number] for number in microscopy.members("Nucleus")]
    assert nuclei == ["fluorescent nucleus", "stained nucleus", "brightfield nucleus"]
    blood = {microscopy.names[number] for number in microscopy.members("blood cell")}
    assert blood == {"red blood cell", "white blood cell"}
    assert microscopy.names[microscopy.lookup("erythrocyte")] == "red blood cell"


def test_every_class_has_a_colour_of_its_own(microscopy: Vocabulary) -> None:
    assert len({entry.colour for entry in microscopy.entries}) == len(microscopy.entries) == 7
