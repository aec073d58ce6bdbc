from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from napari_kindred.entities import decode
from napari_kindred.entities.config import EntityConfig
from napari_kindred.entities.projective import WIDTH_PER_DIAMETER
from napari_kindred.entities.scoring import ObjectFilter


def drawn(discs, shape=(96, 96), noise=0.0, seed=0):
    """Labels and perfect maps of discs (y, x, diameter); later ones cover earlier ones."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.int32)
    votes = np.stack([y, x], -1).astype(np.float32)
    width = np.full(shape, 5.0, np.float32)
    for number, (cy, cx, diameter) in enumerate(discs, 1):
        inside = (y - cy) ** 2 + (x - cx) ** 2 <= (diameter / 2) ** 2
        labels[inside] = number
        votes[inside] = cy, cx
        width[inside] = diameter * WIDTH_PER_DIAMETER
    random = np.random.default_rng(seed)
    votes += random.normal(0, 1, votes.shape).astype(np.float32) * noise
    foreground = np.where(labels > 0, 0.95, 0.05).astype(np.float32)
    return labels, decode.Maps(foreground, votes.astype(np.float32), width)


def segment(maps, fill=True, **options):
    """Labels and scores of maps, by a network without a score model."""
    config = EntityConfig(**{"min_area": 0, "min_score": 0.0, **options})
    return ObjectFilter(None, 1.0, config).finish(decode.find_pieces(maps, fill=fill))


def same_partition(one, other):
    """Whether two label images differ in numbering only."""
    pairs = set(zip(one.ravel().tolist(), other.ravel().tolist(), strict=True))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_touching_discs_of_different_size_get_a_label_each():
    truth, maps = drawn([(30, 30, 40), (30, 54, 10), (70, 60, 24), (70, 83, 22)], noise=0.5)
    labels, scores = segment(maps)
    assert same_partition(truth, labels)
    assert len(scores) == 4
    assert (scores > 0.8).all()


def test_ids_count_row_by_row():
    _, maps = drawn([(70, 20, 20), (20, 70, 20), (20, 20, 20)])
    labels, _ = segment(maps)
    first = [np.flatnonzero(labels == i)[0] for i in (1, 2, 3)]
    assert first == sorted(first)


def test_mean_shift_on_the_grid_finds_the_modes_that_mean_shift_of_votes_finds():
    random = np.random.default_rng(1)
    centres = np.array([[20.0, 20.0], [20.0, 44.0], [70.0, 60.0]])
    votes = np.concatenate([c + random.normal(0, 1.5, (300, 2)) for c in centres])
    widths = np.full(len(votes), 24 * WIDTH_PER_DIAMETER, np.float32)
    modes = decode.find_modes(
        votes.astype(np.float32), widths, np.ones(len(votes), np.float32), (96, 96)
    )
    radius = decode.FLAT_KERNEL * widths[0]
    literal = []
    for start in votes[::100]:
        place = start
        for _ in range(50):
            place = votes[np.linalg.norm(votes - place, axis=1) <= radius].mean(0)
        literal.append(place)
    distance = cdist(modes.places, literal)
    assert len(modes.places) == 3
    cell = int(widths[0] / 2)  # of the grid on which votes are counted
    assert distance.min(0).max() < cell
    assert distance.min(1).max() < cell


def test_every_vote_joins_the_most_parallel_line():
    random = np.random.default_rng(2)
    modes = decode.Modes(random.uniform(0, 100, (12, 2)), random.uniform(3, 9, 12), np.ones(12))
    votes = random.uniform(0, 100, (200, 2)).astype(np.float32)
    cluster, similarity = decode.assign(votes, modes)
    relative = cdist(votes, modes.places) / modes.widths
    for v in range(len(votes)):
        four = np.argsort(cdist(votes[v : v + 1], modes.places)[0])[:4]
        best = four[relative[v, four].argmin()]
        if relative[v, best] <= decode.REACH:
            assert cluster[v] == best + 1
            assert similarity[v] == pytest.approx(np.exp(-0.5 * relative[v, best] ** 2), rel=1e-4)
        else:
            assert cluster[v] == 0
            assert similarity[v] == 0


def test_two_entities_with_one_mode_that_do_not_touch_are_two():
    truth, maps = drawn([(30, 30, 20), (60, 60, 20)])
    maps.votes[truth == 2] = 30, 30
    labels, _ = segment(maps)
    assert same_partition(truth, labels)


def test_a_hole_is_filled_and_a_bay_is_not():
    truth, maps = drawn([(40, 40, 40)])
    maps.foreground[38:43, 38:43] = 0
    maps.foreground[38:43, 55:] = 0
    filled, _ = segment(maps)
    kept, _ = segment(maps, fill=False)
    assert filled[40, 40] == 1
    assert kept[40, 40] == 0
    assert filled[40, 58] == 0
    assert truth[40, 58] == 1


def test_small_entities_are_left_out_when_asked():
    truth, maps = drawn([(20, 20, 6), (60, 60, 30)])
    area = int((truth == 1).sum())
    assert segment(maps, min_area=area)[0].max() == 2
    assert segment(maps, min_area=area + 1)[0].max() == 1


def test_a_fragment_and_a_doubtful_entity_go_with_the_smallest_score():
    truth, maps = drawn([(20, 20, 20), (60, 60, 20), (20, 70, 20)])
    maps.width[truth == 1] *= 3
    maps.foreground[truth == 2] = 0.55
    everything, scores = segment(maps, min_score=0.0)
    sure, _ = segment(maps, min_score=0.6)
    assert everything.max() == 3
    assert len(scores) == 3
    assert sure.max() == 1
    assert sure[20, 70] == 1


@pytest.mark.parametrize("foreground", [0.0, 1.0])
def test_a_plane_of_one_kind_is_nothing_or_one_thing(foreground):
    votes = np.broadcast_to(np.float32([20, 25]), (40, 50, 2)).copy()
    maps = decode.Maps(
        np.full((40, 50), foreground, np.float32), votes, np.full((40, 50), 15, np.float32)
    )
    labels, scores = segment(maps)
    assert labels.max() == len(scores) == int(foreground)
