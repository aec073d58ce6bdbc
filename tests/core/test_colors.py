"""Colours of clusters, told apart as people see them."""

from __future__ import annotations

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab

from napari_kindred.core.colors import COUNT, FIRST, hexadecimal, palette


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


def test_numbered_things_take_the_bright_colours_as_text_and_begin_again_after_the_last() -> None:
    texts = [hexadecimal(number) for number in range(COUNT - 1)]
    assert len(set(texts)) == COUNT - 1
    assert hexadecimal(COUNT - 1) == texts[0]
    shown = np.array([[int(text[i : i + 2], 16) for i in (1, 3, 5)] for text in texts])
    np.testing.assert_allclose(shown / 255, np.array(palette())[1:, :3], atol=0.5 / 255)
