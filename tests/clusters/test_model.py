"""The estimator: planted clusters, the paper's steps, scikit-learn's manners, what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from napari_kindred.clusters import model as hierarchy
from napari_kindred.clusters.model import HierarchicalClustering
from napari_kindred.clusters.prepass import sample_places
from napari_kindred.core.errors import InputError, OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

PRESETS = [{}, {"reassign": False}, {"carry_over": False}, {"preset": "paper"}]


def named(options: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items()) or "default"


# -- what is found ---------------------------------------------------------------------------


@pytest.mark.parametrize("options", PRESETS, ids=named)
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_planted_clusters_are_found_in_all_frames(
    planted: Callable[..., Any], options: dict[str, Any], batch_size: int
) -> None:
    movie = planted(frames=6)  # a shorter batch comes last
    model = HierarchicalClustering(5, batch_size=batch_size, **options)
    labels = model.fit_predict(movie.tokens)
    assert labels.dtype == np.int32
    assert movie.agreement(labels) == 1
    assert movie.agreement(model.predict(movie.tokens)) == 1


@pytest.mark.parametrize("options", PRESETS, ids=named)
@pytest.mark.parametrize("background", ["none", "largest"])
def test_labels_are_numbered_by_area(
    planted: Callable[..., Any], options: dict[str, Any], background: Any
) -> None:
    movie = planted(frames=8)
    model = HierarchicalClustering(5, n_local=15, background=background, **options)
    labels = model.fit_predict(movie.tokens)
    first = 0 if background == "largest" else 1
    assert np.unique(labels).tolist() == list(range(first, first + 5))
    # The truth is numbered by area as well, from 0.
    np.testing.assert_array_equal(labels - first, movie.truth)


def test_a_rare_kind_that_only_the_last_frame_has_is_found(planted: Callable[..., Any]) -> None:
    movie = planted(frames=12, count=4)
    movie.tokens[-1, :3, :3] = 30.0
    movie.truth[-1, :3, :3] = 4
    labels = HierarchicalClustering(5).fit_predict(movie.tokens)
    assert movie.agreement(labels) == 1


def test_the_first_look_is_at_frames_spread_over_the_movie() -> None:
    assert sample_places(101) == [0, 20, 40, 60, 80, 100]
    assert sample_places(3) == [0, 1, 2]
    assert sample_places(1) == [0]


@pytest.mark.parametrize("options", PRESETS, ids=named)
def test_prototypes_are_the_means_of_all_tokens_in_the_encoder_s_own_dimensions(
    planted: Callable[..., Any], options: dict[str, Any]
) -> None:
    movie = planted(frames=6, dimension=30)
    model = HierarchicalClustering(5, n_components=4, **options).fit(movie.tokens)
    assert model.prototypes_.shape == (20, 30)
    assert model.sizes_.sum() == movie.truth.size
    whole = (model.prototypes_ * model.sizes_[:, None]).sum(0) / model.sizes_.sum()
    np.testing.assert_allclose(whole, movie.tokens.mean((0, 1, 2)), atol=1e-4)
    assert model.prototype_labels_.shape == (20,)


def test_rough_kinds_are_groups_of_clusters() -> None:
    places = np.array([[k // 3 * 50 + k % 3 * 5, 0] for k in range(9)], np.float32)
    random = np.random.default_rng(0)
    truth = random.integers(0, 9, (4, 20, 20))
    tokens = places[truth] + 0.2 * random.standard_normal((*truth.shape, 2))
    model = HierarchicalClustering(9).fit(tokens.astype(np.float32))
    kinds = model.kinds_[_clusters(model, tokens)]
    assert adjusted_rand_score(kinds.ravel(), truth.ravel() // 3) == 1


def _clusters(model: HierarchicalClustering, tokens: np.ndarray) -> np.ndarray:
    """Cluster 0 … K - 1 of each token."""
    return np.argsort(model.numbers_)[model.predict(tokens) - 1]


def test_the_sample_of_tokens_does_not_grow_with_the_movie(
    planted: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hierarchy, "LARGEST_SAMPLE", 2000)
    movie = planted(frames=80)
    model = HierarchicalClustering(5).fit(movie.tokens)
    assert sum(map(len, model._sample)) <= 2000 < movie.truth.size
    assert model.local_labels_ == []
    assert movie.agreement(model.predict(movie.tokens)) == 1


# -- the paper -------------------------------------------------------------------------------


def as_the_paper_says(
    frames: np.ndarray, batch_size: int, n_local: int, n_clusters: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Steps 1 to 5 of BYOCL one after the other; returns labels (T, h, w) and prototypes."""
    prototypes, local = [], []
    for first in range(0, len(frames), batch_size):  # 1: batches in order of time
        batch = frames[first : first + batch_size]  # 2: tokens
        tokens = batch.reshape(-1, frames.shape[-1])
        count = min(20, len(tokens) - 1, tokens.shape[1])
        reduced = PCA(count, svd_solver="full").fit_transform(tokens)  # 3: PCA, k-means
        labels = KMeans(n_local, n_init=1, random_state=seed).fit_predict(reduced)
        # 4: the mean of unreduced tokens
        prototypes += [tokens[labels == k].mean(0) for k in range(n_local)]
        local.append(labels.reshape(batch.shape[:3]))
    stacked = np.array(prototypes)  # 5: all prototypes, PCA, k-means, look-up table
    count = min(20, len(stacked) - 1, stacked.shape[1])
    reduced = PCA(count, svd_solver="full").fit_transform(stacked)
    table = KMeans(n_clusters, n_init=10, random_state=seed).fit_predict(reduced)
    table = table.reshape(-1, n_local)
    return np.concatenate([table[b][labels] for b, labels in enumerate(local)]), stacked


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("frames", [4, 10])
def test_the_paper_s_steps_are_followed_to_the_letter(
    planted: Callable[..., Any], frames: int, seed: int
) -> None:
    # So much noise that another order of steps, or other parameters, give other labels.
    movie = planted(frames=frames, count=12, noise=4.0, dimension=32, seed=seed)
    ours = {"carry_over": False, "reassign": False}  # without effect on the paper's steps
    model = HierarchicalClustering(6, preset="paper", seed=seed, **(ours if seed else {}))
    labels = model.fit_predict(movie.tokens)
    known, prototypes = as_the_paper_says(movie.tokens.astype(np.float64), 4, 10, 6, seed)
    assert adjusted_rand_score(labels.ravel(), known.ravel()) == 1
    order = np.lexsort(prototypes.T)
    seen = model.prototypes_[np.lexsort(model.prototypes_.T)]
    np.testing.assert_allclose(seen, prototypes[order], rtol=1e-4, atol=1e-4)
    assert (np.diff(np.bincount(labels.ravel())[1:]) <= 0).all()


def test_more_local_clusters_than_a_byte_can_tell_apart(planted: Callable[..., Any]) -> None:
    movie = planted(frames=8)
    model = HierarchicalClustering(5, preset="paper", n_local=300)
    assert movie.agreement(model.fit_predict(movie.tokens)) == 1


# -- manners of scikit-learn -----------------------------------------------------------------


@pytest.mark.parametrize("options", PRESETS, ids=named)
def test_batch_by_batch_is_the_same_as_all_at_once(
    planted: Callable[..., Any], options: dict[str, Any]
) -> None:
    movie = planted(frames=10, noise=4.0)
    whole = HierarchicalClustering(5, **options).fit(iter(movie.tokens))
    parts = HierarchicalClustering(5, **options)
    for first in range(0, 10, 4):
        parts.partial_fit(movie.tokens[first : first + 4])
    parts.finish()
    for name in ("prototypes_", "sizes_", "prototype_labels_", "centres_", "leaves_", "merges_"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


@pytest.mark.parametrize("options", PRESETS, ids=named)
def test_fitting_again_forgets_what_was_before(
    planted: Callable[..., Any], options: dict[str, Any]
) -> None:
    one, other = planted(seed=1, noise=4.0).tokens, planted(seed=2, noise=4.0).tokens
    model = HierarchicalClustering(5, **options)
    fresh = model.fit_predict(one)
    model.fit(other)
    np.testing.assert_array_equal(model.fit_predict(one), fresh)
    np.testing.assert_array_equal(clone(model).fit_predict(one), fresh)


def test_parameters_can_be_read_set_and_cloned() -> None:
    model = HierarchicalClustering("auto", n_local=7)
    assert model.get_params()["n_local"] == 7
    copy = clone(model).set_params(n_clusters=3, preset="paper")
    assert (copy.n_clusters, copy.n_local, copy.preset) == (3, 7, "paper")
    assert model.n_clusters == "auto"
    assert "n_local=7" in repr(model)


def test_input_is_left_as_it_is(planted: Callable[..., Any]) -> None:
    tokens = planted().tokens
    tokens.flags.writeable = False
    HierarchicalClustering(5).fit_predict(tokens)


# -- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"n_clusters": 1}, "n_clusters=1 must be at least 2"),
        ({"n_clusters": 400}, "n_clusters=400 must be at most 64"),
        ({"n_clusters": "many"}, "n_clusters='many' must be a whole number"),
        ({"n_clusters": 2.5}, "n_clusters=2.5 must be a whole number"),
        ({"n_clusters": None}, "n_clusters=None must be a whole number"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"batch_size": "auto"}, "batch_size='auto' must be a whole number"),
        ({"n_local": 1}, "n_local=1 must be at least 2"),
        ({"n_components": 0}, "n_components=0 must be at least 2"),
        ({"preset": "papers"}, "preset='papers' must be one of default, paper"),
        ({"background": "black"}, "background='black' must be one of auto, objects, none, largest"),
        ({"seed": -1}, "seed=-1 must be at least 0"),
    ],
)
@pytest.mark.parametrize("how", ["fit", "partial_fit"])
def test_a_parameter_that_cannot_be_is_named_in_one_sentence(
    planted: Callable[..., Any], options: dict[str, Any], complaint: str, how: str
) -> None:
    model = HierarchicalClustering(**options)
    with pytest.raises(OptionError, match=complaint) as caught:
        getattr(model, how)(planted(frames=2).tokens)
    assert "\n" not in str(caught.value)


def test_a_model_that_is_not_fitted_says_so(planted: Callable[..., Any]) -> None:
    model, tokens = HierarchicalClustering(), planted(frames=1).tokens
    with pytest.raises(InputError, match="not fitted"):
        model.predict(tokens)
    with pytest.raises(InputError, match="give it frames first"):
        model.finish()
    with pytest.raises(InputError, match="give it frames first"):
        model.fit(iter([]))
    with pytest.raises(InputError, match="give it frames first"):
        HierarchicalClustering().reduce(tokens)


FOUR = np.random.default_rng(0).standard_normal((1, 2, 2, 8)).astype(np.float32)


@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize(
    ("tokens", "complaint"),
    [
        (FOUR, r"only 4 .* too few for 5 clusters; ask for fewer"),
        (np.ones((8, 100, 100, 4), np.float32), r"only [12] .* too few for 5 clusters"),
        (np.zeros((3, 7), np.float32), r"\(h, w, D\)"),
    ],
    ids=["few", "equal", "flat"],
)
def test_tokens_that_cannot_be_clustered_are_refused(
    tokens: np.ndarray, complaint: str, preset: Any
) -> None:
    with pytest.raises(InputError, match=complaint):
        HierarchicalClustering(5, preset=preset).fit(tokens)
    if tokens is FOUR:
        labels = HierarchicalClustering(3, preset=preset).fit_predict(list(tokens))
        assert np.unique(labels).tolist() == [1, 2, 3]


@pytest.mark.parametrize("options", PRESETS, ids=named)
@pytest.mark.parametrize("place", [0, 4, 8])
def test_a_batch_of_black_frames_does_not_stop_the_movie(
    planted: Callable[..., Any], options: dict[str, Any], place: int
) -> None:
    movie = planted(frames=12, count=4)
    movie.tokens[place : place + 4] = -20.0
    movie.truth[place : place + 4] = 4
    labels = HierarchicalClustering(5, **options).fit_predict(movie.tokens)
    assert movie.agreement(labels) == 1


@pytest.mark.parametrize(
    ("options", "objects", "asked"),
    [
        ({"n_clusters": 6}, False, 6),
        ({"n_clusters": 6, "background": "largest"}, False, 5),
        ({"n_clusters": "auto"}, False, None),
        ({"n_clusters": 6, "kinds": 3}, True, 3),
        ({"n_clusters": 6, "kinds": 3, "background": "largest"}, True, 3),
        ({"kinds": "auto"}, True, None),
    ],
)
def test_the_background_is_not_one_of_the_clusters_asked_for(
    options: Any, objects: bool, asked: int | None
) -> None:
    model = HierarchicalClustering(**options)
    model.objects_ = objects
    assert model.asked == asked
