"""Training learns, goes on where it stopped, and writes a file that works with its CLIP only."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_kindred.classes.escnet.checkpoint import is_esc, load_esc, save_esc
from napari_kindred.classes.escnet.config import EscTrainConfig
from napari_kindred.classes.escnet.dataset import load_class_data
from napari_kindred.classes.escnet.predict import open_esc
from napari_kindred.classes.escnet.train import EscTrainer, begin, iter_score_classes
from napari_kindred.cli import main as cli
from napari_kindred.core.errors import OptionError, OutputError, WeightsError
from napari_kindred.core.events import Progress, finish

from ..conftest import assert_resumes_to_the_bit, flags


@pytest.fixture
def config(colour_clip, sam_file):
    return EscTrainConfig(
        minutes=1e6,
        max_steps=3,
        batch=2,
        learning_rate=3e-3,
        clip=colour_clip,
        sam=str(sam_file),
        side=64,
        blocks=1,
        hidden=16,
        heads=2,
        window=3,
        regions=2,
        average=0.8,
        validate_minutes=1e6,
        checkpoint_minutes=1e6,
        device="cpu",
    )


def start(data, out, config, kind=EscTrainer):
    out.mkdir(exist_ok=True)
    return kind(load_class_data(data), out, config)


@pytest.fixture
def trained(data, config, tmp_path):
    """A file of two steps."""
    trainer = start(data, tmp_path / "run", dataclasses.replace(config, max_steps=2))
    finish(trainer.iter_train())
    return tmp_path / "run" / "last.safetensors"


def test_a_few_dozen_steps_make_it_better_than_clip_alone(data, config, tmp_path):
    trainer = start(data, tmp_path, dataclasses.replace(config, max_steps=30))
    pictures = [*trainer.examples, *trainer.validation]
    before = finish(iter_score_classes(trainer.classifier(), pictures, trainer.names))["mIoU"]
    losses = [trainer.train_step()["loss"] for _ in range(30)]
    after = finish(iter_score_classes(trainer.classifier(), pictures, trainer.names))["mIoU"]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert after > before + 0.03


def test_an_interrupted_run_resumes_to_the_same_weights(data, config, tmp_path):
    assert_resumes_to_the_bit(
        lambda out, kind: start(data, out, config, kind), EscTrainer, tmp_path
    )


def test_the_command_trains_a_network_that_names_pixels(data, config, tmp_path, capsys):
    out = tmp_path / "run"
    assert cli.main(["train", "classes", str(data), "--out", str(out), *flags(config)]) == 0
    best = out / "best.safetensors"
    assert str(best) in capsys.readouterr().out
    assert is_esc(best)
    classifier = open_esc(best, device="cpu")
    assert classifier.spec.clip.name == config.clip
    assert classifier.spec.name == str(best)
    _, _, info = load_esc(best)
    assert info["names"] == ["red", "green"]
    assert info["sam"]["name"] == config.sam
    assert EscTrainConfig(**info["train_config"]) == config
    assert set(info["validation"]) == {"mIoU", "IoU red", "IoU green"}
    picture = np.random.default_rng(0).random((40, 56, 3)).astype(np.float32)
    found = finish(classifier.iter_class_map(picture, ["red", "a word never trained on"]))
    assert found.shape == (2, 40, 56)
    assert found.dtype == np.float32
    assert 0 <= found.min() <= found.max() <= 1


def test_a_disk_without_room_leaves_the_earlier_file(trained, files_up_to):
    model, names, before = load_esc(trained)[0], {*trained.parent.iterdir()}, trained.read_bytes()
    with files_up_to(1000), pytest.raises(OutputError, match=r"Cannot write .* choose another"):
        save_esc(model, trained, {})
    assert {*trained.parent.iterdir()} == names
    assert trained.read_bytes() == before


def test_names_in_another_order_give_the_same_maps_and_grey_pictures_do(trained):
    classifier = open_esc(trained, device="cpu")
    grey = np.random.default_rng(0).random((48, 48, 1)).astype(np.float32)
    one = finish(classifier.iter_class_map(grey, ["red", "green", "blue"]))
    two = finish(classifier.iter_class_map(grey.repeat(3, 2), ["blue", "red", "green"]))
    np.testing.assert_allclose(one, two[[1, 2, 0]], atol=1e-4)


def test_a_large_picture_is_looked_at_as_a_whole_and_in_tiles(trained):
    classifier = open_esc(trained, device="cpu")
    large = np.random.default_rng(0).random((70, 130, 3)).astype(np.float32)
    job = classifier.iter_class_map(large, ["red"])
    events = []
    found = finish(job, events.append)
    assert all(isinstance(event, Progress) for event in events)
    assert [event.done for event in events] == list(range(1, len(events) + 1))
    assert events[-1].done == events[-1].total > 4
    assert found.shape == (1, 70, 130)
    whole = classifier._predict(torch.from_numpy(large.transpose(2, 0, 1)), ["red"])
    tiles = 2 * found - whole
    assert -1e-4 < tiles.min() <= tiles.max() < 1 + 1e-4, "the mean of both"


def test_the_file_holds_what_was_learnt_and_nothing_else_of_clip(data, config, trained):
    tensors = load_file(trained)
    clip = {k for k in tensors if k.startswith("clip.")}
    assert clip
    assert all(".attn." in k and tensors[k].dtype == torch.float32 for k in clip)
    assert all(
        tensors[k].dtype == torch.float16 for k in tensors if k.startswith("network.blocks.0.fuse")
    )
    fresh = begin(config).model.state_dict()
    loaded = load_esc(trained)[0].state_dict()
    changed = {k for k in fresh if not torch.equal(fresh[k], loaded[k].to(fresh[k].dtype))}
    assert {k for k in changed if k.startswith("clip.")} <= clip
    assert any(k.startswith("clip.") for k in changed)


def test_clip_and_sam_learn_slower_or_not_at_all(data, config, tmp_path):
    slow = start(data, tmp_path / "a", config)
    shares = {g["share"] for g in slow.optimiser.param_groups}
    assert shares == {1.0, config.pretrained_rate}
    by_rate = {id(p): g["share"] for g in slow.optimiser.param_groups for p in g["params"]}
    network = slow.network
    before = [*network.clip.attention().values(), *network.network.pretrained()]
    assert all(by_rate[id(p)] == config.pretrained_rate for p in before)
    assert by_rate[id(network.network.decoder.read.weight)] == 1.0
    still = start(data, tmp_path / "b", dataclasses.replace(config, pretrained_rate=0.0))
    wanted = {k: v.clone() for k, v in still.network.state_dict().items()}
    still.train_step()
    after = still.network.state_dict()
    kept = [k for k in wanted if k.startswith("clip.") or ".sam.layers." in k]
    assert len(kept) > 20
    assert all(torch.equal(wanted[k], after[k]) for k in kept)


def test_another_clip_is_refused_with_both_hashes(trained, colour_clip, tmp_path):
    model, _, file = colour_clip.partition("/")
    tensors = torch.load(file, weights_only=True)
    tensors["logit_scale"] += 1
    torch.save(tensors, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"sha256 is [0-9a-f]{64}, not [0-9a-f]{64}; give that"):
        open_esc(trained, device="cpu", clip=f"{model}/{tmp_path / 'other.pt'}")
    moved = tmp_path / "moved.pt"
    shutil.copy(file, moved)
    assert open_esc(trained, device="cpu", clip=f"{model}/{moved}").spec.clip.sha256


def test_files_of_something_else_or_cut_short_are_one_sentence(trained, tmp_path):
    other = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(3)}, other)
    assert not is_esc(other)
    with pytest.raises(WeightsError, match="'napari-kindred train classes' is needed"):
        open_esc(other)
    short = tmp_path / "short.safetensors"
    short.write_bytes(trained.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="damaged or cut short"):
        open_esc(short)
    with pytest.raises(WeightsError, match="There are no weights"):
        open_esc(tmp_path / "missing.safetensors")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"side": 60}, "must be a multiple of the 8 pixels of a patch"),
        ({"clip": "RN50/openai"}, "no token per patch"),
    ],
)
def test_options_that_do_not_go_with_the_clip_are_refused(data, config, tmp_path, options, reason):
    with pytest.raises(OptionError, match=reason):
        start(data, tmp_path, dataclasses.replace(config, **options))


def test_blocks_that_know_nothing_yet_can_be_had(config):
    found = begin(dataclasses.replace(config, sam="random"))
    assert found.sam == {"name": "random", "sha256": ""}
    assert Path(config.sam).exists()
