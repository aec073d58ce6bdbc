"""Masks named by CLIP: the name of what lies under the mask wins, and nothing else does."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from cutting import from_dense
from napari_kindred.classes.classifiers import ClipMaskClassifier
from napari_kindred.classes.clip import matching
from napari_kindred.classes.clip.matching import (
    ClipMatcher,
    ClipSpec,
    cut_out,
)
from napari_kindred.classes.clip.text import contrast_beside
from napari_kindred.classes.proposals.masks import Masks
from napari_kindred.classes.proposals.sam_grid import SamGridSpec
from napari_kindred.core.errors import InputError, KindredError, OptionError, WeightsError
from napari_kindred.core.events import Notice, Progress, finish
from napari_kindred.encoders.clip import load_clip
from napari_kindred.models.download import file_sha256

PLAIN = ("{}",)


@pytest.fixture(scope="module")
def matcher(colour_clip):
    return ClipMatcher(colour_clip, device="cpu", templates=PLAIN)


def embed(matcher, pixels, masks):
    return finish(matcher.iter_embed(pixels, masks))


def scores(matcher, vectors, names):
    words = [*names, *contrast_beside(names, matcher.spec.contrast)]
    return matcher.word_vectors(words).scores(vectors, words, len(names))


@pytest.fixture(scope="module")
def vectors(matcher, picture):
    return embed(matcher, *picture)


@pytest.fixture(scope="module")
def picture():
    """Four squares in a row on grey, red, green, blue and grey again; pixels and masks."""
    random = np.random.default_rng(0)
    pixels = (0.5 + 0.05 * random.normal(size=(40, 160, 3))).astype(np.float32)
    labels = np.zeros((40, 160), np.int32)
    kinds = ((0.9, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.2, 0.9), (0.5, 0.5, 0.5))
    for number, colour in enumerate(kinds):
        place = (slice(8, 32), slice(40 * number + 8, 40 * number + 32))
        labels[place], pixels[place] = number + 1, colour
    return pixels, Masks.from_labels(labels)


def test_every_mask_gets_the_name_of_its_colour(matcher, vectors):
    assert vectors.shape == (4, 24)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    found = scores(matcher, vectors, ["blue", "red", "green"])
    assert found[:3].argmax(1).tolist() == [1, 2, 0]
    assert (found[:3].max(1) > 0.7).all(), "the paper's threshold"


def test_a_saved_matcher_scores_the_same_without_its_clip(matcher, vectors):
    names = ["blue", "red"]
    words = matcher.word_vectors([*names, "background"])
    nowhere = SamGridSpec("nowhere", "0" * 64)
    saved = ClipMaskClassifier(nowhere, None, 0.6, 0.3, matcher.spec, words)
    # A word without a vector, the last one, opens the same CLIP again. Texts encoded in another
    # batch differ in their last bits, which the softmax multiplies by CLIP's factor.
    for asked in (names, ["red"], ["green"]):
        np.testing.assert_allclose(
            saved._scores(vectors, asked), scores(matcher, vectors, asked), atol=1e-4
        )
    assert saved.word_vectors(["green"]).words == ("green", "background")


def test_a_single_name_does_not_fit_everything(matcher, vectors):
    """The contrast takes what the name does not fit; without it a softmax of one is always 1."""
    red = scores(matcher, vectors, ["red"])[:, 0]
    assert red[0] > 0.7 > red[3]
    assert (red <= 1).all()


def test_without_contrast_the_names_share_everything_as_in_the_paper(colour_clip, vectors):
    matcher = ClipMatcher(colour_clip, device="cpu", templates=PLAIN, contrast=())
    np.testing.assert_allclose(scores(matcher, vectors, ["red", "blue"]).sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(scores(matcher, vectors, ["red"]), 1)


def test_scores_are_a_softmax_of_cosines_with_clip_s_own_factor(matcher, colour_clip, vectors):
    model, _, file = colour_clip.partition("/")
    network = load_clip(model, Path(file)).eval()
    names = ["red", "green", "background"]
    with torch.no_grad():
        texts = network.encode_text(open_clip.get_tokenizer(model)(names), normalize=True)
    cosines = vectors @ texts.numpy().T
    powers = np.exp(network.logit_scale.exp().item() * cosines)
    expected = powers / powers.sum(1, keepdims=True)
    np.testing.assert_allclose(scores(matcher, vectors, names[:2]), expected[:, :2], atol=1e-5)


def test_what_lies_outside_a_mask_does_not_matter(matcher, vectors, picture):
    pixels, masks = picture
    loud = pixels.copy()
    outside = masks.paint(np.ones(len(masks), np.int32)) == 0
    loud[outside] = np.random.default_rng(1).random((outside.sum(), 3))
    np.testing.assert_allclose(embed(matcher, loud, masks), vectors, atol=1e-5)


def test_a_cut_out_shows_the_mask_in_its_middle_at_its_own_proportions():
    dense = np.zeros((1, 50, 50), bool)
    dense[0, 2:12, 5:45] = True  # 10 high, 40 wide, at an edge
    square = cut_out(torch.ones(3, 50, 50), from_dense(dense), 0, 48)[0]
    assert square.shape == (48, 48)
    rows, columns = ((square > 0.5).any(axis).nonzero()[:, 0] for axis in (1, 0))
    assert (int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])) == (19, 28, 4, 43)


def test_grey_pictures_do_and_a_picture_without_masks_gives_none(matcher):
    grey = np.full((20, 30, 1), 0.5, np.float32)
    labels = np.zeros((20, 30), np.int32)
    assert embed(matcher, grey, Masks.from_labels(labels)).shape == (0, 24)
    labels[3:9, 4:8] = 1
    one = embed(matcher, grey, Masks.from_labels(labels))
    three = embed(matcher, np.repeat(grey, 3, axis=2), Masks.from_labels(labels))
    np.testing.assert_allclose(one, three)
    assert scores(matcher, one[:0], ["red"]).shape == (0, 1)


class Small:
    """A network on a device that holds only so many pictures at once."""

    def __init__(self, network, room):
        self.network, self.room = network, room

    def __getattr__(self, name):
        return getattr(self.network, name)

    def encode_image(self, batch):
        if len(batch) > self.room:
            raise RuntimeError("CUDA out of memory")
        return self.network.encode_image(batch)


def test_with_little_memory_it_goes_on_with_fewer_masks_and_gives_the_same(
    colour_clip, vectors, picture, monkeypatch
):
    matcher = ClipMatcher(colour_clip, device="cpu", templates=PLAIN)
    clip = matcher._clip
    monkeypatch.setattr(matching, "BATCH", 4)
    object.__setattr__(clip, "network", Small(clip.network, 1))
    events = []
    found = finish(matcher.iter_embed(*picture), events.append)
    progress = [(e.done, e.total) for e in events if isinstance(e, Progress)]
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [e.text for e in events if isinstance(e, Notice)] == [
        "Memory was not enough; going on with 2 masks at once.",
        "Memory was not enough; going on with 1 masks at once.",
    ]
    np.testing.assert_allclose(found, vectors, atol=1e-5)
    object.__setattr__(clip, "network", Small(clip.network, 0))
    with pytest.raises(KindredError, match="choose a smaller model or device='cpu'"):
        embed(matcher, *picture)


def test_a_contrast_that_is_a_name_itself_is_not_counted_twice():
    assert contrast_beside(["Background", "cell"], ("background", "nothing")) == ["nothing"]


def test_its_spec_survives_as_json_and_refuses_other_weights(matcher, colour_clip):
    spec = matcher.spec
    assert spec.name == colour_clip
    assert spec.sha256 == file_sha256(Path(colour_clip.partition("/")[2]))
    assert (spec.templates, spec.contrast) == (("{}",), ("background",))
    assert ClipSpec.from_dict(json.loads(json.dumps(spec.as_dict()))) == spec
    with pytest.raises(WeightsError, match=rf"{spec.sha256[:12]} here, but 000"):
        dataclasses.replace(spec, sha256="0" * 64).open("cpu")


def test_pictures_and_masks_that_do_not_go_together_are_refused(matcher, picture):
    pixels, masks = picture
    with pytest.raises(InputError, match="give both of the same image"):
        embed(matcher, pixels[:30], masks)
    with pytest.raises(InputError, match=r"must be \(H, W, 1\) or \(H, W, 3\)"):
        embed(matcher, pixels[..., 0], masks)


def test_a_clip_that_is_not_on_this_machine_says_which_file_to_put_where(tmp_path, monkeypatch):
    from napari_kindred.models import download

    def refuse(*args, **options):
        raise OSError("no network")

    monkeypatch.setattr(download, "urlopen", refuse)
    monkeypatch.setenv(download.CACHE_VARIABLE, str(tmp_path))
    with pytest.raises(WeightsError, match="on another machine and put it at") as caught:
        ClipMatcher("ViT-B-16/laion2b_s34b_b88k", device="cpu")
    assert "open_clip_model.safetensors" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(OptionError, match="names no weights"):
        ClipMatcher("ViT-B-16", device="cpu")
