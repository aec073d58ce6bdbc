"""Training learns what is asked for, goes on where it stopped, and leaves validation alone."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from napari_kindred.classes.sam import validate
from napari_kindred.classes.sam.config import SamTrainConfig
from napari_kindred.classes.sam.losses import real_quality
from napari_kindred.classes.sam.model import embed, load_sam, new_sam, predict_masks
from napari_kindred.classes.sam.prompts import draw_prompt_batch
from napari_kindred.classes.sam.train import SamTrainer, sizes, train_sam
from napari_kindred.classes.sam.validate import clicks, iter_one_click, middle
from napari_kindred.cli import main as cli
from napari_kindred.core.errors import OptionError, WeightsError
from napari_kindred.core.events import finish
from napari_kindred.encoders.registry import open_encoder
from napari_kindred.models.augment import IGNORE
from napari_kindred.models.training_data import data_hash, load_examples

from ..conftest import assert_resumes_to_the_bit, flags

SHORT = SamTrainConfig(
    minutes=1e6,
    max_steps=4,
    batch=1,
    prompts=4,
    corrections=0.5,
    learning_rate=2e-3,
    side=64,
    patch=8,
    width=16,
    depth=2,
    heads=2,
    window=2,
    channels=32,
    diameter_low=16.0,
    diameter_high=24.0,
    average=0.9,
    validate_minutes=1e6,
    checkpoint_minutes=1e6,
    device="cpu",
)


def start(data, out, config=SHORT, kind=SamTrainer, validation=()):
    """Return a trainer on the drawn data; its folder made."""
    out.mkdir(exist_ok=True)
    return kind(load_examples([data], "train"), list(validation), out, config)


class OneCrop(SamTrainer):
    """A run that sees the same crop and the same prompts in every step."""

    def batch(self):
        step, self.step = self.step, 0
        try:
            return super().batch()
        finally:
            self.step = step


def test_one_crop_is_learnt_by_heart_in_a_few_dozen_steps(data, tmp_path):
    """By boxes, which have one answer each: it can only be right by what the box says."""
    config = dataclasses.replace(
        SHORT,
        max_steps=60,
        boxes=1.0,
        prompts=5,
        corrections=0.0,
        windows_until=0.0,
        dense_until=0.0,
        width=32,
        channels=64,
    )
    trainer = start(data, tmp_path, config, OneCrop)
    for _ in range(config.max_steps):
        trainer.train_step()
    batch, sam = trainer.batch(), trainer.network.sam
    prompt_batch = draw_prompt_batch(batch.labels[0], True, 5, 1.0, batch.random, 32)
    with torch.no_grad():
        logits, quality = predict_masks(sam, embed(sam, batch.images), prompt_batch.prompts)
    overlap = real_quality(logits, prompt_batch.targets, prompt_batch.valid)
    boxed = prompt_batch.single
    assert boxed.sum() >= 2
    assert overlap[boxed, 0].min() > 0.6
    assert (quality[boxed, 0] - overlap[boxed, 0]).abs().max() < 0.35
    assert quality[~boxed, 1:].max() < 0.5, "a click on background is worth nothing"


def test_an_interrupted_run_resumes_to_the_same_weights(data, tmp_path):
    """Limited by steps: the learning rate then does not depend on the clock."""
    assert_resumes_to_the_bit(lambda out, kind: start(data, out, kind=kind), SamTrainer, tmp_path)


def test_the_command_trains_a_sam_that_opens_as_an_encoder(data, tmp_path, capsys):
    out = tmp_path / "run"
    assert cli.main(["train", "sam", str(data), "--out", str(out), *flags(SHORT)]) == 0
    best = out / "best.safetensors"
    assert str(best) in capsys.readouterr().out
    encoder = open_encoder(str(best))
    assert (encoder.stride, encoder.dimension, encoder.input_size) == (8, 32, 64)
    assert encoder.decoder is not None
    written = {path.name for path in out.iterdir()}
    assert written == {"last.pt", "last.safetensors", "best.safetensors", "log.csv", "run.json"}
    _, info = load_sam(best)
    assert info["data_sha256"] == data_hash(load_examples([data], "train"))
    assert SamTrainConfig(**info["train_config"]) == SHORT
    assert info["steps"] == 4
    with (out / "log.csv").open(newline="") as file:
        logged = [row[2] for row in csv.reader(file)]
    assert logged == ["one_click", "best_of_three", "one_click drawn"]
    assert json.loads((out / "run.json").read_text())["pictures"] == 2


def test_pictures_to_validate_on_are_never_trained_on(data, tmp_path):
    """Changed beyond recognition, they change no weight."""
    states = []
    for part, value in (("as they are", None), ("black", 0)):
        validation = load_examples([data], "val")
        for example in validation:
            if value is not None:
                example.pyramid[0][:] = value
        config = dataclasses.replace(SHORT, max_steps=2)
        trainer = start(data, tmp_path / part, config, validation=validation)
        finish(trainer.iter_train())
        states.append(trainer.network.state_dict())
    names = [example.name for example in trainer.examples]
    assert names == ["train_0", "train_1"]
    assert [example.name for example in trainer.validation] == ["val_0"]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_windows_stand_for_crops_at_first_four_for_one(data, tmp_path):
    trainer = start(data, tmp_path, dataclasses.replace(SHORT, max_steps=10, windows_until=0.5))
    first = trainer.batch()
    assert first.images.shape == (4, 3, 32, 32)
    trainer.step = 5
    assert trainer.batch().images.shape == (1, 3, 64, 64)
    assert trainer.batch().corner == (0, 0)
    corners = set()
    for trainer.step in range(5):
        corners.add(trainer.batch().corner)
    assert len(corners) > 1
    assert all(0 <= c <= 4 for corner in corners for c in corner), "windows end at the input's edge"


def test_crops_come_as_the_encoder_gets_pictures(data, tmp_path):
    """Normalised alike, and padded with zeros below or to the right, where nothing is asked."""
    trainer = start(data, tmp_path, dataclasses.replace(SHORT, windows_until=0.0, max_steps=10**6))
    padded = 0
    for trainer.step in range(40):
        batch = trainer.batch()
        image, labels = batch.images[0], batch.labels[0]
        assert image.min() >= (0 - 123.675) / 58.395 - 1e-4
        assert image.max() <= (255 - 103.53) / 57.12 + 1e-1
        blank = (image == 0).all(0)
        if blank[-1].all() or blank[:, -1].all():
            padded += 1
            assert (labels[blank] == IGNORE).all()
    assert 1 <= padded <= 16


def test_the_dense_helper_fades_and_is_not_kept(data, tmp_path):
    trainer = start(data, tmp_path, dataclasses.replace(SHORT, max_steps=10, dense_until=0.5))
    weights = []
    for trainer.step in range(11):
        weights.append(trainer.dense_weight())
    assert weights[0] == 1
    assert weights[5:] == [0] * 6
    assert (np.diff(weights[:6]) < 0).all()
    trainer.step = 6
    assert "dense" not in trainer.loss()[1]
    trainer.save()
    assert not [k for k in load_file(tmp_path / "last.safetensors") if "dense.project" in k]


def test_training_goes_on_from_a_weights_file_of_the_same_shape_only(data, tmp_path):
    trainer = start(data, tmp_path)
    trainer.save()
    file = tmp_path / "last.safetensors"
    again = start(data, tmp_path / "again", dataclasses.replace(SHORT, init=str(file), seed=3))
    for name, value in load_file(file).items():
        assert torch.equal(again.network.sam.state_dict()[name], value.float()), name
    with pytest.raises(WeightsError, match="a model of another shape"):
        start(data, tmp_path / "other", dataclasses.replace(SHORT, init=str(file), width=32))


def test_runs_on_other_data_or_of_other_shape_are_refused(data, draw, tmp_path):
    out = tmp_path / "run"
    start(data, out).save()
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(OptionError, match=r"holds a run on other data; choose another --out"):
        train_sam(draw(tmp_path / "other", ["train_0"]), out, SHORT)
    with pytest.raises(WeightsError, match=r"last\.pt is damaged or from other options; remove"):
        train_sam(data, out, dataclasses.replace(SHORT, width=32))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_an_empty_picture_among_others_does_no_harm(data, draw, tmp_path):
    empty = draw(tmp_path / "empty", ["train_0"], empty=True)
    config = dataclasses.replace(SHORT, batch=2, max_steps=2)
    path = train_sam([data, empty], tmp_path / "run", config)
    assert all(value.isfinite().all() for value in load_file(path).values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 100}, "multiple of twice patch"),
        ({"width": 33}, "multiple of heads"),
        ({"window": 8}, "must be smaller than the 8 tokens"),
        ({"diameter_low": 50.0}, "diameter_high must not be below"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        dataclasses.replace(SHORT, **options)


def test_the_default_options_train_the_model_that_is_shipped():
    wanted = sizes(SamTrainConfig())
    assert (wanted.side, wanted.patch, wanted.out_channels) == (256, 8, 256)
    assert wanted.everywhere == (3, 7)


# -- one click --------------------------------------------------------------------------------


def test_clicks_are_innermost_and_few(data):
    labels = load_examples([data], "val")[0].labels
    places = clicks(labels)
    assert sorted(places) == [1, 2, 3, 4]
    for number, (x, y) in places.items():
        rows, columns = np.nonzero(labels == number)
        assert abs(rows.mean() - y) <= 1.5
        assert abs(columns.mean() - x) <= 1.5
    grid = np.kron(np.arange(1, 37).reshape(6, 6), np.ones((6, 6), int)).astype(np.int32)
    assert len(clicks(grid)) == 16
    assert clicks(np.pad(np.ones((3, 3), np.int32), 9)) == {}, "too small to be asked for"


def test_large_pictures_are_looked_at_in_their_middle_and_large_things_scaled(data):
    (example,) = load_examples([data], "val")
    image, labels = middle(example, 32)
    assert np.array_equal(labels, example.labels[16:48, 16:48])
    assert np.allclose(image, example.pyramid[0][:, 16:48, 16:48].clip(0, 1))
    large = dataclasses.replace(example, diameter=120.0)
    image, labels = middle(large, 64)
    assert labels.shape == (16, 16)
    assert image.shape == (3, 16, 16)
    assert set(np.unique(labels)) == set(range(5))


def test_a_click_is_scored_by_the_candidate_that_the_model_trusts(data, monkeypatch):
    """A decoder that knows the truth as its second candidate, and trusts its third."""
    (example,) = load_examples([data], "val")
    sam = new_sam(sizes(SHORT)).eval()
    truth = torch.from_numpy(example.labels.astype(np.int64))

    def answer(sam, embedding, prompts):
        logits = torch.full((len(prompts), 4, 64, 64), -1.0)
        for i, (x, y) in enumerate(prompts.points.long().tolist()):
            logits[i, 2][truth == truth[y, x]] = 1.0
            logits[i, 3] = 1.0  # the whole picture
        return logits, torch.tensor([[0.0, 0.1, 0.2, 0.3]]).repeat(len(prompts), 1)

    monkeypatch.setattr(validate, "predict_masks", answer)
    scores = finish(iter_one_click(sam, [example]))
    shares = [(example.labels == n).mean() for n in range(1, 5)]
    assert scores["best_of_three"] == pytest.approx(1)
    assert scores["one_click"] == scores["one_click drawn"] == pytest.approx(np.mean(shares))
