"""Masks cut out of whole pictures."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_kindred.classes.proposals.masks import Masks


def from_dense(dense: np.ndarray) -> Masks:
    """Cut each of the masks (N, Y, X) out; an empty one has an empty box."""
    nowhere = (slice(0, 0), slice(0, 0))
    places = [(*ndimage.find_objects(mask.astype(int)), nowhere)[0] for mask in dense]
    boxes = [(y.start, x.start, y.stop, x.stop) for y, x in places]
    crops = tuple(mask[place].copy() for mask, place in zip(dense, places, strict=True))
    return Masks(dense.shape[1:], np.array(boxes, np.int32).reshape(-1, 4), crops)
