from __future__ import annotations

import numpy as np

from napari_kindred.cli.overview import colour_labels, draw_frame, draw_overview
from napari_kindred.images.stack import ImageStack


def test_background_is_black_and_every_label_has_its_own_colour() -> None:
    colours = colour_labels(np.arange(60).reshape(6, 10)).reshape(-1, 3)
    assert not colours[0].any()
    assert len({tuple(colour) for colour in colours.round(3)}) == 60


def test_a_frame_is_drawn_above_its_labels(discs: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = discs
    drawn = draw_frame(image[..., None].astype("float32"), labels)
    above, below = drawn[:96], drawn[-96:]
    np.testing.assert_array_equal(above[labels == 0], below[labels == 0])
    np.testing.assert_array_equal(above[..., 0], above[..., 2])  # grey stays grey
    assert np.ptp(below[labels > 0].astype(int), axis=1).min() > 0  # labels are coloured


def test_large_frames_are_thinned_out() -> None:
    drawn = draw_frame(np.zeros((1000, 2000, 1), "float32"), np.zeros((1000, 2000), int), 200)
    assert drawn.shape[1] == 200


def test_the_overview_shows_the_first_and_the_last_frame() -> None:
    movie = np.random.default_rng(0).random((9, 20, 30)).astype("float32")
    labels = np.zeros((9, 20, 30), int)
    picture = draw_overview(ImageStack.open(movie), labels, count=3)
    first, last = (draw_frame(movie[t][..., None], labels[t]) for t in (0, 8))
    np.testing.assert_array_equal(picture[:, :30], first)
    np.testing.assert_array_equal(picture[:, -30:], last)
    assert draw_overview(ImageStack.open(movie[0]), labels[0]).shape[1] == 30
