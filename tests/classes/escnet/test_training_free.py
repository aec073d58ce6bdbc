"""The training-free mode: CLIP says where, whatever SAM it is given says how far."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from napari_kindred.classes.escnet import training_free
from napari_kindred.classes.escnet.pseudo_prompts import pseudo_prompts
from napari_kindred.classes.escnet.training_free import FreeEscPredictor, best_masks
from napari_kindred.core.errors import InputError, KindredError, WeightsError
from napari_kindred.core.events import finish
from napari_kindred.models.download import file_sha256

from .conftest import squares

PLAIN = ("{}",)


@pytest.fixture
def classifier(colour_clip, sam_file):
    return FreeEscPredictor(colour_clip, str(sam_file), device="cpu", templates=PLAIN)


@pytest.fixture
def scene():
    image, labels = squares(0)
    return image.astype(np.float32) / 255, labels


def iou(one, two):
    return (one & two).sum() / (one | two).sum()


def test_with_a_sam_that_knows_edges_names_are_sharper_than_clip_s_patches(
    classifier, scene, monkeypatch
):
    """The SAM answers with the whole picture, the square under the point, and nothing."""
    pixels, labels = scene
    names = ["green", "red"]

    def know(self, embedding, points, masks):
        found = torch.zeros(len(points), 3, 32, 32)
        small = torch.from_numpy(labels[::2, ::2].astype(np.int64))
        for i, (x, y) in enumerate(points[:, 0]):
            found[i, 0] = 1
            found[i, 1] = (small == small[int(y / 2), int(x / 2)]).float()
        return found, torch.tensor([[0.9, 0.9, 0.9]]).expand(len(points), 3)

    # What a CLIP would see on 8 x 8 patches, if it knew the classes but no edges.
    truth = torch.from_numpy(np.array([labels == value for value in (2, 1)], np.float32))
    odds = torch.logit(0.1 + 0.8 * torch.nn.functional.adaptive_avg_pool2d(truth, 8))
    features = training_free.ImageFeatures(odds, pseudo_prompts(odds[None], 2))
    monkeypatch.setattr(FreeEscPredictor, "features", lambda self, batch, names: features)
    coarse = torch.nn.functional.interpolate(odds[None], (64, 64), mode="bilinear")[0].sigmoid()
    monkeypatch.setattr(FreeEscPredictor, "_predict_masks", know)
    found = finish(classifier.iter_class_map(pixels, names))
    for number, value in enumerate((2, 1)):
        own = labels == value
        sharp, blurred = (
            iou(np.asarray(plane[number]) > float(plane[number].max()) / 2, own)
            for plane in (found, coarse)
        )
        assert sharp > max(0.85, blurred + 0.05)


def test_any_sam_gives_probabilities_of_the_picture_s_size(classifier):
    picture = np.random.default_rng(0).random((40, 70, 1)).astype(np.float32)
    events = []
    job = classifier.iter_class_map(picture, ["red", "a word nobody taught"])
    found = finish(job, events.append)
    assert found.shape == (2, 40, 70)
    assert found.dtype == np.float32
    assert 0 <= found.min() <= found.max() <= 1
    assert [(e.done, e.total) for e in events] == [(1, 1)]


def test_names_in_another_order_give_the_same_maps(classifier, scene):
    one = finish(classifier.iter_class_map(scene[0], ["red", "green", "blue"]))
    two = finish(classifier.iter_class_map(scene[0], ["blue", "red", "green"]))
    np.testing.assert_allclose(one, two[[1, 2, 0]], atol=1e-4)


def test_prompts_lie_on_the_things_in_pixels_of_sam_s_input(classifier):
    """A picture half as high as wide, blue at its right: SAM sees it 32 x 64."""
    pixels = np.full((60, 120, 3), 0.5, np.float32)
    pixels[20:40, 90:110] = (0.1, 0.2, 0.9)
    with torch.inference_mode():
        features = classifier.features(torch.from_numpy(pixels.transpose(2, 0, 1))[None], ["blue"])
        points, masks, kinds = classifier._to_sam(features.prompts, (32, 64), (16, 32), 32)
    assert kinds.tolist() == [0] * len(points)
    x, y = points[0, 0].tolist()
    assert 90 * 64 / 120 - 4 < x < 110 * 64 / 120 + 4
    assert 20 * 64 / 120 - 4 < y < 40 * 64 / 120 + 4
    assert masks.shape == (len(points), 1, 32, 32)
    assert masks.min() == -8
    row, column = divmod(int(masks[0, 0].argmax()), 32)
    assert abs(column - x / 2) < 3
    assert abs(row - y / 2) < 3
    assert (masks[:, :, 16:] == -8).all(), "nothing below the picture"


def test_the_answers_are_sam_s_own(classifier, sam):
    prompts = pseudo_prompts(torch.rand(1, 2, 8, 8), 2)
    embedding = torch.randn(1, 32, 8, 8)
    with torch.inference_mode():
        points, masks, _ = classifier._to_sam(prompts, (64, 64), (32, 32), 32)
        found, quality = classifier._predict_masks(embedding, points, masks)
        for i in range(len(points)):
            own = classifier._sam
            sparse, dense = own.prompt_encoder(
                (points[i : i + 1], torch.ones(1, 1)), None, masks[i : i + 1]
            )
            logits, iou_found = own.mask_decoder(
                embedding, own.prompt_encoder.get_dense_pe(), sparse, dense, True
            )
            torch.testing.assert_close(found[i], logits[0].sigmoid(), atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(quality[i], iou_found[0], atol=1e-5, rtol=1e-4)


def test_of_three_masks_the_one_is_taken_that_fits_its_own_class_best():
    probabilities = torch.zeros(2, 4, 4)
    probabilities[0, :2], probabilities[1, 2:] = 0.9, 0.8
    inside = torch.zeros(2, 3, 4, 4)
    inside[:, 0] = 1  # everything
    inside[:, 1, :2] = 1  # the upper half
    inside[:, 2, 2:] = 1  # the lower half
    quality = torch.tensor([[0.9, 0.8, 0.8]]).expand(2, 3)
    masks, scores, trust = best_masks(inside, quality, probabilities, torch.tensor([0, 1]))
    assert torch.equal(masks, torch.stack([inside[0, 1], inside[0, 2]]))
    torch.testing.assert_close(scores, torch.tensor([[0.9, 0.0], [0.0, 0.8]]))
    torch.testing.assert_close(trust, torch.tensor([0.8 * 0.9, 0.8 * 0.8]))


def test_a_large_picture_is_looked_at_tile_by_tile(classifier, monkeypatch):
    monkeypatch.setattr(training_free, "SMALLEST", 32)
    large = np.random.default_rng(0).random((70, 130, 3)).astype(np.float32)
    events = list(classifier.iter_class_map(large, ["red"]))
    assert len(events) > 3
    assert events[-1].done == events[-1].total


def test_its_spec_names_both_weights_and_opens_the_same_again(classifier, colour_clip, sam_file):
    spec = classifier.spec
    assert spec.clip.name == colour_clip
    assert (spec.name, spec.sha256) == (str(sam_file), file_sha256(sam_file))
    assert spec.clip.templates == ("{}",)
    assert spec.open("cpu").spec == spec
    with pytest.raises(WeightsError, match="here, but 000"):
        dataclasses.replace(spec, sha256="0" * 64).open("cpu")


def test_what_is_no_picture_and_too_little_memory_are_one_sentence(classifier, scene, monkeypatch):
    with pytest.raises(InputError, match=r"must be \(H, W, 1\) or \(H, W, 3\)"):
        finish(classifier.iter_class_map(scene[0][..., :2], ["red"]))

    def full(self, batch, names):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(FreeEscPredictor, "features", full)
    with pytest.raises(KindredError, match="choose smaller ones, or device='cpu'"):
        finish(classifier.iter_class_map(scene[0], ["red"]))
