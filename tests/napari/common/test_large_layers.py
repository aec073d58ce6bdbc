"""Layers of planes that come block by block."""

from __future__ import annotations

import dask.array as da
import numpy as np

from napari_kindred._napari.common.layers import layer_features
from napari_kindred.core.events import Partial
from napari_kindred.entities.assembly import EntityAssembly
from napari_kindred.images.stack import ImageStack
from napari_kindred.results.segmentation import measure


def block(index: tuple[int, ...], labels: np.ndarray, rows: slice, first: int) -> Partial:
    """Rows of a frame as they come before the frame is done, ids above ``first``."""
    part = np.where(labels[rows] > 0, labels[rows] + first, 0).astype(np.int32)
    return Partial(index, part, measure(part, None), block=(rows, slice(0, labels.shape[1])))


def test_blocks_show_at_once_and_the_finished_frame_takes_their_place() -> None:
    labels = np.zeros((8, 6), np.int32)
    labels[1:3, 1:3], labels[5:7, 2:5] = 1, 2
    growing = EntityAssembly(ImageStack.open(np.zeros((2, 8, 6)), "TYX"), unique_ids=True)
    for time in range(2):
        growing.add(block((time,), labels, slice(0, 4), 10))
        assert growing.begun
        assert growing.done == time
        np.testing.assert_array_equal(
            growing.labels[time] > 0, (labels > 0) & (np.arange(8) < 4)[:, None]
        )
        growing.add(block((time,), labels, slice(4, 8), 20))
        assert len(layer_features(growing.table())) == 1 + 2 * (time + 1)
        whole = da.from_array(labels, chunks=(3, 3))
        growing.add(Partial((time,), whole, measure(labels, None, frame=time)))
        assert not growing.begun
    assert growing.done == growing.frames == 2
    np.testing.assert_array_equal(growing.labels[0], labels)
    np.testing.assert_array_equal(growing.labels[1], np.where(labels > 0, labels + 2, 0))
    assert list(layer_features(growing.table())["index"]) == [0, 1, 2, 3, 4]
