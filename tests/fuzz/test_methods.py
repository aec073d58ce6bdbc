"""The three methods on whatever there is: a sound result, the same each time, or a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import napari_kindred as nk
from fuzz.made import ANYTHING, Recipe, cases, of_interest, recipes
from napari_kindred.images.readers import ImageFile
from napari_kindred.images.stack import ImageStack
from napari_kindred.models.feature_cache import FeatureCache

if TYPE_CHECKING:
    from collections.abc import Iterator


def check(recipe: Recipe, image: Any, result: Any) -> list[np.ndarray]:
    """Check what all results have in common; returns the labels frame by frame."""
    frames = ImageStack.open(image, recipe.axes)
    labels = np.asarray(result.labels)
    assert labels.shape == frames.output_shape
    assert labels.dtype == np.int32
    assert labels.min() >= 0
    assert result.axes == frames.output_axes
    assert result.provenance["complete"] is True
    return list(labels.reshape(-1, *labels.shape[-2:]))


ENTITY_OPTIONS = st.fixed_dictionaries(
    {"scale": st.sampled_from([1.0, 0.5, 0.02, 2.0, "auto"])},
    optional={
        "threshold": st.floats(0.01, 0.99),
        "min_area": st.integers(0, 300),
        "min_score": st.floats(0, 1),
        "fill_holes": st.booleans(),
        "resolutions": st.integers(1, 2),
        "tile": st.sampled_from([288, 289, 320]),
        "memory": st.sampled_from([None, 0.25]),
    },
)


@cases(1)
@given(recipes(0.85), ENTITY_OPTIONS)
def test_entities_of_anything(network: Any, recipe: Recipe, options: dict[str, Any]) -> None:
    image = recipe.image()

    def call() -> Any:
        return nk.segment_entities(image, axes=recipe.axes, model=network, **options)

    result = of_interest(call)
    if result is None:
        return
    frames = check(recipe, image, result)
    table, size = result.table, "area"
    if "volume" in table:  # of slices: an object is in one volume, not in one frame
        stack, depth = np.asarray(result.labels), result.axes.index("Z")
        frames = np.moveaxis(stack, depth, -3).reshape(-1, stack.shape[depth], *stack.shape[-2:])
        size = "volume"
    for number, labels in enumerate(frames):
        ids, areas = np.unique(labels[labels > 0], return_counts=True)
        rows = table[table["frame"] == number] if "frame" in table else table
        assert rows["index"].tolist() == ids.tolist()
        assert rows[size].tolist() == areas.tolist()
        assert (areas >= options.get("min_area", 12)).all()
    each = of_frames(image, recipe.axes) if size == "area" else ()
    for raw, labels in zip(each, frames, strict=size == "area"):
        if raw.min() == raw.max():
            assert not labels.any()
    np.testing.assert_array_equal(call().labels, result.labels)


def of_frames(image: Any, axes: str | None) -> Iterator[np.ndarray]:
    frames = ImageStack.open(image, axes)
    for index in frames.indices():
        yield frames.read(index).pixels


CLUSTER_OPTIONS = st.fixed_dictionaries(
    {"n_clusters": st.one_of(st.integers(2, 6), st.just("auto"))},
    optional={
        "refinement": st.sampled_from(["auto", "edges", "none", "decoder"]),
        "stride": st.sampled_from([2, 4, 8]),
        "objects": st.booleans(),
        "background": st.sampled_from(["none", "largest"]),
        "large": st.sampled_from(["tiles", "resize"]),
        "preset": st.sampled_from(["default", "paper"]),
        "batch_size": st.integers(1, 3),
        "n_local": st.integers(2, 12),
        "n_components": st.integers(2, 30),
        "carry_over": st.booleans(),
        "reassign": st.booleans(),
        "seed": st.integers(0, 2**31 - 1),
    },
)


@pytest.mark.usefixtures("blurred")
@cases(1.5)
@given(recipes(0.85), CLUSTER_OPTIONS)
def test_clusters_of_anything(recipe: Recipe, options: dict[str, Any]) -> None:
    image = recipe.image()

    def call() -> Any:
        cache = FeatureCache(limit=0)
        return nk.cluster_stack(image, axes=recipe.axes, cache=cache, **options)

    result = of_interest(call)
    if result is None:
        return
    labels = np.stack(check(recipe, image, result))
    ids, areas = np.unique(labels[labels > 0], return_counts=True)
    assert set(ids) == set(result.table["index"])
    assert dict(zip(ids, areas, strict=True)) == dict(
        zip(result.table["index"], result.table["area"], strict=True)
    )
    for level in (2, max(result.levels, default=2)):
        coarse = of_interest(lambda level=level: result.at_level(level))
        assert coarse is None or coarse.labels.shape == result.labels.shape
    np.testing.assert_array_equal(call().labels, result.labels)


@cases(0.25)
@given(
    recipes(0.9),
    st.one_of(
        st.sampled_from(["nucleus", "nucleus, cytoplasm", ["nucleus", "Nucleus"], "", ["cell", 3]]),
        st.lists(st.text(max_size=4), max_size=3),
    ),
    st.one_of(st.just("auto"), st.floats(0, 1)),
)
def test_classes_of_anything(recipe: Recipe, names: Any, threshold: Any) -> None:
    image = recipe.image()
    result = of_interest(
        lambda: nk.segment_classes(image, names, axes=recipe.axes, threshold=threshold)
    )
    if result is None:
        return
    frames = check(recipe, image, result)
    areas = np.bincount(np.stack(frames).ravel(), minlength=len(result.names) + 1)[1:]
    assert result.table["area"].tolist() == areas.tolist()
    again = result.at_threshold(threshold)
    np.testing.assert_array_equal(again.labels, result.labels)


@cases(0.5)
@given(recipes(1.0), st.dictionaries(st.sampled_from(["axes", "channel", "scale", "tile", "memory",
                                                      "threshold", "weights", "device", "odd"]),
                                     ANYTHING, min_size=1, max_size=2))  # fmt: skip
def test_any_option_is_taken_or_refused(network: Any, recipe: Recipe, options: Any) -> None:
    given_options = {"scale": 1.0, "axes": recipe.axes, **options}
    # Sixteen times as large is sound, and slow.
    scale = given_options["scale"]
    if isinstance(scale, int | float) and scale > 2:
        given_options["scale"] = 2
    image = recipe.image()
    of_interest(lambda: nk.segment_entities(image, model=network, **given_options))


@cases(0.5)
@given(recipes(1.0), st.tuples(st.floats(0.001, 1e6), st.floats(0.001, 1e6)))
def test_the_scale_of_a_file_is_kept(recipe: Recipe, steps: tuple[float, float]) -> None:
    size = {"Y": steps[0], "X": steps[1]}
    axes = recipe.axes or ""
    scale = tuple(size.get(letter, 1.0) for letter in axes)
    units = tuple("micrometer" if letter in size else "pixel" for letter in axes)
    frames = ImageStack.open(ImageFile(recipe.image(), axes, scale, units))
    assert frames.scale == tuple(size.get(letter, 1.0) for letter in frames.output_axes)
    assert frames.units is not None
    assert frames.units[-2:] == ("micrometer",) * 2


TOKENS = st.builds(
    lambda shape, kind, seed: _tokens(shape, kind, seed),
    st.lists(st.integers(0, 6), min_size=1, max_size=5).map(tuple),
    st.sampled_from(["noise", "constant", "nan", "object", "int", "list", "text", "none", "large"]),
    st.integers(0, 3),
)


def _tokens(shape: tuple[int, ...], kind: str, seed: int) -> Any:
    values = np.random.default_rng(seed).random(shape)
    made: dict[str, Any] = {
        "noise": values, "constant": np.ones(shape), "nan": values * np.nan,
        "object": values.astype(object), "int": (9 * values).astype(int), "list": list(values),
        "text": values.astype(str), "none": None, "large": values * 1e9,
    }  # fmt: skip
    return made[kind]


@cases(1.5)
@given(TOKENS, CLUSTER_OPTIONS)
@example(None, {"n_clusters": "auto"})  # TypeError: 'NoneType' object is not iterable
@example(np.zeros(0), {"n_clusters": "auto"})  # ValueError: need at least one array
@example(1e9 * np.ones((1, 4, 4, 3)), {"n_clusters": 2})  # RuntimeWarning: overflow in cast
def test_the_estimator_takes_any_tokens_or_refuses_them(tokens: Any, options: Any) -> None:
    known = nk.HierarchicalClustering().get_params()
    model = nk.HierarchicalClustering(**{k: v for k, v in options.items() if k in known})
    labels = of_interest(lambda: model.fit_predict(tokens))
    if labels is not None:
        assert labels.shape == np.shape(tokens)[:3]
        assert labels.dtype == np.int32
        assert model.predict(tokens).shape == labels.shape
