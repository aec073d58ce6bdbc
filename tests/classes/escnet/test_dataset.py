"""Labels become numbers of classes; what is unknown stays out of the loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_kindred.classes.escnet.dataset import (
    IGNORE,
    NOTHING,
    draw_crop,
    load_class_data,
    read_table,
)
from napari_kindred.classes.escnet.network import class_loss
from napari_kindred.core.errors import InputError


def test_named_values_are_classes_zero_is_nothing_and_the_rest_is_unknown(data):
    found = load_class_data(data)
    assert found.names == ("red", "green")
    assert [e.name for e in found.train] == ["train_0", "train_1", "train_2"]
    assert [e.name for e in found.validation] == ["val_0"]
    numbers = set(np.unique(found.train[0].labels).tolist())
    assert numbers == {0, 1, NOTHING, IGNORE}
    blue = found.train[0].labels == IGNORE
    assert found.train[0].pyramid[0][2][blue].mean() > found.train[0].pyramid[0][0][blue].mean()


def test_what_is_called_unlabelled_or_void_is_no_class(draw_squares, tmp_path):
    classes = ((0, "Void"), (1, "red"), (2, "green thing (ignore)"), (3, "sky  blue"))
    found = load_class_data(draw_squares(tmp_path / "a", ["train_0"], classes))
    assert found.names == ("red", "sky blue")
    assert set(np.unique(found.train[0].labels).tolist()) == {0, 1, IGNORE}


def test_zero_may_be_a_class(draw_squares, tmp_path):
    classes = ((0, "grey"), (1, "red"))
    found = load_class_data(draw_squares(tmp_path / "a", ["train_0"], classes))
    assert found.names == ("grey", "red")
    assert (found.train[0].labels == 0).mean() > 0.5
    assert not (found.train[0].labels == NOTHING).any()


def test_folders_share_classes_of_one_name(draw_squares, tmp_path):
    one = draw_squares(tmp_path / "a", ["train_0"], ((1, "red"), (2, "green")))
    two = draw_squares(tmp_path / "b", ["train_0"], ((3, "blue"), (1, "Red")))
    found = load_class_data([one, two])
    assert found.names == ("red", "green", "blue")
    first, second = (e.labels for e in found.train)
    assert np.array_equal(first == 0, second == 0), "the same square"
    assert (second == 2).any()
    assert load_class_data(one).sha256 != found.sha256


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "has no classes.csv; write one"),
        ("number,title\n1,red\n", "must have the columns id"),
        ("value,name\nred,1\n", "must have the columns id"),
        ("value,name\n1,red\n2,Red\n", "named twice"),
        ("id,name\n1,red\n1,blue\n", "the number 1 twice"),
        ("value,name\n1,void\n", "No class is named"),
    ],
)
def test_tables_that_name_no_classes_are_one_sentence(tmp_path, text, reason):
    if text is not None:
        (tmp_path / "classes.csv").write_text(text)
    with pytest.raises(InputError, match=reason):
        read_table(tmp_path)


def test_pictures_without_any_of_the_classes_are_refused(draw_squares, tmp_path):
    folder = draw_squares(tmp_path / "a", ["train_0"], ((9, "nothing there"),))
    with pytest.raises(InputError, match="No pixel of the training images has a class"):
        load_class_data(folder)


def test_crops_keep_pixels_and_labels_together(data):
    example = load_class_data(data).train[0]
    seen = set()
    for seed in range(12):
        picture, labels = draw_crop(example, 48, np.random.default_rng(seed))
        assert picture.shape == (3, 48, 48)
        assert labels.shape == (48, 48)
        assert 0 <= picture.min() <= picture.max() <= 1
        for number, channel in ((0, 0), (1, 1)):
            inside = labels == number
            if inside.sum() > 100:
                means = picture[:, inside].mean(1)
                assert means.argmax() == channel
                seen.add(number)
    assert seen == {0, 1}
    again, other = (draw_crop(example, 48, np.random.default_rng(3))[0] for _ in range(2))
    assert torch.equal(again, other)


def test_the_loss_is_the_mean_cross_entropy_over_known_pixels_and_classes():
    random = np.random.default_rng(0)
    logits = random.normal(size=(2, 3, 4, 4))
    labels = random.choice([0, 1, 2, NOTHING, IGNORE], size=(2, 4, 4))
    losses = []
    for b in range(2):
        for y in range(4):
            for x in range(4):
                if labels[b, y, x] == IGNORE:
                    continue
                for kind in range(3):
                    p = 1 / (1 + np.exp(-logits[b, kind, y, x]))
                    losses.append(-np.log(p if labels[b, y, x] == kind else 1 - p))
    found = class_loss(torch.from_numpy(logits).float(), torch.from_numpy(labels))
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-5)


def test_unknown_pixels_teach_nothing():
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    labels[0, :2] = IGNORE
    class_loss(logits, labels).backward()
    assert not logits.grad[0, :, :2].any()
    assert logits.grad[0, :, 2:].all()
    assert float(class_loss(logits.detach(), torch.full((1, 4, 4), IGNORE))) == 0
