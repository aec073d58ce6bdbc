"""Fine-tuning learns, measures before and after, keeps the better, and can be gone on with."""

from __future__ import annotations

import gc
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import napari_kindred as nk
from napari_kindred.cli.info import of_file
from napari_kindred.core.errors import InputError, OptionError, OutputError, WeightsError
from napari_kindred.core.events import Metrics, Progress, finish
from napari_kindred.core.settings import weights_dir
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.entities.learning import fine_tune as module
from napari_kindred.entities.learning import tuner
from napari_kindred.entities.learning.config import LearnConfig
from napari_kindred.entities.learning.control import FOLDER, control_set, rehearsal_set
from napari_kindred.entities.learning.files import card_of, learnt_weights, total
from napari_kindred.entities.learning.tuner import STEP, Tuner, trained_parameters

from .conftest import discs

SHORT = {"minutes": 10.0, "steps": 4, "device": "cpu"}


@pytest.fixture(autouse=True)
def small_crops(monkeypatch):
    monkeypatch.setitem(STEP, "crop", 64)
    monkeypatch.setitem(STEP, "batch", 2)


def tensors(path):
    return {k: v.float() for k, v in load_file(path).items() if v.is_floating_point()}


@pytest.mark.parametrize("weights", [8], indirect=True)
def test_it_learns_to_find_what_it_did_not_and_says_so(weights, monkeypatch):
    monkeypatch.setattr(tuner, "REHEARSED", 0.0)
    image, labels = discs(0)
    events = []
    job = nk.iter_fine_tune(
        image,
        labels,
        weights=weights,
        name="Discs, 16",
        minutes=10.0,
        steps=90,
        learning_rate=0.01,
        device="cpu",
    )
    learnt = finish(job, events.append)
    held = learnt.card["scores"]["held_back"]
    assert held["before"]["AP50"] < 0.1
    assert held["after"]["AP50"] > 0.5
    other, truth = discs(5)
    found = nk.segment_entities(other, weights=learnt, device="cpu", scale=1.0)
    assert abs(found.labels.max() - truth.max()) <= 4
    assert found.provenance["weights"]["name"] == learnt.weights
    assert found.provenance["learnt"] == "Discs, 16"
    shares = [event.done / event.total for event in events if isinstance(event, Progress)]
    assert shares == sorted(shares)
    losses = [event.values["loss"] for event in events if "loss" in getattr(event, "values", ())]
    assert losses[-1] < 0.9 * losses[0]
    assert sum(isinstance(event, Metrics) and "AP50" in event.values for event in events) >= 2


def test_a_file_has_a_name_and_a_card_and_is_listed(weights):
    learnt = nk.fine_tune(*discs(0), weights=weights, name="Ring 1", keep="always", **SHORT)
    card = card_of(learnt)
    assert card == json.loads(json.dumps(learnt.card))
    assert card["objects"] + card["held_back"] == 16
    assert (card["name"], card["seed"], card["frames"]) == ("Ring 1", 0, 1)
    assert 1 <= card["steps"] <= 4
    assert set(card["scores"]) == {"held_back", "control"}
    assert os.fspath(learnt) == str(weights_dir() / "Ring-1.safetensors")
    assert learnt_weights() == {"Ring 1": weights_dir() / "Ring-1.safetensors"}
    assert "AP50 of the objects held back" in learnt.summary()
    (shown,) = of_file(weights_dir() / "Ring-1.safetensors")
    assert json.loads(shown)["learning"]["name"] == "Ring 1"
    assert load_network(learnt)[1]["pictures"] == 7  # what was known of the start stays


def test_going_on_adds_to_what_was_learnt(weights, tmp_path):
    first = nk.fine_tune(*discs(0), weights=weights, keep="always", name="First", **SHORT)
    second = nk.fine_tune(*discs(1), weights=first, keep="always", **SHORT)
    assert second.card["start"] == "First"
    assert [card["name"] for card in second.card["earlier"]] == ["First"]
    assert total(second.card, "objects") == first.card["objects"] + second.card["objects"]
    assert second.name.startswith("First, 16 corrections, ")
    assert second.weights != first.weights
    out = tmp_path / "third.safetensors"
    third = nk.fine_tune(*discs(2), weights=second, keep="always", out=out, **SHORT)
    assert [card["name"] for card in third.card["earlier"]] == [second.name, "First"]


def test_what_is_no_better_is_not_kept_unless_asked_for(weights, monkeypatch):
    scores = {"AP50": 0.5, "mSA": 0.25}

    def same(*_):
        yield Progress(1, 1, "validating")
        return dict(scores)

    monkeypatch.setattr(module, "iter_score_examples", same)
    learnt = nk.fine_tune(*discs(0), weights=weights, **SHORT)
    assert not learnt.kept
    assert learnt.weights == str(weights)
    assert "Not kept" in learnt.summary()
    assert not weights_dir().exists()
    assert nk.fine_tune(*discs(0), weights=weights, keep="always", **SHORT).kept


def test_blend_mixes_in_the_start(weights):
    half, whole = (
        tensors(nk.fine_tune(*discs(0), weights=weights, keep="always", blend=blend, **SHORT))
        for blend in (0.5, 0.0)
    )
    start = tensors(weights)
    for key, value in half.items():
        torch.testing.assert_close(value, (start[key] + whole[key]) / 2, atol=2e-3, rtol=1e-2)


@pytest.mark.parametrize(("control", "chosen"), [((0.6, 0.7, 0.8), 0.5), ((0.79, 0.8, 0.8), 0.0)])
def test_the_blend_is_chosen_by_both_scores(weights, monkeypatch, control, chosen):
    """The control set scored 0.8 before; each quarter of old weights costs 0.01 on the others."""
    blends = []
    mixed = Tuner.mixed

    def note(self, state, blend):
        blends.append(blend)
        return mixed(self, state, blend)

    def drawn(_, examples):
        yield Progress(1, 1, "validating")
        number = round(4 * blends[-1]) if blends else None
        if examples[0].group == "control":
            value = 0.8 if number is None else control[number]
        else:
            value = 0.5 if number is None else 0.9 - 0.01 * number
        return {"AP50": value, "mSA": value}

    few = [replace(example, group="control") for example in module.control_set()]
    monkeypatch.setattr(module, "control_set", lambda: few)
    monkeypatch.setattr(module, "iter_score_examples", drawn)
    monkeypatch.setattr(Tuner, "mixed", note)
    assert nk.fine_tune(*discs(0), weights=weights, **SHORT).card["blend"] == chosen


@pytest.mark.parametrize("layers", ["head", "last block", "decoder"])
def test_only_the_layers_asked_for_change(weights, layers):
    network, _ = load_network(weights, for_training=True)
    wanted = {id(p) for p in trained_parameters(network, layers)}
    names = {name for name, p in network.named_parameters() if id(p) in wanted}
    learnt = nk.fine_tune(
        *discs(0), weights=weights, keep="always", layers=layers, blend=0.0, **SHORT
    )
    before, after = tensors(weights), tensors(learnt)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed <= names
    assert {"head_out.weight", "head_full.weight"} <= changed
    assert any("fusion.0" in name for name in changed) == (layers != "head")
    assert any("fusion.3" in name for name in changed) == (layers == "decoder")


@pytest.mark.parametrize("events", [1, 4, 12])
def test_closing_it_at_any_time_leaves_nothing(weights, events, monkeypatch):
    flushed = []
    monkeypatch.setattr(torch, "set_flush_denormal", flushed.append)
    job = nk.iter_fine_tune(*discs(0), weights=weights, keep="always", **SHORT)
    for _ in range(events):
        next(job)
    job.close()
    gc.collect()
    assert not weights_dir().exists()
    assert flushed in ([], [True, False])  # as before


def test_the_same_seed_gives_the_same_weights(weights, tmp_path):
    for name in ("a", "b"):
        out = tmp_path / f"{name}.safetensors"
        nk.fine_tune(*discs(0), weights=weights, keep="always", out=out, **SHORT)
    a, b = (tensors(tmp_path / f"{name}.safetensors") for name in "ab")
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_mistakes_are_one_sentence_and_nothing_is_written(weights, tmp_path):
    image, labels = discs(0)
    for error, arguments in (
        (InputError, {"images": image, "labels": labels[:9]}),
        (OptionError, {"images": image, "labels": labels, "layers": "some"}),
        (OptionError, {"images": image, "labels": labels, "unknown": 1}),
        (WeightsError, {"images": image, "labels": labels, "weights": "nowhere"}),
        (OutputError, {"images": image, "labels": labels, "out": weights / "a.safetensors"}),
    ):
        with pytest.raises(error):
            nk.fine_tune(**{"weights": weights, **arguments})
    assert not weights_dir().exists()


def test_the_control_sets_are_small_and_of_several_kinds():
    for name, examples in (("control", control_set()), ("rehearsal", rehearsal_set())):
        assert (FOLDER / f"{name}.npz").stat().st_size < 1_000_000
        assert len(examples) == 10
        assert len({example.group for example in examples}) == 6
        assert all(len(np.unique(example.labels)) > 8 for example in examples)
    assert not {e.name for e in control_set()} & {e.name for e in rehearsal_set()}


def test_the_defaults_are_valid():
    assert LearnConfig() == LearnConfig(minutes=np.float64(LearnConfig().minutes))
