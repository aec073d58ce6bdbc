"""Command-line flags that come from a config, and the command that a config makes."""

from __future__ import annotations

import argparse
import re
import shlex
from typing import Any

import pytest

from napari_kindred.classes.config import ClassesConfig
from napari_kindred.classes.sam.config import SamTrainConfig
from napari_kindred.cli.flags import add_flags, config_of
from napari_kindred.clusters.config import ClusterConfig
from napari_kindred.core.options import visible
from napari_kindred.entities.config import EntityConfig, TrainConfig
from napari_kindred.results.recipe import flags, quoted

CONFIGS = [EntityConfig, ClusterConfig, TrainConfig]


def parse(config: type, *arguments: str) -> Any:
    parser = argparse.ArgumentParser()
    add_flags(parser, config)
    return config_of(parser.parse_args(arguments), config)


@pytest.mark.parametrize("config", [*CONFIGS, SamTrainConfig])
def test_without_flags_the_config_has_its_defaults(config: type) -> None:
    assert parse(config) == config()


@pytest.mark.parametrize("config", CONFIGS)
def test_every_field_has_a_flag_that_sets_it(config: type) -> None:
    for item in visible(config):
        flag = "--" + item.name.replace("_", "-")
        if isinstance(item.default, bool):
            assert getattr(parse(config, flag.replace("--", "--no-")), item.name) is False
            continue
        choices = [value for value in item.metadata.get("choices", ()) if value != item.default]
        number = item.metadata.get("minimum", 1)
        special = {"crop": "64", "diameter_high": "64", "spacing": "2, 0.5, 0.5"}
        text = special.get(item.name) or str([*choices, number][0])
        value = getattr(parse(config, flag, text), item.name)
        assert str(value) in (text, f"{text}.0")


@pytest.mark.parametrize(
    "config",
    [
        EntityConfig(),
        EntityConfig(axes="TYX", channel=2, scale=0.1 + 0.2, fill_holes=False, weights="-my w"),
        ClusterConfig(n_clusters="auto", objects=False, reassign=False, memory=1.5),
        ClusterConfig(encoder="C:\\my models\\sam 'b'.pt", seed=7),
        ClassesConfig(threshold="auto", clip_mode="pixels", nms_box=1 / 3),
    ],
)
@pytest.mark.parametrize("windows", [False, True])
def test_the_flags_of_a_config_make_it_again_also_when_typed_into_a_shell(
    config: Any, windows: bool
) -> None:
    words = flags(config)
    typed = quoted(words, windows=windows)
    taken_apart = split_on_windows(typed) if windows else shlex.split(typed)
    assert parse(type(config), *taken_apart) == config
    assert not any(word.startswith("--device") for word in words)


def split_on_windows(line: str) -> list[str]:
    """Take a command line apart by the rules that programs on Windows follow."""
    words, word, quotes = [], "", False
    for piece in re.findall(r'\\*"|\\+|[ ]|[^\\" ]+', line):
        if piece.endswith('"'):
            slashes = len(piece) - 1
            word += "\\" * (slashes // 2)
            if slashes % 2:
                word += '"'
            else:
                quotes = not quotes
        elif piece == " " and not quotes:
            words.append(word)
            word = ""
        else:
            word += piece
    return [*words, word] if line else []


def test_a_scale_may_be_a_number_or_a_word() -> None:
    assert parse(EntityConfig, "--scale", "0.5").scale == 0.5
    assert parse(EntityConfig, "--scale", "auto").scale == "auto"


def test_a_hidden_option_has_no_flag_and_is_in_no_command() -> None:
    """Tiles follow from the memory; only their largest side can be set, in Python."""
    config = EntityConfig(tile=320, views=2)
    assert flags(config) == ["--views", "2"]
    with pytest.raises(SystemExit):
        parse(EntityConfig, "--tile", "320")
