"""What is taken over from a finer segmentation, and what is not."""

from __future__ import annotations

import numpy as np
import pytest

from napari_kindred.core.errors import InputError, OptionError
from napari_kindred.entities.multiresolution import MergeRule, merge_resolutions


def drawing(text):
    """Digits to a label map, a dot for background; rows are words."""
    return np.array([[0 if c == "." else int(c) for c in row] for row in text.split()])


def strip(text):
    """One row of a drawing, four pixels high."""
    return np.repeat(drawing(text), 4, axis=0)


def assert_same_segments(labels, expected):
    """Equal up to the numbers of the labels, which must be 1 to n."""
    expected = drawing(expected) if isinstance(expected, str) else expected
    np.testing.assert_array_equal(labels > 0, expected > 0)
    pairs = set(zip(labels.flat, expected.flat, strict=True))
    assert len(pairs) == len(np.unique(expected)) == len(np.unique(labels))
    assert labels.max(initial=0) == len(np.unique(labels[labels > 0]))


def test_one_map_stays_as_it_is_with_its_labels_numbered():
    assert_same_segments(merge_resolutions([drawing("..77 3377 33..")]), "..22 1122 11..")


def test_labels_may_be_any_numbers():
    maps = [drawing("1111...").astype(np.uint64), drawing("....222").astype(np.uint64)]
    for factor in (1, 3_000_000_000):
        merged = merge_resolutions([labels * np.uint64(factor) for labels in maps])
        np.testing.assert_array_equal(merged, drawing("1111222"))


def test_the_same_segment_with_a_sharper_edge_replaces_the_blunt_one():
    blunt = """
        ..........
        .11111111.
        .11111111.
        .11111111.
        .11111111.
        .........."""
    sharp = """
        ..........
        ..222222..
        .22222222.
        .22222222.
        ..222222..
        .........."""
    assert_same_segments(merge_resolutions([drawing(blunt), drawing(sharp)]), sharp)


def test_a_cluster_that_fits_less_well_than_asked_does_not_replace():
    coarse, fine = drawing("1111111111"), drawing("222222222.")
    stricter = MergeRule(replace_iou=0.95)
    assert_same_segments(merge_resolutions([coarse, fine]), "111111111.")
    assert_same_segments(merge_resolutions([coarse, fine], stricter), "1111111111")


def test_objects_that_the_coarse_view_ran_together_are_told_apart():
    clump = """
        .11111111.
        1111111111
        1111111111
        .11111111."""
    nuclei = """
        .222..333.
        2222..3333
        2222..3333
        .222..333."""
    assert_same_segments(merge_resolutions([drawing(clump), drawing(nuclei)]), nuclei)


def test_a_fragment_of_a_good_large_cell_does_not_cut_it():
    cell = """
        .11111111.
        1111111111
        1111111111
        .11111111."""
    one_nucleolus = """
        ..........
        .22.......
        .22.......
        .........."""
    two_nucleoli = """
        ..........
        .22...33..
        .22...33..
        .........."""
    for fragments in (one_nucleolus, two_nucleoli):
        assert_same_segments(merge_resolutions([drawing(cell), drawing(fragments)]), cell)


def test_how_much_the_parts_must_explain_can_be_chosen():
    maps = [strip("1111111111"), strip("222....333")]
    assert_same_segments(merge_resolutions(maps, MergeRule(explained=0.7)), maps[0])
    assert_same_segments(merge_resolutions(maps, MergeRule(explained=0.5)), strip("2221111333"))


def test_how_many_parts_divide_can_be_chosen():
    maps = [strip("1111111111"), strip("22222.3333")]
    assert_same_segments(merge_resolutions(maps), maps[1])
    assert_same_segments(merge_resolutions(maps, MergeRule(parts=3)), maps[0])


def test_a_large_part_and_a_speck_are_no_division():
    cell = np.ones((20, 20), int)
    fine = np.zeros_like(cell)
    fine[:14] = 2
    fine[17, 3] = 3
    assert_same_segments(merge_resolutions([cell, fine]), cell)


def test_an_object_seen_only_coarsely_survives_the_division_of_its_clump():
    """Two of three nuclei in a clump are found again; the third stays, the gaps do not."""
    clump = np.zeros((12, 38), int)
    clump[1:11, 1:37] = 1
    fine = np.zeros_like(clump)
    fine[1:11, 1:12] = 5
    fine[1:11, 13:24] = 6
    expected = fine.copy()
    expected[1:11, 24:37] = 7
    assert_same_segments(merge_resolutions([clump, fine]), expected)


def test_what_is_new_where_the_coarse_map_holds_nothing_is_added():
    coarse = "11..... 11....."
    fine = "....22. ....22."
    assert_same_segments(merge_resolutions([drawing(coarse), drawing(fine)]), "11..22. 11..22.")


def test_a_new_object_that_overlaps_a_little_does_not_eat_its_neighbour():
    assert_same_segments(
        merge_resolutions([drawing("11111.........."), drawing("....22222222222")]),
        "111112222222222",
    )


def test_what_lies_in_a_segment_by_four_fifths_is_no_part_of_it():
    coarse = strip("11111111.....")
    for fine, merged in (
        ("222233334....", "222233334...."),  # both lie in it wholly, and divide it
        ("222.33333....", "11111111....."),  # one by four fifths, less than nine tenths
    ):
        found = merge_resolutions([coarse, strip(fine)])
        assert_same_segments(found[:, :8], strip(merged)[:, :8])


def test_clusters_that_contradict_the_coarse_view_are_left_out():
    coarse = """
        1111.2222
        1111.2222"""
    across_both = """
        333333333
        333333333"""
    half_outside = """
        ...333...
        ........."""
    for fine in (across_both, half_outside):
        assert_same_segments(merge_resolutions([drawing(coarse), drawing(fine)]), coarse)


def test_every_segment_is_decided_by_itself():
    coarse = strip("1111111.222222222.333333.....")
    finest = strip("111111..4444.5555.33...6.7777")
    merged = strip("111111..2222.4444.333333.5555")
    assert_same_segments(merge_resolutions([coarse, finest]), merged)


def test_each_finer_map_is_merged_into_what_the_coarser_ones_made():
    coarse = strip("1111111111111111")
    finer = strip("1111111.22222222")
    finest = strip("3333333.4444.555")
    assert_same_segments(merge_resolutions([coarse, finer, finest]), finest)


def test_merging_a_map_with_itself_changes_nothing():
    labels = np.random.default_rng(0).integers(0, 9, (6, 6)).repeat(4, 0).repeat(4, 1)
    once = merge_resolutions([labels])
    np.testing.assert_array_equal(merge_resolutions([labels] * 3), once)


def test_empty_maps_add_nothing():
    empty, full = np.zeros((3, 4), int), np.ones((3, 4), int)
    assert_same_segments(merge_resolutions([empty, full]), full)
    assert_same_segments(merge_resolutions([full, empty]), full)
    assert not merge_resolutions([empty, empty]).any()


def test_maps_that_cannot_be_merged_are_refused():
    good = np.zeros((3, 4), int)
    for maps in ([], [good, good.T], [good - 1], [good * 0.5], [good[0]]):
        with pytest.raises(InputError):
            merge_resolutions(maps)


@pytest.mark.parametrize(
    "wrong", [{"replace_iou": 0.5}, {"containment": 1.1}, {"explained": -1}, {"parts": 1}]
)
def test_a_rule_out_of_range_names_its_option(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        MergeRule(**wrong)
