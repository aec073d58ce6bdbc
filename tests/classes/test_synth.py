"""Examples drawn by a text-to-image model: what is asked for, and what is said where it is not."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_kindred.classes import synth
from napari_kindred.classes.synth import open_pipeline, synthetic_examples
from napari_kindred.classes.vocabulary.examples import class_names
from napari_kindred.core.errors import OptionError, WeightsError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """A pipeline that draws noise from its generator, and what it was asked for."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def draw(prompt: str, *, generator: torch.Generator, height: int = 8, **more: Any) -> Any:
        calls.append((prompt, {"height": height, **more}))
        values = torch.rand(1, height, 8, 3, generator=generator) * 1.2 - 0.1
        return SimpleNamespace(images=values.numpy())

    monkeypatch.setattr(synth, "open_pipeline", lambda *_: draw)
    return calls


def test_each_class_is_drawn_and_named(asked: list) -> None:
    examples = synthetic_examples(["red cell", "yeast"], "model", images=2, steps=7, side=16)
    assert class_names(examples) == ("red cell", "yeast")
    assert [example.names for example in examples] == [("red cell",)] * 2 + [("yeast",)] * 2
    assert {(e.image.shape, e.image.dtype.name, e.axes) for e in examples} == {
        ((16, 8, 3), "uint8", "YXS")
    }
    assert [prompt for prompt, _ in asked] == ["a photo of a red cell"] * 2 + [
        "a photo of a yeast"
    ] * 2
    assert asked[0][1]["num_inference_steps"] == 7


def test_a_seed_draws_the_same_and_more_pictures_begin_with_the_same(asked: list) -> None:
    few = synthetic_examples("a, b", "model", images=1)
    more = synthetic_examples("a, b", "model", images=3)
    assert np.array_equal(few[0].image, more[0].image)
    assert np.array_equal(few[1].image, more[3].image)
    others = synthetic_examples("a, b", "model", images=1, seed=1)
    assert len({e.image.tobytes() for e in (*more, *others)}) == 8


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"images": 0}, "images=0"),
        ({"steps": 0}, "steps=0"),
        ({"prompt": "a photo"}, "lacks the place for the name"),
    ],
)
def test_options_that_draw_nothing_are_refused(options: dict, complaint: str, asked: list) -> None:
    with pytest.raises(OptionError, match=complaint):
        synthetic_examples("a", "model", **options)
    assert asked == []


def test_without_the_extra_one_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synth, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"pip install 'napari-kindred\[synth\]'"):
        synthetic_examples("a", "model")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synth, "find_spec", lambda name: object())


@pytest.mark.usefixtures("installed")
def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no text-to-image model in .*model_index\.json"):
        open_pipeline(tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_small_stable_diffusion_on_disk_draws_pictures(tmp_path: Path) -> None:
    """The real pipeline with random weights; what it draws means nothing."""
    diffusers = pytest.importorskip("diffusers")
    transformers = pytest.importorskip("transformers")
    tiny_stable_diffusion(diffusers, transformers, tmp_path)
    options = {"images": 1, "steps": 2, "side": 64, "device": "cpu"}
    first, second = synthetic_examples("a, b", tmp_path / "model", **options)
    assert first.image.shape == second.image.shape == (64, 64, 3)
    assert not np.array_equal(first.image, second.image)
    (again, _) = synthetic_examples("a, b", tmp_path / "model", **options)
    assert np.array_equal(first.image, again.image)
    (tmp_path / "model" / "unet" / "config.json").unlink()
    with pytest.raises(WeightsError, match="is incomplete or cannot be read"):
        open_pipeline(tmp_path / "model", "cpu")


def tiny_stable_diffusion(diffusers: Any, transformers: Any, folder: Path) -> None:
    """Save a Stable Diffusion of a few thousand random weights in ``folder / "model"``."""
    words = ["<|startoftext|>", "<|endoftext|>", *(f"{c}</w>" for c in "abcdefghijklmnoprstuxyz")]
    words += list("abcdefghijklmnoprstuxyz")
    vocabulary = {word: number for number, word in enumerate(words)}
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1,
        block_out_channels=(8, 16), norm_num_groups=4, cross_attention_dim=16,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), norm_num_groups=4, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    text = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=77, bos_token_id=0, eos_token_id=1,
        )
    )  # fmt: skip
    (folder / "merges.txt").write_text("#version: 0.2\n", "utf-8")
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    tokenizer = transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77
    )
    pipeline = diffusers.StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet,
        scheduler=diffusers.DDIMScheduler(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder / "model", safe_serialization=True)
