"""Vocabularies: looked up, regrouped, joined, kept in files that are not believed blindly."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from napari_kindred.classes.config import TeachConfig
from napari_kindred.classes.proposals.entities import EntitySpec
from napari_kindred.classes.vocabulary.entry import Entry
from napari_kindred.classes.vocabulary.mil import NOTHING, UNKNOWN, Bag
from napari_kindred.classes.vocabulary.vocabulary import Vocabulary, iter_fit
from napari_kindred.core.errors import OptionError, OutputError, WeightsError
from napari_kindred.core.events import finish
from napari_kindred.models.weights import read_header

if TYPE_CHECKING:
    from pathlib import Path

SPEC = EntitySpec("kindred", "ab" * 32, {"embedding": "x"})

CONFIG = TeachConfig(hidden=128, folds=3)

CELLS = (
    Entry("red cell", ("erythrocyte", "blood cell"), "#ff0000"),
    Entry("white cell", ("leukocyte", "blood cell"), "#ffffff", 0.5),
    Entry("platelet", (), "#0000ff"),
)


def masks(kind: int, count: int, seed: int) -> np.ndarray:
    """Embeddings of a kind: a direction of its own, and noise; (count, 6)."""
    values = np.random.default_rng(seed).normal(0, 0.3, (count, 6))
    values[:, kind] += 3
    return values.astype(np.float32)


def bags(kinds: list[int], classes: int, none: int | None = None) -> list[Bag]:
    """Four pictures with six marked masks of each kind, and of background if any."""
    made = []
    for seed in range(4):
        parts = [masks(kind, 6, 10 * seed + kind) for kind in kinds]
        codes = [np.full(6, place) for place in range(len(kinds))]
        if none is not None:
            parts.append(masks(none, 6, 100 + seed))
            codes.append(np.full(6, NOTHING))
        made.append(
            Bag(
                np.concatenate(parts),
                np.concatenate(codes).astype(np.int16),
                None if seed else np.ones(classes, bool),
                np.ones(classes, bool),
                f"slide {seed}",
            )
        )
    return made


@pytest.fixture(scope="module")
def blood() -> Vocabulary:
    return finish(iter_fit(CELLS, SPEC, bags([0, 1, 2], 3, none=5), CONFIG, "a test"))


@pytest.fixture
def file(blood: Vocabulary, tmp_path: Path) -> Path:
    return blood.save(tmp_path / "blood.kindred")


# -- names --------------------------------------------------------------------------------------


def test_a_name_is_found_whatever_its_case_and_by_its_synonyms(blood: Vocabulary) -> None:
    assert blood.names == ("red cell", "white cell", "platelet")
    assert [blood.lookup(name) for name in ("White  CELL", "Leukocyte", "red_cell")] == [1, 1, 0]
    assert blood.members("Blood cell") == (0, 1)


def test_an_unknown_name_is_answered_with_the_known_ones_and_other_ways(blood: Vocabulary) -> None:
    with pytest.raises(OptionError, match="does not know 'mitochondrion'") as caught:
        blood.lookup("mitochondrion")
    for part in ("red cell (erythrocyte, blood cell)", "platelet", "examples", "CLIP"):
        assert part in str(caught.value)


def test_scores_are_probabilities_among_all_that_is_known(blood: Vocabulary) -> None:
    values = np.concatenate([masks(kind, 10, 77 + kind) for kind in (0, 1, 2, 5)])
    every = blood.scores(values)
    assert every[:30].argmax(1).tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert every[30:].max() < 0.5
    asked = blood.scores(values, ["platelet", "blood cell"])
    assert asked[:, 0] == pytest.approx(every[:, 2])
    assert asked[:, 1] == pytest.approx(every[:, 0] + every[:, 1])
    assert blood.scores(values[:0], ["platelet"]).shape == (0, 1)


def test_two_names_for_one_class_and_vectors_of_another_length_are_refused(
    blood: Vocabulary,
) -> None:
    with pytest.raises(OptionError, match=r"Both 'blood cell' and 'red cell' mean .*'red cell'"):
        blood.scores(masks(0, 2, 0), ["blood cell", "red cell"])
    with pytest.raises(OptionError, match=r"length 6, not arrays of shape \(2, 5\)"):
        blood.scores(np.zeros((2, 5)))


def test_another_encoder_is_refused_with_both_hashes(blood: Vocabulary) -> None:
    alike = partial(dataclasses.replace, blood)
    blood.check(dataclasses.replace(SPEC, options={"embedding": "x", "points": 4}))
    other = dataclasses.replace(SPEC, sha256="cd" * 32)
    for refuse in (lambda: blood.check(other), lambda: blood.merge(alike(spec=other))):
        with pytest.raises(OptionError, match=r"abababababab.*cdcdcdcdcdcd"):
            refuse()


# -- quality ------------------------------------------------------------------------------------


def test_quality_is_measured_on_pictures_left_out(blood: Vocabulary) -> None:
    assert (blood.quality["pictures"], blood.quality["turns"]) == (4, 3)
    assert blood.quality["masks"] > 0.9
    assert blood.quality["classes"]["platelet"]["count"] == 24
    assert blood.quality["classes"]["platelet"]["recall"] > 0.8


def test_what_cannot_be_learnt_measures_as_a_guess() -> None:
    random = np.random.default_rng(0)
    noise = [
        dataclasses.replace(bag, embeddings=random.normal(size=bag.embeddings.shape))
        for bag in bags([0, 1], 2)
    ]
    entries = CELLS[:2]
    quality = finish(iter_fit(entries, SPEC, noise, dataclasses.replace(CONFIG, folds=4))).quality
    assert quality["masks"] < 0.75


def test_one_picture_leaves_nothing_to_measure_with() -> None:
    assert finish(iter_fit(CELLS, SPEC, bags([0, 1, 2], 3)[:1], CONFIG)).quality == {}


# -- granularity and sharing --------------------------------------------------------------------


def test_classes_are_put_together_and_learnt_anew(blood: Vocabulary) -> None:
    coarse = blood.regroup({"corpuscle": ["red cell", "leukocyte"]})
    assert coarse.names == ("corpuscle", "platelet")
    assert coarse.entries[0].colour == "#ff0000"
    values = np.concatenate([masks(kind, 10, 50 + kind) for kind in (0, 1, 2)])
    assert coarse.scores(values).argmax(1).tolist() == [0] * 20 + [1] * 10
    with pytest.raises(OptionError, match="does not know 'red cell'"):
        coarse.lookup("red cell")


@pytest.mark.parametrize(
    ("groups", "complaint"),
    [
        ({}, "nothing to put together"),
        ({"a": ["red cell"], "b": ["erythrocyte"]}, "is in two groups, 'a' and 'b'"),
        ({"platelet": ["red cell", "white cell"]}, "'platelet' is named twice"),
        ({"a": ["yeast"]}, "does not know 'yeast'"),
    ],
)
def test_groups_that_make_no_sense_are_refused(
    blood: Vocabulary, groups: dict, complaint: str
) -> None:
    with pytest.raises(OptionError, match=complaint):
        blood.regroup(groups)


def test_joined_vocabularies_know_the_classes_of_both(blood: Vocabulary) -> None:
    """Yeast lies where blood has its background; erythrocytes are red cells."""
    entries = (Entry("yeast", (), "#FF0000"), Entry("Erythrocyte", ("RBC",), "#00ff00"))
    other = finish(iter_fit(entries, SPEC, bags([5, 0], 2, none=4), CONFIG, "another"))
    both = blood.merge(other)
    assert both.names == (*blood.names, "yeast")
    assert both.lookup("RBC") == 0
    assert len({entry.colour for entry in both.entries}) == 4
    assert both.origin == "a test; another"
    values = np.concatenate([masks(kind, 10, 50 + kind) for kind in (0, 1, 2, 5)])
    assert both.scores(values).argmax(1).tolist() == [0] * 10 + [1] * 10 + [2] * 10 + [3] * 10


def test_entries_may_be_renamed_but_not_counted_otherwise(blood: Vocabulary) -> None:
    renamed = blood.with_entries([Entry(name) for name in ("a", "b", "c")])
    assert renamed.names == ("a", "b", "c")
    with pytest.raises(OptionError, match="3 classes need"):
        blood.with_entries(CELLS[:2])
    with pytest.raises(OptionError, match="named twice"):
        blood.with_entries([Entry("a"), Entry("A"), Entry("b")])


# -- files --------------------------------------------------------------------------------------


def test_a_file_brings_back_all_of_it(blood: Vocabulary, file: Path) -> None:
    again = Vocabulary.load(file)
    for item in ("entries", "spec", "config", "quality", "origin", "sha256"):
        assert getattr(again, item) == getattr(blood, item), item
    values = masks(1, 9, 3)
    assert np.array_equal(again.scores(values), blood.scores(values))
    for mine, theirs in zip(blood.bags, again.bags, strict=True):
        assert np.array_equal(mine.embeddings, theirs.embeddings)
        assert np.array_equal(mine.instances, theirs.instances)
        assert (mine.present is None) == (theirs.present is None)
        assert mine.source == theirs.source
    assert again.regroup({"cell": ["red cell", "white cell"]}).names == ("cell", "platelet")


def test_a_file_of_a_version_with_fewer_options_keeps_its_hash(file: Path) -> None:
    with safe_open(file, "np") as opened:
        ((kind, text),) = opened.metadata().items()
    facts = json.loads(text)
    assert facts["config"].pop("large")
    save_file(load_file(file), file, {kind: json.dumps(facts)})
    again = Vocabulary.load(file)
    assert again.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert again.config.large == TeachConfig().large


def test_a_file_has_its_ending_and_is_not_overwritten_unasked(
    blood: Vocabulary, file: Path
) -> None:
    with pytest.raises(OutputError, match=r"end it in \.kindred"):
        blood.save(file.with_suffix(".pkl"))
    with pytest.raises(OutputError, match="is there already"):
        blood.save(file)
    assert blood.save(file, overwrite=True) == file


def test_a_vocabulary_that_is_not_there_is_said_so() -> None:
    with pytest.raises(WeightsError, match=r"no vocabulary 'x\.kindred'.*microscopy"):
        Vocabulary.load("x.kindred")


@pytest.mark.parametrize("keep", [0, 7, 200, -1])
def test_a_file_cut_short_is_refused(file: Path, keep: int) -> None:
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"'blood\.kindred' is damaged or cut short"):
        Vocabulary.load(file)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x95 a pickle, which is not opened",
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 4) + b"null",
        b"PK\x03\x04" * 10,
    ],
)
def test_other_files_are_refused_and_nothing_in_them_is_run(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "evil.kindred"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"damaged or cut short, or something else"):
        Vocabulary.load(path)
    save_file({"a": np.zeros(3)}, path, metadata={"kind": "a net"})
    with pytest.raises(WeightsError, match="holds something else than a vocabulary"):
        Vocabulary.load(path)


def change(file: Path, tensors: dict | None = None, facts: dict | None = None) -> None:
    """Write a file again with some of its content replaced."""
    about = read_header(file)["__metadata__"]
    ((kind, text),) = about.items()
    text = json.dumps(json.loads(text) | (facts or {}))
    save_file(load_file(file) | (tensors or {}), file, {kind: text})


ENTRY, *OTHERS = map(dataclasses.asdict, CELLS)

WRONG_ENTRIES: list[dict] = [
    {"colour": "red; import os"},
    {"threshold": 7},
    {"synonyms": ["a", "a"]},
    {"name": "a\x07"},
    {"name": 5},
]


@pytest.mark.parametrize(
    ("tensors", "facts"),
    [
        ({"instances": np.full(96, 7, np.int16)}, None),
        ({"instances": np.full(96, UNKNOWN - 1, np.int16)}, None),
        ({"sizes": np.array([96, 0, 0, 1])}, None),
        ({"known": np.ones((4, 2), np.uint8)}, None),
        ({"embeddings": np.full((96, 6), np.nan, np.float16)}, None),
        ({"embeddings": np.zeros((0, 1 << 40), np.float16)}, None),
        ({"head.layers.0.weight": np.zeros((64, 5), np.float16)}, None),
        ({"head.mean": np.full(6, np.inf, np.float16)}, None),
        (None, {"entries": []}),
        (None, {"entries": [{"name": "a"}]}),
        (None, {"entries": 3}),
        *((None, {"entries": [ENTRY | wrong, *OTHERS]}) for wrong in WRONG_ENTRIES),
        (None, {"recipe": {"kind": "entities"}}),
        (None, {"config": {"steps": -1}}),
        (None, {"config": {"evil": 1}}),
        (None, {"quality": "good"}),
        (None, {"sources": ["one"]}),
    ],
)
def test_content_that_does_not_fit_together_is_refused_in_one_sentence(
    file: Path, tensors: dict | None, facts: dict | None
) -> None:
    change(file)
    Vocabulary.load(file)
    change(file, tensors, facts)
    with pytest.raises(WeightsError, match="damaged or of another version"):
        Vocabulary.load(file)
