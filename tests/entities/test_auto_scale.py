from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_kindred.core.events import finish
from napari_kindred.entities import auto_scale
from napari_kindred.entities.auto_scale import choose_scale, typical_diameter, window_slices


def discs(diameter, side, pitch=1.6):
    """A plane of equal discs on a grid, (side, side, 1)."""
    step = diameter * pitch
    y, x = np.mgrid[:side, :side]
    away = np.hypot((y % step) - step / 2, (x % step) - step / 2)
    return (away <= diameter / 2).astype(np.float32)[..., None]


def honest(seen):
    """Make a look that finds discs as the network does: well between 16 and 60 pixels only."""

    def segment(pixels, scale):
        seen.append(scale)
        size = [max(1, round(n * scale)) for n in pixels.shape[:2]]
        rows, columns = (
            (np.arange(n) * old // n) for n, old in zip(size, pixels.shape[:2], strict=True)
        )
        from skimage.measure import label

        labels = label(pixels[rows[:, None], columns[None], 0] > 0.5).astype(np.int32)
        diameter = typical_diameter(labels)
        score = 0.9 if 16 <= diameter <= 60 else 0.5
        return labels, np.full(labels.max(), score, np.float32)

    return segment


@pytest.mark.parametrize(("diameter", "side"), [(8, 200), (16, 400), (40, 700), (120, 1500)])
def test_entities_come_to_the_size_that_the_network_likes(diameter, side):
    scale, seen = finish(choose_scale(discs(diameter, side), honest([])))
    assert seen == pytest.approx(diameter, rel=0.15)
    assert scale == pytest.approx(min(auto_scale.TARGET / diameter, auto_scale.LARGEST), rel=0.15)


def test_a_good_size_is_left_alone_after_one_look():
    looks = []
    scale, _ = finish(choose_scale(discs(31, 300), honest(looks)))
    assert scale == 1.0
    assert looks == [1.0]


def test_dense_small_objects_are_enlarged_although_from_afar_they_are_one():
    """A disc filled with nuclei of 12 px: shrunk, the whole of it looks like one sure object."""
    nuclei = discs(12, 1280, pitch=1.2)
    y, x = np.mgrid[:1280, :1280]
    nuclei[np.hypot(y - 640, x - 640) > 380] = 0

    def segment(pixels, scale):
        if scale > 0.3:
            return honest([])(pixels, scale)
        size = [max(1, round(n * scale)) for n in pixels.shape[:2]]
        y, x = np.mgrid[: size[0], : size[1]]
        blob = np.hypot(y - size[0] / 2, x - size[1] / 2) <= 24
        return blob.astype(np.int32), np.float32([0.95])

    scale, diameter = finish(choose_scale(nuclei, segment))
    assert diameter == pytest.approx(12, rel=0.15)
    assert scale == pytest.approx(auto_scale.TARGET / 12, rel=0.15)


def test_a_few_sure_clumps_do_not_stand_for_many_cells_that_were_nearly_sure():
    """Clusters of cells, shrunk, look like a few large cells of a slightly higher score."""
    cells = discs(24, 400)

    def segment(pixels, scale):
        if scale > 0.3:
            labels, scores = honest([])(pixels, scale)
            return labels, np.where(scores > 0.8, 0.785, scores).astype(np.float32)
        size = [max(1, round(n * scale)) for n in pixels.shape[:2]]
        y, x = np.mgrid[: size[0], : size[1]]
        clump = np.hypot(y - size[0] / 2, x - size[1] / 2) <= 15
        return clump.astype(np.int32), np.float32([0.803])

    scale, diameter = finish(choose_scale(cells, segment))
    assert diameter == pytest.approx(24, rel=0.1)
    assert scale == pytest.approx(auto_scale.TARGET / 24, rel=0.1)


def test_large_objects_in_a_large_plane_take_two_trials():
    scales = []
    scale, _ = finish(choose_scale(discs(400, 4000), honest(scales)))
    assert scale == pytest.approx(auto_scale.TARGET / 400, rel=0.15)
    assert len(scales) == 2


def test_nothing_seen_means_scale_one_and_no_diameter():
    def blind(pixels, scale):
        size = [max(1, round(n * scale)) for n in pixels.shape[:2]]
        return np.zeros(size, np.int32), np.zeros(0, np.float32)

    assert finish(choose_scale(np.zeros((300, 300, 1), np.float32), blind)) == (1.0, 0.0)


def test_fragments_that_score_low_lose_against_whole_entities():
    def segment(pixels, scale):
        # At full size 120-pixel cells fall into 30-pixel parts; at a quarter they are whole.
        labels = np.zeros([max(1, round(n * scale)) for n in pixels.shape[:2]], np.int32)
        side = 30
        labels[:side, :side] = 1
        return labels, np.float32([{1.0: 0.6, 0.5: 0.65, 0.25: 0.75}.get(scale, 0.3)])

    scale, diameter = finish(choose_scale(np.ones((600, 600, 1), np.float32), segment))
    side = 2 * 30 / np.sqrt(np.pi)
    assert diameter == pytest.approx(side / 0.25)
    assert scale == pytest.approx(auto_scale.TARGET / (side / 0.25), rel=0.01)


@pytest.mark.parametrize("granules", [False, True])
def test_sure_parts_of_cells_that_were_seen_whole_do_not_count(granules):
    """Seen whole from afar: cells of 120 pixels; seen closely: a granule in each, or many."""
    cells = discs(120, 1500)

    def segment(pixels, scale):
        labels, scores = honest([])(pixels, scale)
        if scale >= 1:
            parts = discs(30, pixels.shape[0], 1.1 if granules else 6.4)
            labels, scores = honest([])(parts[:, : pixels.shape[1]], scale)
        return labels, scores

    _, diameter = finish(choose_scale(cells, segment))
    assert diameter == pytest.approx(120, rel=0.15)


def test_typical_diameter_is_that_of_the_entity_at_half_the_area():
    labels = np.zeros((50, 50), np.int32)
    labels[:2, :2] = 1
    labels[10:13, 10:13] = 2
    labels[20:40, 20:40] = 3
    assert typical_diameter(labels) == pytest.approx(2 * np.sqrt(400 / np.pi))
    assert typical_diameter(np.zeros((5, 5), np.int32)) == 0


def test_the_window_lies_where_the_entities_are():
    mask = np.zeros((100, 100), bool)
    mask[80:95, 10:30] = True
    rows, columns = window_slices((4000, 4000), 1.0, mask)
    assert rows.stop - rows.start == columns.stop - columns.start == auto_scale.LOOK
    assert 80 * 40 <= rows.start < rows.stop <= 95 * 40
    assert 10 * 40 <= columns.start < columns.stop <= 30 * 40


def test_sparse_small_objects_are_measured_in_a_wide_window():
    """From afar they merge with what surrounds them; closely, a small window shows two of them."""
    plane = discs(20, 1024, pitch=6)
    looks, sizes = [], []

    def segment(pixels, scale):
        labels, scores = honest(looks)(pixels, scale)
        sizes.append((len(scores), labels.shape))
        if scale < 0.75:
            grown = ndimage.grey_dilation(labels, 5)
            return grown, scores
        return labels, scores

    _, diameter = finish(choose_scale(plane, segment))
    assert diameter == pytest.approx(20, rel=0.15)
    assert len(looks) == 2
    assert sizes[1][0] >= auto_scale.ENOUGH
    assert max(sizes[1][1]) <= auto_scale.WIDE + 1


def test_without_entities_the_window_is_in_the_middle():
    rows, columns = window_slices((4000, 2000), 1.0, np.zeros((10, 10), bool))
    assert rows.start + rows.stop == 4000
    assert columns.start + columns.stop == 2000
