"""Names become sentences, sentences one vector each, and a name is embedded once."""

from __future__ import annotations

import sys

import numpy as np
import open_clip
import pytest
import torch

from napari_kindred.classes.clip.text import TEMPLATES, ClipTexts
from napari_kindred.core.errors import OptionError, WeightsError
from napari_kindred.encoders.clip import open_whole_clip


@pytest.fixture(scope="module")
def opened(colour_clip):
    return open_whole_clip(colour_clip)


def test_a_name_is_the_mean_of_its_sentences_at_unit_length(opened):
    texts = ClipTexts(opened, ("a {}.", "many {} here"))
    found = texts.embed(["red", "curly {braces}"])
    sentences = ["a red.", "many red here", "a curly {braces}.", "many curly {braces} here"]
    with torch.no_grad():
        each = opened.network.encode_text(open_clip.get_tokenizer(opened.model)(sentences))
    each = (each / each.norm(dim=1, keepdim=True)).numpy()
    for row, pair in zip(found.numpy(), (each[:2], each[2:]), strict=True):
        mean = pair.mean(0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-5)


def test_names_come_back_in_their_order_and_are_embedded_once(opened, monkeypatch):
    texts = ClipTexts(opened)
    first = texts.embed(["red", "blue"])
    seen = []
    real = opened.network.encode_text

    def count(tokens, **options):
        seen.append(len(tokens))
        return real(tokens, **options)

    monkeypatch.setattr(opened.network, "encode_text", count)
    second = texts.embed(["blue", "green", "red"])
    assert sum(seen) == len(TEMPLATES), "only the new name"
    assert torch.equal(second[[2, 0]], first)


def test_training_may_go_on_from_a_name_s_vector(opened):
    vector = ClipTexts(opened).embed(["red"])
    weight = torch.ones(24, requires_grad=True)
    (vector * weight).sum().backward()
    assert weight.grad is not None


def test_the_factor_is_the_one_that_was_learnt(opened):
    assert ClipTexts(opened).sharpness == pytest.approx(opened.network.logit_scale.exp().item())


@pytest.mark.parametrize(
    ("templates", "reason"), [((), "no sentence"), (("a cell",), "no place for a name")]
)
def test_sentences_without_a_place_for_the_name_are_refused(opened, templates, reason):
    with pytest.raises(OptionError, match=reason):
        ClipTexts(opened, templates)


def test_a_tokenizer_that_cannot_be_had_is_one_sentence(opened, monkeypatch):
    def refuse(name):
        raise OSError("no network")

    monkeypatch.setattr(sys.modules["open_clip"], "get_tokenizer", refuse)
    with pytest.raises(WeightsError, match="use a model with open_clip's own"):
        ClipTexts(opened).embed(["red"])
