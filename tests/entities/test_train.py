"""Training lowers the loss, goes on where it stopped, keeps the best and refuses what it must."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import load_file

from napari_kindred.core.errors import OptionError, OutputError, WeightsError
from napari_kindred.core.events import Notice, Progress, finish
from napari_kindred.entities import scoring
from napari_kindred.entities import train as train_module
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.entities.config import EntityConfig, TrainConfig
from napari_kindred.entities.segment import segment_plane
from napari_kindred.entities.train import Trainer, iter_train, train
from napari_kindred.entities.validate import iter_learn_scoring, iter_score_examples
from napari_kindred.models.training_data import TrainingArrays, data_hash, load_examples
from napari_kindred.results.metrics import overlaps

SHORT = TrainConfig(
    minutes=1e6,
    max_steps=6,
    batch=2,
    crop=64,
    learning_rate=3e-3,
    encoder_rate=1.0,
    init="random",
    encoder="test_resnet",
    width=16,
    diameter_low=16.0,
    diameter_high=24.0,
    average=0.9,
    validate_minutes=1e6,
    checkpoint_minutes=1e6,
    score_images=0,
    device="cpu",
)

LONGER = dataclasses.replace(SHORT, encoder="test_convnext", max_steps=100)


def field(seed, side=96):
    """Nine discs of diameters about 19, each a little off its place; picture and labels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.uint16)
    for number, (y, x) in enumerate(((y, x) for y in (16, 48, 80) for x in (16, 48, 80)), start=1):
        dy, dx = rng.integers(-3, 4, 2)
        radius = rng.integers(8, 11)
        labels[(rows - y - dy) ** 2 + (columns - x - dx) ** 2 < radius**2] = number
    return ((labels > 0) * 150 + 30 + rng.integers(0, 30, labels.shape)).astype(np.uint8), labels


def write(folder, names, empty=False):
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for seed, name in enumerate(names):
        image, labels = field(seed)
        tifffile.imwrite(folder / "images" / f"{name}.tif", image)
        tifffile.imwrite(folder / "labels" / f"{name}.tif", labels * (not empty))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "drawn", ["train_0", "train_1", "val_0"])


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A folder in which 100 steps were trained, the path returned, the events."""
    out = tmp_path_factory.mktemp("trained") / "new" / "run"
    events = []
    path = finish(iter_train([data], out, LONGER), events.append)
    return out, path, events


def score(network, data):
    """Return the scores of a network on the validation images."""
    examples = load_examples([data], "val")
    return finish(iter_score_examples(network, examples, EntityConfig(scale=1.0)))


def logged(out):
    """Return the log's rows: step, name and value."""
    with (out / "log.csv").open(newline="") as file:
        return [(step, name, float(value)) for step, _, name, value in csv.reader(file)]


def steps(data, out, config=SHORT, kind=Trainer):
    """Return a trainer on the drawn data, without validation; its folder made."""
    out.mkdir(parents=True, exist_ok=True)
    return kind(load_examples([data], "train"), [], out, config)


def test_a_run_writes_checkpoint_weights_log_and_description(trained, data):
    out, path, _ = trained
    assert path == out / "best.safetensors"
    written = {p.name for p in out.iterdir()}
    assert written == {"last.pt", "last.safetensors", "best.safetensors", "log.csv", "run.json"}
    about = json.loads((out / "run.json").read_text())
    examples = load_examples([data], "train")
    assert about["data_sha256"] == data_hash(examples)
    assert TrainConfig(**about["train_config"]) == LONGER
    assert (about["pictures"], about["groups"]) == (2, ["drawn"])


def test_the_loss_falls(trained):
    out, _, events = trained
    losses = {int(step): value for step, name, value in logged(out) if name == "loss"}
    assert set(losses) == {50, 100}
    assert losses[100] < 0.75 * losses[50]
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert notices == ["2 images to train on, 1 to validate on, device cpu"]


def test_trained_weights_find_discs_that_were_not_trained_on(trained, data):
    out, path, _ = trained
    network, info = load_network(path)
    scores = score(network, data)
    assert scores["AP50"] > 0.5
    assert info["steps"] == 100
    assert ("100", "AP50", info["validation"]["AP50"]) in logged(out)


def test_a_trained_network_learns_how_likely_its_entities_are_right(trained, tmp_path, monkeypatch):
    """The chances of a picture's entities add up to how many of them are right."""
    monkeypatch.setattr(scoring, "LEAST", 1)
    network, _ = load_network(trained[1])
    examples = load_examples([write(tmp_path / "drawn", [f"train_{k}" for k in range(6)])], "train")
    network.scoring = finish(iter_learn_scoring(network, examples))
    expected, right = 0.0, 0
    for example in examples:
        pixels = example.pyramid[0].astype(np.float32).transpose(1, 2, 0)
        found = segment_plane(network, pixels, EntityConfig(min_score=0.0))
        expected += float(found.scores.sum())
        right += int((overlaps(example.labels, found.labels).iou > 0.5).sum())
    assert right > 10
    assert expected == pytest.approx(right, rel=0.05)


def test_what_was_learnt_of_scores_is_in_the_weights(data, tmp_path, monkeypatch):
    learnt, seen = scoring.ScoreModel(0.5, 1.0, 2.0, 3.0, 4.0), []

    def learn(network, examples):
        seen.append(len(examples))
        yield Progress(0, 1, "learning the score, image")
        return learnt

    monkeypatch.setattr(train_module, "iter_learn_scoring", learn)
    for images in (1, 0, 9):
        config = dataclasses.replace(SHORT, score_images=images)
        network, info = load_network(train([data], tmp_path / str(images), config))
        assert network.scoring == (learnt if images else None)
        assert info["steps"] == SHORT.max_steps
    assert seen == [1, 2]


def test_pictures_without_complete_labels_tell_nothing_of_scores(trained, data):
    """What was not annotated looks wrong there."""
    network, _ = load_network(trained[1])
    examples = [dataclasses.replace(one, complete=False) for one in load_examples([data], "train")]
    assert finish(iter_learn_scoring(network, examples)) is None


def test_an_untrained_network_finds_none_of_them(data, tmp_path):
    """So that the test above cannot pass for another reason than training."""
    network = steps(data, tmp_path).averaged()
    scores = score(network, data)
    assert scores["AP50"] < 0.2


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_weights_it_began_from_is_kept(data, trained, tmp_path, share):
    begun = dataclasses.replace(SHORT, init=str(trained[1]), encoder=LONGER.encoder, max_steps=2)
    new, mixed = (
        load_file(train([data], tmp_path / str(blend), dataclasses.replace(begun, blend=blend)))
        for blend in (0.0, share)
    )
    for name, old in load_file(trained[1]).items():
        expected = new[name].float() * (1 - share) + old.float() * share
        torch.testing.assert_close(mixed[name].float(), expected, rtol=2e-3, atol=1e-6)
    assert any(not torch.equal(new[name], mixed[name]) for name in new) == (share > 0)


class Stopped(Trainer):
    """A run that is interrupted before its fourth step, as by Ctrl+C."""

    def train_step(self):
        if self.step == 3:
            raise KeyboardInterrupt
        return super().train_step()


@pytest.mark.parametrize("losses", ["default", "paper"])
def test_a_run_stopped_and_gone_on_with_gives_the_same_weights_to_the_bit(data, tmp_path, losses):
    """Limited by steps: the learning rate then does not depend on the clock."""
    config = dataclasses.replace(SHORT, losses=losses)
    whole = steps(data, tmp_path / "whole", config)
    finish(whole.iter_train())
    with pytest.raises(KeyboardInterrupt):
        finish(steps(data, tmp_path / "parts", config, Stopped).iter_train())
    torch.manual_seed(123)  # another process has drawn other random numbers
    torch.rand(7)
    gone_on = steps(data, tmp_path / "parts", config)
    assert gone_on.resume()
    assert gone_on.step == 3
    finish(gone_on.iter_train())
    assert gone_on.step == whole.step == 6
    written = [load_file(tmp_path / part / "last.safetensors") for part in ("whole", "parts")]
    for one, two in (
        (whole.network.state_dict(), gone_on.network.state_dict()),
        (whole.average, gone_on.average),
        written,
    ):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[k], two[k]) for k in one)


def test_a_run_without_its_checkpoint_resumes_from_the_weights_at_their_step(data, tmp_path):
    first = steps(data, tmp_path / "run", dataclasses.replace(SHORT, max_steps=4))
    finish(first.iter_train())
    (tmp_path / "run" / "last.pt").unlink()
    second = steps(data, tmp_path / "run", dataclasses.replace(SHORT, max_steps=8))
    assert second.resume()
    assert second.step == 4
    for name, value in second.network.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, first.average[name], rtol=2e-3, atol=1e-4)
    rate = second.learning_rate()
    assert rate < 0.05 * SHORT.learning_rate, "the optimiser is new, so its rate rises again"
    finish(second.iter_train())
    assert second.step == 8


def test_early_layers_stand_still_late_in_a_run(data, tmp_path):
    config = dataclasses.replace(
        SHORT, encoder="test_efficientnet", max_steps=4, freeze_after=0.5, weight_decay=0.1
    )
    trainer = steps(data, tmp_path / "run", config)

    def layer(name):
        return trainer.network.encoder.get_parameter(name).detach().clone()

    early = [layer("conv_stem.weight")]
    late = [layer("blocks.3.0.conv_pw.weight")]
    for _ in range(4):
        trainer.train_step()
        early.append(layer("conv_stem.weight"))
        late.append(layer("blocks.3.0.conv_pw.weight"))
    moved = [not torch.equal(a, b) for a, b in itertools.pairwise(early)]
    assert moved == [True, True, False, False]
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(late))


def test_losses_in_bfloat16_agree_with_those_in_float32(data, tmp_path):
    """Depthwise convolutions stay in float32; what differs is rounding."""
    totals = {}
    for precision in ("float32", "bfloat16"):
        config = dataclasses.replace(SHORT, encoder="test_efficientnet", precision=precision)
        trainer = steps(data, tmp_path / precision, config)
        totals[precision] = [trainer.train_step()["loss"] for _ in range(3)]
        kinds: set[torch.dtype] = set()

        def note(_layer, _inputs, out, kinds=kinds):
            kinds.add(out.dtype)

        for layer in trainer.network.modules():
            if isinstance(layer, torch.nn.Conv2d) and layer.groups > 1:
                layer.register_forward_hook(note)
        trainer.train_step()
        assert kinds == {torch.float32}
    np.testing.assert_allclose(totals["bfloat16"], totals["float32"], rtol=0.03)
    assert totals["bfloat16"] != totals["float32"], "bfloat16 took no part"


def test_arrays_train_the_same_weights_as_their_folder(tmp_path):
    folder = write(tmp_path / "drawn", ["train_0", "train_1"])
    arrays = TrainingArrays(*zip(*(field(seed) for seed in (0, 1)), strict=True))
    one = load_file(train(folder, tmp_path / "a", SHORT))
    two = load_file(train(arrays, tmp_path / "b", SHORT))
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_a_run_closed_while_validating_is_complete_and_can_be_resumed(data, tmp_path):
    job = iter_train([data], tmp_path / "run", SHORT)
    for event in job:
        if isinstance(event, Progress) and event.what.startswith("validating"):
            break
    job.close()
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["step"] == SHORT.max_steps
    assert not (tmp_path / "run" / "best.safetensors").exists()
    assert train([data], tmp_path / "run", SHORT) == tmp_path / "run" / "best.safetensors"


def test_the_same_seed_trains_the_same_weights_and_another_one_others(data, tmp_path):
    states = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        trainer = steps(data, tmp_path / name, dataclasses.replace(SHORT, max_steps=2, seed=seed))
        finish(trainer.iter_train())
        states.append(trainer.network.head_out.weight)
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_the_learning_rate_rises_shortly_and_falls_to_zero(data, tmp_path):
    trainer = steps(data, tmp_path, dataclasses.replace(SHORT, max_steps=1000))
    rates = []
    for trainer.step in range(1001):
        rates.append(trainer.learning_rate())
    peak = int(np.argmax(rates))
    assert peak == 20  # a fiftieth of the run
    assert rates[peak] == pytest.approx(SHORT.learning_rate, rel=0.01)
    assert (np.diff(rates[:peak]) >= 0).all()
    assert (np.diff(rates[peak:]) <= 0).all()
    assert rates[510] == pytest.approx(SHORT.learning_rate / 2, rel=0.05)
    assert rates[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("checkpoint", [True, False])
def test_other_data_are_refused_and_the_run_in_the_folder_is_kept(data, tmp_path, checkpoint):
    out = tmp_path / "run"
    train([data], out, dataclasses.replace(SHORT, max_steps=1))
    if not checkpoint:
        (out / "last.pt").unlink()
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    other = write(tmp_path / "other", ["train_0"])
    with pytest.raises(OptionError, match=r"other data; choose another --out"):
        train([other], out, SHORT)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


@pytest.mark.parametrize("damage", ["truncated", "other width"])
def test_a_checkpoint_that_does_not_fit_is_refused(data, tmp_path, damage):
    out = tmp_path / "run"
    config = dataclasses.replace(SHORT, max_steps=1)
    train([data], out, config)
    if damage == "truncated":
        content = (out / "last.pt").read_bytes()
        (out / "last.pt").write_bytes(content[: len(content) // 2])
    else:
        config = dataclasses.replace(config, width=24)
    with pytest.raises(WeightsError, match=r"last\.pt is damaged or from other options; remove"):
        train([data], out, config)


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(data, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "run"):
        with pytest.raises(OutputError, match=r"Nothing can be written into .*; choose"):
            train([data], out, SHORT)
    assert file.read_text() == "mine"


def test_one_empty_picture_among_others_does_no_harm(data, tmp_path):
    empty = write(tmp_path / "empty", ["train_0"], empty=True)
    config = dataclasses.replace(SHORT, max_steps=3, batch=4)
    path = train([data, empty], tmp_path / "run", config)
    assert all(v.isfinite().all() for v in load_file(path).values())


def test_training_goes_on_from_a_weights_file(trained, data, tmp_path):
    _, path, _ = trained
    trainer = steps(data, tmp_path, dataclasses.replace(LONGER, init=str(path)))
    expected = load_file(path)
    for name, value in trainer.network.state_dict().items():
        if name in expected:
            torch.testing.assert_close(value, expected[name].float(), rtol=0, atol=0)
    assert trainer.network.training


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"blend": 0.2}, OptionError, "needs a weights file to begin from"),
        ({"width": 24}, WeightsError, "a network of another shape"),
        (
            {"init": "timm", "encoder": "seresnet18"},
            WeightsError,
            r"no weights for encoder='seresnet18'.*--init random",
        ),
    ],
)
def test_a_start_that_is_impossible_is_refused(trained, data, tmp_path, options, error, words):
    start = LONGER if "width" in options else SHORT
    init = {"init": str(trained[1])} if "width" in options else {}
    with pytest.raises(error, match=words):
        steps(data, tmp_path, dataclasses.replace(start, **{**init, **options}))
