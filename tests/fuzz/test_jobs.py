"""Jobs on whatever there is: run to the end as their functions, closed halfway as never begun."""

from __future__ import annotations

import gc
import math
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import napari_kindred as nk
from fuzz.made import ANYTHING, Recipe, cases, of_interest, recipes
from fuzz.test_methods import CLUSTER_OPTIONS, ENTITY_OPTIONS
from napari_kindred.classes.config import ClassesConfig
from napari_kindred.classes.open import iter_open_classifier
from napari_kindred.classes.proposals import entities as pooled
from napari_kindred.core.events import Event, Partial, finish
from napari_kindred.models.feature_cache import FeatureCache

HALFWAY = st.floats(0, 1)
"""After which share of its events a job is closed."""

Job = Callable[[FeatureCache], Generator[Event, None, Any]]


def _once(real: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that opens each thing by its name once, whatever the device is called."""
    opened: dict[str, Any] = {}

    def open_once(name: str, *others: Any, **more: Any) -> Any:
        if name not in opened:
            opened[name] = real(name, *others, **more)
        return opened[name]

    return open_once


@pytest.fixture(scope="module")
def _opened_once() -> Iterator[None]:
    """Weights are the same in all cases, and take longer than all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("load_network", "open_encoder"):
            patch.setattr(pooled, name, _once(getattr(pooled, name)))
        yield


def check_job(job: Job, plain: Callable[[FeatureCache], Any], share: float) -> Any:
    """Check a job against its function, and what it leaves when it is closed; gives the result."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        places = [Path(name, part) for part in ("temporary", "plain", "job", "closed")]
        for place in places:
            place.mkdir()
        patch.setattr(tempfile, "tempdir", str(places[0]))
        whole = of_interest(lambda: plain(FeatureCache(places[1])))
        told: list[Event] = []
        same(of_interest(lambda: finish(job(FeatureCache(places[2])), told.append)), whole)
        before = set(places[0].iterdir())
        cache = FeatureCache(places[3])
        of_interest(lambda: close_after(job(cache), int(share * len(told))))
        gc.collect()
        assert set(places[0].iterdir()) == before
        assert not [path for path in places[3].rglob("*") if path.suffix == ".part"]
        same(of_interest(lambda: plain(cache)), whole)
        if isinstance(whole, nk.Segmentation):
            check_frames(told, whole)
        return whole


def close_after(job: Generator[Event, None, Any], count: int) -> None:
    with closing(job):
        for _ in islice(job, count):
            pass


def check_frames(told: list[Event], result: nk.Segmentation) -> None:
    """Check that the last that was told of each frame is what the result holds."""
    last = {event.index: event for event in told if isinstance(event, Partial)}
    assert set(last) == set(np.ndindex(np.shape(result.labels)[:-2]))
    for index, event in last.items():
        assert event.block is None
        np.testing.assert_array_equal(event.labels, np.asarray(result.labels[index]))


def same(one: Any, other: Any) -> None:
    """Check that two results tell the same, but for when and how fast."""
    assert type(one) is type(other)
    if isinstance(one, nk.Segmentation):
        np.testing.assert_array_equal(one.labels, other.labels)
        pd.testing.assert_frame_equal(one.table, other.table)
        assert lasting(one.provenance) == lasting(other.provenance)
    elif isinstance(one, nk.Vocabulary):
        assert one.sha256 == other.sha256


def lasting(facts: dict[str, Any]) -> str:
    return repr(
        {name: value for name, value in facts.items() if name not in ("seconds", "written")}
    )


@cases(0.25)
@given(recipes(0.85), ENTITY_OPTIONS, HALFWAY)
def test_entities_as_a_job(network: Any, recipe: Recipe, options: Any, share: float) -> None:
    image, options = recipe.image(), {"axes": recipe.axes, "model": network, **options}
    check_job(
        lambda _: nk.iter_segment_entities(image, **options),
        lambda _: nk.segment_entities(image, **options),
        share,
    )


@pytest.mark.usefixtures("blurred")
@cases(0.25)
@given(recipes(0.85), CLUSTER_OPTIONS, HALFWAY)
def test_clusters_as_a_job(recipe: Recipe, options: Any, share: float) -> None:
    image, options = recipe.image(), {"axes": recipe.axes, **options}
    check_job(
        lambda cache: nk.iter_cluster_stack(image, cache=cache, **options),
        lambda cache: nk.cluster_stack(image, cache=cache, **options),
        share,
    )


@pytest.fixture(scope="module")
def classifier(_opened_once: None) -> Any:
    return finish(iter_open_classifier(("nucleus",), config=ClassesConfig()))


@cases(0.25)
@given(
    recipes(0.9),
    st.sampled_from(["nucleus", "nucleus, cytoplasm", ["nucleus", "Nucleus"], "", "no such thing"]),
    st.one_of(st.just("auto"), st.floats(0, 1)),
    HALFWAY,
)
def test_classes_as_a_job(
    classifier: Any, recipe: Recipe, names: Any, threshold: Any, share: float
) -> None:
    image = recipe.image()
    options = {"axes": recipe.axes, "threshold": threshold, "classifier": classifier}
    check_job(
        lambda cache: nk.iter_segment_classes(image, names, cache=cache, **options),
        lambda cache: nk.segment_classes(image, names, cache=cache, **options),
        share,
    )


def single(recipe: Recipe) -> Recipe:
    """One picture of a stack."""
    axes = recipe.axes or ""
    if len(axes) != len(recipe.shape):
        return recipe
    kept = [place for place, letter in enumerate(axes) if letter not in "TZ"]
    shape = tuple(recipe.shape[place] for place in kept)
    return replace(recipe, shape=shape, axes="".join(axes[place] for place in kept))


NAMES = ("red", "white", "Red", "background", "cell 3")
ODD_NAMES = st.one_of(st.sampled_from(NAMES), st.text(max_size=3))
ODD_MARKS = st.one_of(
    ANYTHING, st.dictionaries(ODD_NAMES, st.one_of(ANYTHING, st.lists(st.floats(), max_size=4)))
)


@st.composite
def examples(draw: Any) -> dict[str, Any]:
    """Draw an example: mostly one that is sound, as the fields that it has."""
    recipe = draw(recipes(0.9).map(single))
    axes = recipe.axes or ""
    sides = {"Y": 40, "X": 40, **dict(zip(axes, recipe.shape, strict=False))}
    inside = st.tuples(*(st.floats(0, max(0, sides[letter] - 1)) for letter in "YX"))
    box = st.tuples(inside, st.floats(1, 30)).map(
        lambda drawn: (*drawn[0], drawn[0][0] + drawn[1], drawn[0][1] + drawn[1])
    )
    name = st.sampled_from(NAMES)
    labels = np.random.default_rng(recipe.seed).integers(0, 4, (sides["Y"], sides["X"]))
    fields = draw(
        st.fixed_dictionaries(
            {"points": st.dictionaries(name, st.lists(inside, max_size=4), max_size=3)},
            optional={
                "names": st.lists(name, max_size=2),
                "boxes": st.dictionaries(name, st.lists(box, max_size=3), max_size=2),
                "labels": st.just(labels),
                "label_names": st.dictionaries(st.integers(0, 4), name, max_size=3),
                "complete": st.booleans(),
            },
        )
    )
    if draw(st.floats(0, 1)) > 0.8:
        part = draw(st.sampled_from(["names", "points", "boxes", "labels", "label_names"]))
        fields[part] = draw(ODD_MARKS)
    return {"image": recipe.image(), "axes": recipe.axes, **fields}


TEACH_OPTIONS = st.fixed_dictionaries(
    {
        "proposals": st.sampled_from(["entities", "regions", "auto"]),
        "steps": st.integers(1, 5),
        "hidden": st.integers(8, 32),
        "folds": st.integers(0, 3),
    },
    optional={
        "threshold": st.floats(0, 1),
        "unmarked": st.floats(0, 1),
        "distillation": st.floats(0, 1),
        "uncertain": st.floats(0, 1),
        "region_size": st.floats(4, 40),
        "share": st.integers(1, 20),
        "kept": st.integers(1, 50),
        "channel": st.one_of(st.none(), st.integers(0, 3)),
        "seed": st.integers(0, 2**31 - 1),
    },
)


@pytest.mark.usefixtures("_opened_once")
@cases(0.5)
@given(st.lists(examples(), min_size=1, max_size=2), TEACH_OPTIONS, HALFWAY)
def test_teaching_as_a_job(drawn: list[dict[str, Any]], options: Any, share: float) -> None:
    shown = of_interest(lambda: [nk.Example(**fields) for fields in drawn])
    if shown is None:
        return
    taught = check_job(
        lambda cache: nk.iter_teach_classes(shown, cache=cache, **options),
        lambda cache: nk.teach_classes(shown, cache=cache, **options),
        share,
    )
    if taught is None:
        return
    said = {name.casefold() for one in shown for name in one.classes()}
    assert {name.casefold() for name in taught.names} == said
    vectors = np.random.default_rng(0).normal(size=(9, taught.head.dimension))
    scores = taught.scores(vectors)
    assert scores.shape == (9, len(said))
    assert 0 <= scores.min() <= scores.max() <= 1
    assert not math.isnan(scores.sum())
    with tempfile.TemporaryDirectory() as folder:
        path = taught.save(Path(folder, "taught.kindred"))
        assert nk.Vocabulary.load(path).sha256 == taught.sha256


@cases(0.5)
@given(
    st.one_of(ANYTHING, st.lists(ANYTHING, max_size=2)),
    st.dictionaries(
        st.sampled_from(["proposals", "steps", "encoder", "device", "odd"]), ANYTHING, max_size=1
    ),
)
@example(None, {})  # TypeError: 'NoneType' object is not iterable
@example(nk.Example(np.zeros((9, 9)), names=("red",)), {})  # TypeError: 'Example' object is not …
def test_anything_instead_of_examples_is_refused(shown: Any, options: dict[str, Any]) -> None:
    assert of_interest(lambda: nk.teach_classes(shown, **options)) is None


@cases(0.5)
@given(
    st.sampled_from(["vocabulary", "clip", "examples"]),
    ANYTHING.filter(lambda one: one is not None),
)
@example("vocabulary", 3)  # AttributeError: 'int' object has no attribute 'scores'
@example("clip", b"a")  # TypeError: argument should be a str object
def test_what_gives_names_no_meaning_is_refused(word: str, value: Any) -> None:
    image = Recipe((9, 9)).image()

    def call() -> Any:
        return nk.segment_classes(image, "nucleus", axes="YX", **{word: value})

    # Without words, the shipped vocabulary is meant.
    assert of_interest(call) is None or (word, value) == ("vocabulary", "")
