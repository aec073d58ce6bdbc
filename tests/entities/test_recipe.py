"""A recipe draws its sources in the shares that it names, and trains with its own options."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tifffile
import torch

from napari_kindred.core.errors import InputError, OptionError
from napari_kindred.core.events import Notice, finish
from napari_kindred.entities import recipe as recipe_module
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.entities.config import TrainConfig
from napari_kindred.entities.recipe import RECIPES, Recipe, find_recipe
from napari_kindred.entities.train import Trainer, iter_train
from napari_kindred.models.download import file_sha256
from napari_kindred.models.synthetic import KINDS
from napari_kindred.models.training_data import load_examples

SMALL = Recipe(
    config=TrainConfig(
        minutes=None,
        max_steps=2,
        batch=2,
        crop=64,
        init="random",
        encoder="test_resnet",
        width=16,
        score_images=0,
        device="cpu",
    ),
    sources={"many": 0.3, "few": 0.5},
    synthetic={"bacteria": 0.2},
    origins={"many": "drawn for a test, CC0", "few": "drawn for a test, CC0"},
)


@pytest.fixture
def sources(tmp_path):
    """Six images of one source and one of another, each with a square."""
    for folder, count in (("many", 6), ("few", 1)):
        for part in ("images", "labels"):
            (tmp_path / folder / part).mkdir(parents=True)
        for number in range(count):
            labels = np.zeros((96, 96), np.uint16)
            labels[20 + number : 50, 30:60] = 1
            image = (labels * 150 + 30).astype(np.uint8)
            tifffile.imwrite(tmp_path / folder / "images" / f"train_{number}.tif", image)
            tifffile.imwrite(tmp_path / folder / "labels" / f"train_{number}.tif", labels)
    return tmp_path


@pytest.mark.parametrize("name", RECIPES)
def test_shipped_recipes_name_kinds_there_are_and_leave_most_crops_to_real_images(name):
    recipe = RECIPES[name]
    assert 0 < sum(recipe.synthetic.values()) < 0.5
    assert set(recipe.synthetic) <= set(KINDS)


def test_a_source_is_drawn_as_often_as_its_share_however_many_images_it_has(sources):
    examples = load_examples(SMALL.folders(sources), "train")
    probabilities = SMALL.probabilities(examples)
    few = np.array([example.group == "few" for example in examples])
    assert few.sum() == 1
    assert probabilities[few].sum() == pytest.approx(0.5 / 0.8)


def test_debris_is_drawn_into_the_share_of_crops_asked_for(sources, tmp_path):
    examples, drawn = load_examples(SMALL.folders(sources), "train"), {}
    for share in (0.0, 1.0):
        config = dataclasses.replace(SMALL.config, paste=0.0, debris=share)
        images, labels, _, _ = Trainer(examples, [], tmp_path / str(share), config).batch()
        drawn[share] = images[0], labels[0]
    assert torch.equal(drawn[0.0][1], drawn[1.0][1])
    assert not torch.equal(drawn[0.0][0], drawn[1.0][0])


def test_synthetic_crops_are_drawn_as_often_as_their_share(sources, tmp_path, monkeypatch):
    monkeypatch.setitem(recipe_module.RECIPES, "small", SMALL)
    config = dataclasses.replace(SMALL.config, recipe="small")
    examples = load_examples(SMALL.folders(sources), "train")
    trainer = Trainer(examples, [], tmp_path / "out", config)
    drawn = []
    monkeypatch.setattr(
        "napari_kindred.entities.train.draw_synthetic_crop", lambda kind, *_: drawn.append(kind)
    )
    monkeypatch.setattr("napari_kindred.entities.train.draw_crop", lambda *_: None)
    random = np.random.default_rng(0)
    for _ in range(1000):
        trainer.crop(random)
    assert set(drawn) == {"bacteria"}
    assert len(drawn) == pytest.approx(200, abs=40)


def test_a_run_by_recipe_takes_the_recipes_options(sources, tmp_path, monkeypatch):
    monkeypatch.setitem(recipe_module.RECIPES, "small", SMALL)
    asked = TrainConfig(recipe="small", device="cpu")
    events = []
    weights = finish(iter_train(sources, tmp_path / "out", asked), events.append)
    assert weights.exists()
    assert any(isinstance(one, Notice) and "7 images" in one.text for one in events)
    _, info = load_network(weights, for_training=True)
    assert info["steps"] == 2
    assert info["train_config"]["recipe"] == "small"
    card = (tmp_path / "out" / "card.md").read_text("utf-8")
    assert file_sha256(weights) in card
    assert "| few | 50.0% | drawn for a test, CC0 |" in card
    assert "| synthetic bacteria | 20.0% | drawn by the package |" in card
    assert "curves.svg" in card
    assert (tmp_path / "out" / "curves.svg").exists()


def test_shipped_recipes_name_the_origin_of_every_source():
    for recipe in RECIPES.values():
        assert set(recipe.origins) == {source.partition("/")[0] for source in recipe.sources}


def test_other_options_beside_a_recipe_are_refused_by_name(sources, tmp_path, monkeypatch):
    monkeypatch.setitem(recipe_module.RECIPES, "small", SMALL)
    asked = TrainConfig(recipe="small", max_steps=500, device="cpu")
    with pytest.raises(OptionError, match=r"leave out max_steps\."):
        finish(iter_train(sources, tmp_path / "out", asked))
    assert not (tmp_path / "out").exists()


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(InputError, match="many, few"):
        SMALL.folders(tmp_path)


def test_an_unknown_recipe_is_refused_with_those_there_are():
    with pytest.raises(OptionError, match="kindred-entities"):
        find_recipe("no_such_recipe")
