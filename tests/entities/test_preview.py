"""A part of a frame, segmented as the whole would be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import napari_kindred as nk
from napari_kindred.core.events import finish
from napari_kindred.entities import preview
from napari_kindred.entities.map_cache import MapCache
from napari_kindred.entities.preview import iter_preview
from napari_kindred.images.samples import open_sample
from napari_kindred.results.metrics import average_precision


@pytest.fixture(scope="module")
def movie() -> np.ndarray:
    return np.asarray(open_sample("nuclei").data)[:2]


def test_a_part_has_the_labels_of_the_whole(movie: np.ndarray) -> None:
    whole = nk.segment_entities(movie, axes="TYX", link="off")
    window = (slice(60, 200), slice(80, 240))
    part = finish(iter_preview(movie, (1,), window, axes="TYX"))
    assert part.window == window
    assert part.index == (1,)
    assert part.scale == whole.provenance["scale_used"]
    expected = whole.labels[1][window]
    assert part.count >= 10
    assert average_precision([(expected, part.labels)])["AP50"] > 0.9
    assert np.mean((expected > 0) == (part.labels > 0)) > 0.99


def test_too_large_a_part_is_cut_about_its_middle(
    movie: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "SIDE", 100)
    part = finish(iter_preview(movie, (0,), axes="TYX", scale=1.0))
    assert part.window == (slice(78, 178), slice(78, 178))
    assert part.labels.shape == (100, 100)


@pytest.mark.parametrize(
    "window", [(slice(-20, 30), slice(250, 400)), (slice(300, 310), slice(5, 5))]
)
def test_a_part_beyond_the_image_is_cut(movie: np.ndarray, window: Any) -> None:
    part = finish(iter_preview(movie, (0,), window, axes="TYX", scale=1.0))
    assert part.labels.shape == tuple(one.stop - one.start for one in part.window)
    assert all(0 <= one.start < one.stop <= 256 for one in part.window)


def test_an_empty_frame_has_no_objects() -> None:
    part = finish(iter_preview(np.zeros((2, 64, 64), np.uint8), (1,), axes="TYX"))
    assert part.labels.shape == (64, 64)
    assert not part.labels.any()


def test_options_are_tried_without_the_network(
    movie: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = MapCache()
    low = finish(iter_preview(movie, (0,), axes="TYX", maps=maps, min_area=0))
    monkeypatch.setattr("napari_kindred.entities.segment.iter_dense", None)
    high = finish(iter_preview(movie, (0,), axes="TYX", maps=maps, min_area=300))
    assert 0 < high.count < low.count
