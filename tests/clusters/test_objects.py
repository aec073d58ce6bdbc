"""Small patches of one kind are objects, which keep one label from frame to frame."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from napari_kindred.clusters import objects
from napari_kindred.clusters.objects import SMALL, ObjectMemory, Patches, find_patches

KINDS = np.array([0, 1, 1, 2, 2])
"""Rough kind of each of five clusters: the ground, and two kinds of two clusters each."""

SIDE = 40
SMALLER = 3  # 9 of 1600 tokens is an object, 16 and more is ground


def frame_of(*patches: tuple[int, int, int, int]) -> np.ndarray:
    """A frame of ground with squares, each (top, left, side, cluster)."""
    clusters = np.zeros((SIDE, SIDE), np.intp)
    for top, left, side, cluster in patches:
        clusters[top : top + side, left : left + side] = cluster
    return clusters


def decide(frames: list[np.ndarray], kinds: np.ndarray = KINDS) -> list[np.ndarray]:
    """Labels of the frames after their objects voted."""
    patches = [find_patches(kinds[clusters]) for clusters in frames]
    memory = ObjectMemory(kinds)
    for found, clusters in zip(patches, frames, strict=True):
        memory.add(found, clusters)
    decisions = memory.decide()
    return [
        decisions.apply(number, found, clusters)
        for number, (found, clusters) in enumerate(zip(patches, frames, strict=True))
    ]


# -- patches ---------------------------------------------------------------------------------


def test_patches_are_what_hangs_together_of_one_kind() -> None:
    kinds = np.random.default_rng(0).integers(0, 3, (20, 25))
    patches = find_patches(kinds)
    known = sum(ndimage.label(kinds == kind)[1] for kind in range(3))
    assert len(patches.sizes) == len(patches.kinds) == known
    np.testing.assert_array_equal(patches.kinds[patches.places], kinds)
    np.testing.assert_array_equal(np.bincount(patches.places.ravel()), patches.sizes)
    for place in range(known):
        assert ndimage.label(patches.places == place)[1] == 1


def test_two_clusters_of_one_kind_make_one_patch() -> None:
    clusters = frame_of((5, 5, 3, 1), (5, 8, 3, 2), (5, 11, 3, 3))
    assert sorted(find_patches(KINDS[clusters]).sizes) == [9, 18, SIDE**2 - 27]


def test_a_patch_is_small_below_a_share_of_the_frame() -> None:
    limit = int(SMALL * SIDE**2)
    sizes = np.array([limit - 1, limit, SIDE**2])
    places = np.zeros((SIDE, SIDE), np.intp)
    assert Patches(places, np.zeros(3, np.intp), sizes).small.tolist() == [True, False, False]


# -- decisions -------------------------------------------------------------------------------


def test_an_object_takes_the_label_of_most_of_its_tokens() -> None:
    clusters = frame_of((10, 10, 3, 1))
    clusters[10, 10:13] = 2
    np.testing.assert_array_equal(decide([clusters])[0], frame_of((10, 10, 3, 1)))


def test_an_object_that_moves_and_flickers_keeps_the_label_that_it_had_most() -> None:
    seen = [1, 1, 2, 1, 2, 1, 1]
    frames = [frame_of((10 + t, 10 + t, SMALLER, label)) for t, label in enumerate(seen)]
    known = [frame_of((10 + t, 10 + t, SMALLER, 1)) for t in range(len(seen))]
    np.testing.assert_array_equal(decide(frames), known)


def test_two_objects_in_one_frame_remember_each_their_own() -> None:
    frames = [frame_of((5, 5, 3, 1 + (t == 2)), (20, 20, 3, 2 - (t == 3))) for t in range(6)]
    np.testing.assert_array_equal(decide(frames), [frame_of((5, 5, 3, 1), (20, 20, 3, 2))] * 6)


def test_what_changes_for_good_changes_its_label_once() -> None:
    seen = [1] * 12 + [2] * 12
    labels = [frame[10, 10] for frame in decide([frame_of((10, 10, 3, kind)) for kind in seen])]
    assert set(labels) == {1, 2}
    assert sum(one != two for one, two in pairwise(labels)) == 1


def test_an_object_that_comes_back_elsewhere_is_not_remembered() -> None:
    frames = [frame_of((5, 5, 3, 1)), frame_of((5, 5, 3, 1)), frame_of((30, 30, 3, 2))]
    np.testing.assert_array_equal(decide(frames), frames)


def test_an_object_of_another_kind_in_the_same_place_is_another_object() -> None:
    frames = [frame_of((5, 5, 3, 1))] * 4 + [frame_of((5, 5, 3, 3))] * 4
    np.testing.assert_array_equal(decide(frames), frames)


def test_ground_is_left_as_it_is_even_where_it_flickers() -> None:
    random = np.random.default_rng(0)
    frames = [frame_of((4, 4, 20, 1)) for _ in range(4)]
    for frame in frames:
        inside = frame == 1
        frame[inside] = random.integers(1, 3, inside.sum())
    np.testing.assert_array_equal(decide(frames), frames)


@pytest.mark.parametrize("seed", range(5))
def test_a_label_is_never_taken_from_another_kind_and_outlines_stay(seed: int) -> None:
    random = np.random.default_rng(seed)
    frames = [
        frame_of(*((*random.integers(0, 36, 2), 3, random.integers(1, 5)) for _ in range(12)))
        for _ in range(5)
    ]
    np.testing.assert_array_equal(KINDS[np.array(decide(frames))], KINDS[np.array(frames)])


# -- parts -----------------------------------------------------------------------------------


def test_halves_of_a_thing_are_one_and_its_variants_are_not() -> None:
    """Clusters 1 and 2 are halves of every object; 3 and 4 never meet in one."""
    halves = frame_of((5, 5, 3, 1), (20, 5, 3, 1), (30, 5, 3, 2))
    halves[7, 5:8] = halves[20:22, 5:8] = halves[30, 5:8] = 2
    halves[22, 5:8] = halves[32, 5:8] = 1
    variants = frame_of((5, 20, 3, 3), (20, 20, 3, 4))
    labels = decide([halves + variants] * 3)
    for frame in labels:
        assert len(np.unique(frame[:, :15])) == 2, "ground and one label for all objects"
        np.testing.assert_array_equal(frame[:, 15:], variants[:, 15:])


# -- rims ------------------------------------------------------------------------------------

NUCLEI = np.array([0, 1, 1, 1])
"""Ground, two clusters of nuclei, and their rim."""


def nuclei(*objects: tuple[int, int, int, int]) -> np.ndarray:
    """A frame of 100 x 100 with squares in a rim of one token, each (top, left, core, cluster)."""
    clusters = np.zeros((100, 100), np.intp)
    for top, left, core, cluster in objects:
        clusters[top - 1 : top + core + 1, left - 1 : left + core + 1] = 3
        clusters[top : top + core, left : left + core] = cluster
    return clusters


def test_a_rim_stays_a_rim_while_what_it_surrounds_keeps_one_label() -> None:
    frames = [nuclei((10, 10, 6, 1 + (t == 2)), (40, 40, 6, 2 - (t == 3))) for t in range(6)]
    known = [nuclei((10, 10, 6, 1), (40, 40, 6, 2))] * 6
    np.testing.assert_array_equal(decide(frames, NUCLEI), known)


def test_an_object_that_is_mostly_rim_belongs_whole_to_what_is_inside() -> None:
    large = [(10 * row, 10 * column, 6, 1) for row in range(1, 5) for column in range(1, 5)]
    frame = nuclei((70, 70, 2, 2), *large)
    known = nuclei(*large)
    known[69:73, 69:73] = 2
    np.testing.assert_array_equal(decide([frame], NUCLEI)[0], known)


def test_where_most_of_a_kind_is_rim_no_rim_changes() -> None:
    frames = [nuclei((70, 70, 2, 2 - (t == 2))) for t in range(5)]
    np.testing.assert_array_equal(decide(frames, NUCLEI), [frames[0]] * 5)


def test_time_runs_both_ways_alike() -> None:
    frames = [frame_of((10 + t, 12, 3, 1 + (t in (0, 3, 4)))) for t in range(9)]
    np.testing.assert_array_equal(decide(frames[::-1])[::-1], decide(frames))


def movie_of_flickering_objects(frames: int) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    places = [(6 * row + 2, 6 * column + 2) for row in range(6) for column in range(6)]
    return [
        frame_of(*((*place, 3, random.integers(1, 5)) for place in places)) for _ in range(frames)
    ]


def test_votes_on_disk_are_counted_as_those_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = movie_of_flickering_objects(8)
    known = decide(frames)
    monkeypatch.setattr(objects, "IN_MEMORY", 2000)  # about two frames
    np.testing.assert_array_equal(decide(frames), known)


def most_memory(frames: list[np.ndarray]) -> int:
    """Return the peak of allocated bytes while the objects of a movie are followed."""
    memory = ObjectMemory(KINDS)
    tracemalloc.start()
    for clusters in frames:
        memory.add(find_patches(KINDS[clusters]), clusters)
    memory.decide()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def test_memory_grows_far_less_with_the_movie_when_votes_are_on_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On disk a frame leaves the decisions and the names of files; in memory votes and links."""
    short, long = (movie_of_flickering_objects(count) for count in (60, 300))
    most_memory(short)  # imports
    grown = {}
    for limit in (10_000, 1 << 40):
        monkeypatch.setattr(objects, "IN_MEMORY", limit)
        grown[limit] = most_memory(long) - most_memory(short)
    assert grown[10_000] < grown[1 << 40] / 2
