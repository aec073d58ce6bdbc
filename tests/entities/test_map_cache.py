"""A run with another threshold needs no network, and gives what a run from the start gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import napari_kindred as nk
from napari_kindred.core.events import finish
from napari_kindred.entities import segment
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.entities.map_cache import MapCache
from napari_kindred.images.samples import open_sample

if TYPE_CHECKING:
    import torch


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the images that a network has looked at."""
    seen: list[tuple[int, ...]] = []
    before = segment.iter_dense

    def counted(network: Any, image: torch.Tensor, *how: Any) -> Any:
        seen.append(tuple(image.shape))
        return before(network, image, *how)

    monkeypatch.setattr(segment, "iter_dense", counted)
    return seen


@pytest.fixture(scope="module")
def movie() -> np.ndarray:
    return np.asarray(open_sample("nuclei").data)[:2, :128, :144]


def segmented(movie: np.ndarray, maps: MapCache | None = None, **options: Any) -> Any:
    return finish(nk.iter_segment_entities(movie, axes="TYX", maps=maps, **options))


@pytest.mark.parametrize(
    "options", [{"threshold": 0.3}, {"min_area": 120, "min_score": 0.7}, {"fill_holes": False}]
)
def test_another_threshold_takes_the_maps_that_are_kept(
    movie: np.ndarray, looks: list[Any], options: dict[str, Any]
) -> None:
    maps = MapCache()
    first = segmented(movie, maps)
    assert looks
    assert maps.complete
    looks.clear()
    again = segmented(movie, maps, **options)
    assert looks == []
    fresh = segmented(movie, **options)
    assert looks
    np.testing.assert_array_equal(again.labels, fresh.labels)
    pd.testing.assert_frame_equal(again.table, fresh.table)
    # What is chosen by looking does not move with what is chosen afterwards.
    assert again.provenance["scale_used"] == first.provenance["scale_used"]


def test_other_pixels_views_and_scales_are_looked_at(movie: np.ndarray, looks: list[Any]) -> None:
    maps = MapCache()
    segmented(movie, maps, scale=1.0)
    for image, options in ((movie[:, ::-1], {}), (movie, {"views": 2}), (movie, {"scale": 0.5})):
        looks.clear()
        segmented(image, maps, **{"scale": 1.0, **options})
        assert len(looks) == 2


def test_other_weights_have_other_maps(movie: np.ndarray, looks: list[Any]) -> None:
    maps = MapCache()
    segmented(movie, maps, scale=1.0)
    looks.clear()
    other = load_network("kindred-entities")
    segmented(movie, maps, scale=1.0, model=other)
    assert len(looks) == 2


def test_a_full_cache_says_that_it_is_not_complete(movie: np.ndarray, looks: list[Any]) -> None:
    one = 4 * 64 * 72 * 4  # four channels at half the resolution, float32
    maps = MapCache(limit=one)
    segmented(movie, maps, scale=1.0)
    assert not maps.complete
    looks.clear()
    result = segmented(movie, maps, scale=1.0, threshold=0.3)
    np.testing.assert_array_equal(result.labels, segmented(movie, scale=1.0, threshold=0.3).labels)
    assert looks
    maps.clear()
    assert not maps.complete
