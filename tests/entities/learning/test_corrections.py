"""What is checked counts, objects as wholes; a part is held back; nothing else counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_kindred.core.errors import InputError
from napari_kindred.core.events import Notice, finish
from napari_kindred.entities.config import LossWeights
from napari_kindred.entities.learning import corrections as module
from napari_kindred.entities.learning.corrections import (
    as_list,
    hold_back,
    iter_corrections,
    regions,
)
from napari_kindred.entities.network import DenseMaps
from napari_kindred.entities.objective import crop_loss
from napari_kindred.entities.validate import _that_count
from napari_kindred.models.augment import IGNORE


def squares(rows=4, columns=6, side=10, gap=6):
    """Labels of squares on a grid, numbered row by row from 1."""
    pitch = side + gap
    labels = np.zeros((rows * pitch, columns * pitch), np.int32)
    for number in range(rows * columns):
        y, x = (number // columns) * pitch + 3, (number % columns) * pitch + 3
        labels[y : y + side, x : x + side] = number + 1
    return labels


def read(images, labels, checked=None, share=0.2, axes="YX", report=None):
    triples = as_list(images, labels, checked)
    random = np.random.default_rng(0)
    job = iter_corrections(triples, axes, None, "kindred-entities", {}, share, random)
    return finish(job, report)


def noise(shape):
    return np.random.default_rng(0).integers(0, 200, shape).astype(np.uint8)


def test_an_object_counts_if_most_of_it_is_inside_and_then_as_a_whole():
    labels = squares()
    mask = np.zeros(labels.shape, bool)
    mask[:30, :26] = True  # cuts the squares of the second column at 7 of 10 pixels
    mask[:30, 26:41] = True  # and those of the third at 6
    mask[:, 41:] = False
    ((place, found),) = regions(labels, mask)
    assert set(np.unique(found)) - {IGNORE, 0} == {1, 2, 3, 7, 8, 9}
    counted = np.full(labels.shape, IGNORE)
    counted[place] = found
    assert ((counted == 3) == (labels == 3)).all()  # whole, beyond the border of the mask too
    assert (counted[mask & (labels == 0)] == 0).all()
    assert (counted[~mask & (labels == 0)] == IGNORE).all()


def test_two_regions_are_two_examples_and_everything_is_one():
    labels = squares()
    mask = np.zeros(labels.shape, bool)
    mask[:16, :32] = mask[48:, 64:] = True
    parts = [set(np.unique(found)) - {IGNORE, 0} for _, found in regions(labels, mask)]
    assert parts == [{1, 2}, {23, 24}]
    assert len(regions(labels, None)) == 1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_the_share_held_back_lies_beyond_a_cut_and_no_object_on_both_sides(share, seed):
    labels = squares()
    learnt, held = hold_back(labels, share, np.random.default_rng(seed))
    ids = [set(np.unique(part)) - {IGNORE, 0} for part in (learnt, held)]
    assert not ids[0] & ids[1]
    assert ids[0] | ids[1] == set(range(1, 25))
    assert len(ids[1]) == max(round(24 * share), 6)
    for part, own in zip((learnt, held), ids, strict=True):
        for number in own:
            assert ((part == number) == (labels == number)).all()
    assert ((learnt == IGNORE) ^ (held == IGNORE)).all()
    columns = [np.flatnonzero((part == 0).any(0)) for part in (learnt, held)]
    assert columns[0].max() < columns[1].min() or columns[1].max() < columns[0].min()


def test_few_objects_are_not_divided():
    learnt, held = hold_back(squares(1, 3), 0.5, np.random.default_rng(0))
    assert held is None
    assert (learnt == squares(1, 3)).all()


def random_maps(side, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"background": 1, "offset": 2, "size": 1}
    maps = {k: torch.randn(n, side, side, generator=generator) for k, n in shapes.items()}
    distance = torch.rand(1, side, side, generator=generator)
    return DenseMaps(maps["background"], 5 * maps["offset"], maps["size"], None, distance)


def test_the_loss_and_its_gradient_do_not_depend_on_what_is_not_checked():
    """Maps at unchecked places may be anything: the gradient there is zero."""
    labels = squares(4, 4)
    mask = np.zeros(labels.shape, bool)
    mask[:32, :32] = True
    ((place, found),) = regions(labels, mask)
    whole = np.full(labels.shape, IGNORE)
    whole[place] = found
    maps = DenseMaps(*(None if m is None else m.requires_grad_() for m in random_maps(32)))
    terms = crop_loss(
        maps, torch.from_numpy(whole).long(), True, LossWeights(), 2, np.random.default_rng(0)
    )
    sum(terms.values()).backward()
    far = np.s_[:, 20:, 20:]  # 8 input pixels from the region, as enlarging blurs over 2
    for each in (maps.background, maps.offset, maps.size, maps.distance):
        assert each.grad[:, :14, :14].abs().sum() > 0
        assert each.grad[far].abs().sum() == 0


def test_scores_leave_out_what_lies_mostly_outside():
    truth = np.full((4, 12), IGNORE)
    truth[:, :6] = 0
    truth[1:3, 1:3] = 5
    found = np.zeros((4, 12), int)
    found[1:3, 1:3], found[0, 4:8], found[3, 3:11], found[0, 0] = 1, 2, 3, 4
    # 2 has half of its pixels outside and stays, 3 has five of eight there
    counted, kept = _that_count(truth, found)
    assert set(np.unique(kept)) == {0, 1, 2, 4}
    assert set(np.unique(counted)) == {0, 5}


def test_frames_by_number_by_mask_or_those_with_labels():
    image, labels = noise((3, 64, 96)), np.zeros((3, 64, 96), np.int32)
    labels[0] = labels[2] = squares()
    count = {}
    frame_mask = np.zeros(labels.shape, bool)
    frame_mask[2, :, :32] = True
    ways = {
        "dict": {(0,): frame_mask[2]},
        "all": None,
        "one": 2,
        "list": [0],
        "mask": frame_mask,
        "plane": frame_mask[2],
    }
    for name, checked in ways.items():
        found = read(image, labels, checked, axes="TYX")
        count[name] = (found.frames, found.objects + found.held_objects)
    expected = {
        "dict": (1, 8),
        "all": (2, 48),
        "one": (1, 24),
        "list": (1, 24),
        "mask": (1, 8),
        "plane": (3, 16),
    }
    assert count == expected


def test_many_frames_are_thinned_out_and_told(monkeypatch):
    monkeypatch.setattr(module, "MOST_FRAMES", 2)
    image, labels = noise((5, 64, 96)), np.stack([squares()] * 5)
    events = []
    assert read(image, labels, axes="TYX", report=events.append).frames == 2
    assert any("2 are used" in event.text for event in events if isinstance(event, Notice))


@pytest.mark.parametrize(
    ("images", "labels", "checked", "sentence"),
    [
        (noise((64, 96)), squares()[:50], None, "give labels of the same frames"),
        (noise((64, 96)), squares().astype(float), None, "give whole numbers"),
        (noise((64, 96)), squares(1, 3, 10, 54)[:, :96], None, "correct a few more"),
        (noise((64, 96)), np.zeros((64, 96), int), None, "correct a few more"),
        (noise((64, 96)), squares(), np.ones((3, 3), bool), "must be a mask"),
        (noise((64, 96)), squares(), 1, "does not have"),
        ([noise((64, 96))], [], None, "as many label images"),
        ([], [], None, "no image"),
        ([noise((64, 96))], [squares()], squares() > 0, "what is checked of each"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(images, labels, checked, sentence):
    with pytest.raises(InputError, match=sentence):
        read(images, labels, checked)
