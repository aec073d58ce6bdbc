from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from napari_kindred.classes.config import ClassesConfig, TeachConfig
from napari_kindred.classes.escnet.config import EscTrainConfig
from napari_kindred.classes.sam.config import SamTrainConfig
from napari_kindred.clusters.config import ClusterConfig
from napari_kindred.core.errors import OptionError
from napari_kindred.core.options import changed, with_options
from napari_kindred.entities.config import EntityConfig, TrainConfig
from napari_kindred.models.config import RunConfig

CONFIGS = [EntityConfig, ClusterConfig, ClassesConfig, TeachConfig, TrainConfig]


@pytest.mark.parametrize("config", [*CONFIGS, SamTrainConfig, EscTrainConfig])
def test_every_option_can_be_shown_to_a_user(config: type) -> None:
    for item in dataclasses.fields(config):
        assert item.metadata["label"], item.name
        assert item.metadata["help"].endswith((".", "…")), item.name


@pytest.mark.parametrize("config", CONFIGS)
def test_the_ends_of_a_range_are_allowed_and_what_lies_beyond_is_not(config: type) -> None:
    for item in dataclasses.fields(config):
        for end, beyond in (("minimum", -1), ("maximum", 1)):
            if end not in item.metadata or item.name in ("diameter_low", "diameter_high", "crop"):
                continue
            value = item.metadata[end]
            assert getattr(config(**{item.name: value}), item.name) == value
            with pytest.raises(OptionError, match=item.name):
                config(**{item.name: value + beyond * max(1, abs(value))})


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"min_area": 2.5}, "whole number"),
        ({"min_area": True}, "whole number"),
        ({"threshold": "high"}, "must be a number"),
        ({"threshold": float("nan")}, "must be a number"),
        ({"memory": float("inf")}, "must be a number"),
        ({"min_area": 2**31}, "at most"),
        ({"fill_holes": "yes"}, "True or False"),
        ({"axes": 3}, "must be text"),
        ({"device": ["cpu"]}, "must be text"),
        ({"threshold": np.arange(2000).reshape(2, 1000)}, "must be a number"),
        ({"scale": "big"}, "must be a number"),
        ({"device": "tpu"}, "auto, cpu, cuda, mps"),
    ],
)
def test_a_wrong_value_is_refused_naming_the_option(options: dict, complaint: str) -> None:
    with pytest.raises(OptionError, match=complaint) as caught:
        EntityConfig(**options)
    assert next(iter(options)) in str(caught.value)


def test_numbers_of_numpy_and_paths_become_python_s() -> None:
    config = EntityConfig(
        min_area=np.int64(5), threshold=np.float32(0.5), fill_holes=np.True_, weights=Path("a.b")
    )
    assert config == EntityConfig(min_area=5, threshold=0.5, fill_holes=True, weights="a.b")
    assert [type(getattr(config, name)) for name in ("min_area", "threshold", "weights")] == [
        int, float, str,
    ]  # fmt: skip


def test_a_config_of_another_method_is_refused() -> None:
    for config in (ClusterConfig(), {"threshold": 0.5}, EntityConfig):
        with pytest.raises(OptionError, match="is no EntityConfig"):
            with_options(EntityConfig, config, {})


def test_options_replace_those_of_a_config_and_unknown_ones_are_refused() -> None:
    config = with_options(EntityConfig, EntityConfig(min_area=5), {"threshold": 0.3})
    assert (config.min_area, config.threshold) == (5, 0.3)
    with pytest.raises(OptionError, match="'diametre'; the options are axes, channel"):
        with_options(EntityConfig, config, {"diametre": 30})


def test_only_what_was_changed_is_replayed() -> None:
    assert changed(EntityConfig()) == {}
    assert changed(EntityConfig(threshold=0.3, axes="YX")) == {"threshold": 0.3, "axes": "YX"}


def test_a_config_cannot_be_changed_behind_anyones_back() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        EntityConfig().threshold = 0.1  # type: ignore[misc]


def test_a_training_run_may_begin_with_other_values_and_keeps_all_else_of_an_option() -> None:
    base, sam = (
        {item.name: item for item in dataclasses.fields(config)}
        for config in (RunConfig, SamTrainConfig)
    )
    assert set(base) < set(sam)
    assert all(sam[name].metadata == base[name].metadata for name in base)
    assert (SamTrainConfig().minutes, RunConfig().minutes) == (600, 60)
    with pytest.raises(OptionError, match="minutes=0 must be at least"):
        SamTrainConfig(minutes=0)
