"""Colours of clusters, told apart as people see them."""

from __future__ import annotations

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab

from napari_kindred._napari.palette import COUNT, FIRST, palette


def test_the_first_dozen_differ_at_a_glance_and_none_is_there_twice() -> None:
    """A CIEDE2000 of 2 is just seen side by side, one of 10 at a glance."""
    colours = np.array(palette())
    lab = rgb2lab(colours[:, :3])
    distances = deltaE_ciede2000(lab[:, None], lab[None]) + 1e3 * np.eye(COUNT)
    assert distances[:12, :12].min() > 10
    assert distances.min() > 2
    assert (colours[:, 3] == 1).all()


def test_the_largest_cluster_stays_in_the_background() -> None:
    chroma = np.hypot(*rgb2lab(np.array(palette())[:, :3])[:, 1:].T)
    np.testing.assert_allclose(palette()[0][:3], FIRST)
    assert chroma[0] < 15 < chroma[1:].min()
