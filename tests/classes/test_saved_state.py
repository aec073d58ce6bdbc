"""A saved result of classes is changed as the one that was saved, bit for bit, or says why not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from cutting import from_dense
from napari_kindred.classes import saved_state
from napari_kindred.classes.classifiers import (
    Classifier,
    ClipMaskClassifier,
    PixelClassifier,
    VocabularyClassifier,
)
from napari_kindred.classes.clip.matching import ClipSpec, WordVectors
from napari_kindred.classes.config import TeachConfig
from napari_kindred.classes.escnet.predict import EscNetSpec
from napari_kindred.classes.predict import segment_classes
from napari_kindred.classes.proposals.base import Proposals
from napari_kindred.classes.proposals.sam_grid import SamGridSpec
from napari_kindred.classes.saved_state import DAMAGED, NOT_KEPT, OBSERVATIONS, TOO_LARGE
from napari_kindred.classes.vocabulary.entry import Entry
from napari_kindred.classes.vocabulary.mil import NOTHING, Bag
from napari_kindred.classes.vocabulary.vocabulary import Vocabulary, iter_fit
from napari_kindred.core.errors import OptionError
from napari_kindred.core.events import finish
from napari_kindred.load import load_segmentation

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from napari_kindred.classes.result import ClassSegmentation

NAMES = ("one", "two")

DIMENSION = 5

CLIP = ClipSpec("none", "0" * 64, "none", ("{}",), ("background",))


class Anywhere:
    """Proposes 30 boxes that overlap, with vectors at random; others for every picture."""

    def __init__(self) -> None:
        self.spec = SamGridSpec("anywhere", "0" * 64)

    def iter_propose(self, pixels: np.ndarray) -> Generator[Any, None, Proposals]:
        yield from ()
        random = np.random.default_rng(int(1000 * pixels[0, 0, 0]))
        dense = np.zeros((30, *pixels.shape[:2]), bool)
        for mask in dense:
            y, x = random.integers(0, 20, 2)
            mask[y : y + 9, x : x + 12] = random.random((9, 12)) < 0.9
        vectors = random.normal(size=(30, DIMENSION)).astype(np.float32)
        quality = random.random(30, np.float32)
        points = np.zeros((30, 2), np.float32)
        return Proposals(from_dense(dense), vectors, quality, points, self.spec)


class Slopes:
    """Names pixels: each name is likelier along another axis."""

    spec = EscNetSpec("none", "0" * 64, CLIP)

    def iter_class_map(self, pixels: np.ndarray, names: Any) -> Generator[Any, None, np.ndarray]:
        yield from ()
        height, width = pixels.shape[:2]
        maps = np.stack(np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width)))
        return maps.swapaxes(1, 2).astype(np.float32)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    """Two classes and a third, taught by vectors that point their ways."""
    kinds = np.repeat(np.array([NOTHING, 0, 1, 2], np.int16), 20)
    vectors = np.random.default_rng(0).normal(size=(80, DIMENSION)).astype(np.float32)
    for kind in range(3):
        vectors[kinds == kind, kind] += 2
    entries = [Entry("one"), Entry("two", threshold=0.5), Entry("three")]
    config = TeachConfig(folds=0, steps=60, distillation=0.0, hidden=16)
    bag = Bag(vectors, kinds, None, np.ones(3, bool))
    return finish(iter_fit(entries, SamGridSpec("anywhere", "0" * 64), [bag], config))


class Embedder:
    """Embeds masks as Anywhere does, and has vectors for some words."""

    spec = CLIP

    def iter_embed(self, pixels: np.ndarray, masks: Any) -> Generator[Any, None, Any]:
        return finish(Anywhere().iter_propose(pixels)).embeddings
        yield

    def word_vectors(self, words: Any) -> WordVectors:
        texts = np.random.default_rng(1).normal(size=(len(words), DIMENSION))
        return WordVectors(tuple(words), texts.astype(np.float32), 3.7)


def by_clip() -> ClipMaskClassifier:
    embedder: Any = Embedder()
    words = embedder.word_vectors((*NAMES, "background"))
    return ClipMaskClassifier(Anywhere(), None, 0.7, 0.5, embedder, words)


CLASSIFIERS: dict[str, Callable[[Vocabulary], Classifier]] = {
    "vocabulary": lambda known: VocabularyClassifier(Anywhere(), None, 0.6, 0.3, known),
    "clip": lambda _: by_clip(),
    "map": lambda _: PixelClassifier(Slopes(), NAMES, 0.4),
}


@pytest.fixture(scope="module")
def found(vocabulary: Vocabulary) -> ClassSegmentation:
    return ask(CLASSIFIERS["vocabulary"](vocabulary))


@pytest.fixture(params=CLASSIFIERS)
def fresh(request: pytest.FixtureRequest, vocabulary: Vocabulary) -> ClassSegmentation:
    return ask(CLASSIFIERS[request.param](vocabulary))


def ask(classifier: Classifier) -> ClassSegmentation:
    """Ask for two names in a movie whose second frame is empty."""
    movie = np.random.default_rng(3).integers(0, 255, (3, 32, 40)).astype(np.uint8)
    movie[1] = 7
    return segment_classes(movie, NAMES, axes="TYX", classifier=classifier)


def assert_same(one: ClassSegmentation, other: ClassSegmentation) -> None:
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_array_equal(one.entities, other.entities)
    assert one.table.equals(other.table)
    assert one.entity_table.equals(other.entity_table)


def test_a_saved_result_follows_the_threshold_as_the_fresh_one_does(
    fresh: ClassSegmentation, tmp_path: Path
) -> None:
    again = load_segmentation(fresh.save(tmp_path / "kept.ome.zarr"))
    shown = set()
    for threshold in (0.05, 0.3, 0.55, "auto"):
        assert_same(again.at_threshold(threshold), fresh.at_threshold(threshold))
        shown.add(int((fresh.at_threshold(threshold).labels > 0).sum()))
    assert len(shown) > 2
    assert_same(again.with_names(["two"]), fresh.with_names(["two"]))
    third = load_segmentation(again.at_threshold(0.3).save(tmp_path / "again.ome.zarr"))
    assert_same(third, fresh.at_threshold(0.3))
    assert_same(third.at_threshold(0.1), fresh.at_threshold(0.1))


def test_a_saved_vocabulary_is_regrouped_as_the_one_that_was_saved(
    found: ClassSegmentation, tmp_path: Path
) -> None:
    again = load_segmentation(found.save(tmp_path / "kept.ome.zarr"))
    assert_same(again.with_names(["three", "one"]), found.with_names(["three", "one"]))
    shown = []
    for result in (found, again):
        assert result.observations is not None
        classifier = result.observations.classifier
        assert isinstance(classifier, VocabularyClassifier)
        coarse = replace(classifier, vocabulary=classifier.vocabulary.regroup({"any": NAMES}))
        changed = replace(result, observations=replace(result.observations, classifier=coarse))
        shown.append(changed.with_names(["any"]).at_threshold(0.3))
    assert_same(*shown)
    assert (shown[0].labels > 0).any()


def test_a_name_that_was_not_kept_of_a_clip_asks_for_that_clip(
    tmp_path: Path, vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = load_segmentation(ask(CLASSIFIERS["clip"](vocabulary)).save(tmp_path / "kept.ome.zarr"))
    with pytest.raises(OptionError, match="none"):
        again.with_names(["three"])
    monkeypatch.setattr(ClipSpec, "open", lambda *_: Embedder())
    assert (again.at_threshold(0.1).with_names(["three"]).labels > 0).any()


def test_labels_with_more_axes_of_length_one_are_changed_in_their_shape(
    found: ClassSegmentation, tmp_path: Path
) -> None:
    """A layer has all of its image's axes; the result had those that were worked on."""
    more = {"labels": found.labels[:, None], "entities": found.entities[:, None], "axes": "TZYX"}
    again = load_segmentation(replace(found, **more).save(tmp_path / "kept.ome.zarr"))
    changed = again.at_threshold(0.2)
    np.testing.assert_array_equal(changed.labels, found.at_threshold(0.2).labels[:, None])


def test_what_was_found_is_left_out_where_it_is_much_and_where_nobody_knows_its_meaning(
    found: ClassSegmentation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(saved_state, "LARGEST", 2000)
        path = found.save(tmp_path / "much.ome.zarr")
    assert OBSERVATIONS not in zarr.open_group(path, mode="r")
    assert_changeless(load_segmentation(path), found, TOO_LARGE)
    assert_changeless(load_segmentation(found.save(tmp_path / "a.tif")), found, NOT_KEPT)
    assert found.observations is not None

    class Mine:
        """A classifier of somebody's own."""

        def __getattr__(self, name: str) -> Any:
            return getattr(found.observations.classifier, name)  # type: ignore[union-attr]

    mine: Any = Mine()
    own = replace(found, observations=replace(found.observations, classifier=mine))
    assert_changeless(load_segmentation(own.save(tmp_path / "own.ome.zarr")), found, NOT_KEPT)


def assert_changeless(again: ClassSegmentation, fresh: ClassSegmentation, why: str) -> None:
    np.testing.assert_array_equal(again.labels, fresh.labels)
    for change in (lambda: again.at_threshold(0.2), lambda: again.with_names(["one"])):
        with pytest.raises(OptionError) as caught:
            change()
        assert str(caught.value) == why
    assert "run again" in why
    assert why.count(".") == 1


def rewritten(path: Path, change: Callable[[bytearray], bytes | bytearray]) -> None:
    """Change the bytes that are kept."""
    root = zarr.open_group(path, mode="r+")
    array: Any = root[OBSERVATIONS]
    facts, content = dict(array.attrs), bytearray(array[:].tobytes())
    del root[OBSERVATIONS]
    root.create_array(
        OBSERVATIONS, data=np.frombuffer(bytes(change(content)), np.uint8)
    ).attrs.update(facts)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "a hundredth": lambda content: content[: len(content) // 100],
    "half": lambda content: content[: len(content) // 2],
    "all but the end": lambda content: content[:-100],
    "no header": lambda content: (0).to_bytes(8, "little") + content[8:],
    "a header beyond the end": lambda content: (10**6).to_bytes(8, "little") + content[8:],
    "an absurd header": lambda content: (2**63).to_bytes(8, "little") + content[8:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_bytes_leave_the_labels(
    found: ClassSegmentation, tmp_path: Path, damage: str
) -> None:
    path = found.save(tmp_path / "kept.ome.zarr")
    rewritten(path, lambda content: DAMAGES[damage](bytes(content)))
    assert_changeless(load_segmentation(path), found, DAMAGED)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "pickle"},
        {"indices": [[0], [1], [7]]},
        {"indices": [[0], [1], [-1]]},
        {"indices": [[0], [1], [1]]},
        {"indices": [[0, 0]]},
        {"indices": []},
        {"indices": "many"},
        {"shape": [3, 32, 41]},
        {"shape": [4, 32, 40]},
        {"shape": [2**40, 2**40, 2**40]},
        {"shape": [40]},
    ],
)
def test_words_that_cannot_be_leave_the_labels(
    found: ClassSegmentation, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    path = found.save(tmp_path / "kept.ome.zarr")
    zarr.open_group(path, mode="r+")[OBSERVATIONS].attrs.update(wrong)
    assert_changeless(load_segmentation(path), found, DAMAGED)


def test_an_absurd_size_is_not_read(found: ClassSegmentation, tmp_path: Path) -> None:
    path = found.save(tmp_path / "kept.ome.zarr")
    text = path / OBSERVATIONS / "zarr.json"
    text.write_text(json.dumps({**json.loads(text.read_text()), "shape": [2**45]}))
    assert_changeless(load_segmentation(path), found, DAMAGED)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("mask_boxes", np.full((30, 4), 2**31 - 1, np.int32)),
        ("mask_boxes", np.full((30, 4), -5, np.int32)),
        ("mask_boxes", np.zeros((30, 4), np.int64)),
        ("mask_boxes", np.zeros((30, 3), np.int32)),
        ("mask_bits", np.zeros(3, np.uint8)),
        ("mask_shape", np.array([2**40, 2**40])),
        ("quality", np.zeros(29, np.float32)),
        ("vectors", np.zeros((30, DIMENSION - 1), np.float32)),
        ("vectors", np.full((30, DIMENSION), np.nan, np.float32)),
        ("vectors", np.zeros((30, DIMENSION), np.float64)),
    ],
)
def test_masks_that_cannot_be_leave_the_labels(
    found: ClassSegmentation, tmp_path: Path, name: str, wrong: np.ndarray
) -> None:
    from safetensors.numpy import load, save

    path = found.save(tmp_path / "kept.ome.zarr")
    rewritten(path, lambda content: save({**load(bytes(content)), f"2 {name}": wrong}))
    assert_changeless(load_segmentation(path), found, DAMAGED)
