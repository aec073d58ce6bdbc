"""A result says how it came about: as Python, as a command, and to be repeated."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_kindred.cli import main as cli
from napari_kindred.core.errors import KindredError
from napari_kindred.load import load_segmentation
from napari_kindred.results.recipe import recipe_of
from napari_kindred.results.segmentation import provenance

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ARGUMENTS = {
    "entities": ["--axes", "TYX", "--min-area", "30", "--scale", "1"],
    "clusters": ["--axes", "TYX", "--n-clusters", "3", "--at-level", "2"],
    "classes": ["--axes", "TYX", "--names", "white blood cell", "--threshold", "0.2"],
}


@pytest.fixture
def movie(tmp_path: Path, discs: tuple[np.ndarray, np.ndarray]) -> Path:
    path = tmp_path / "my discs.tif"
    frames = np.stack([discs[0], np.roll(discs[0], 9, axis=1)])
    tifffile.imwrite(path, frames, photometric="minisblack")
    return path


@pytest.fixture
def computed(movie: Path, tmp_path: Path) -> Callable[..., Path]:
    def compute(method: str, *more: str) -> Path:
        out = tmp_path / f"{method}.ome.zarr"
        words = [method, str(movie), "--out", str(out), *ARGUMENTS[method], *more]
        assert cli.main(words) == 0
        return out

    return compute


def labels_of(path: Path) -> np.ndarray:
    return np.asarray(load_segmentation(path).labels)


@pytest.mark.parametrize("method", list(ARGUMENTS))
def test_the_python_the_command_and_a_rerun_give_the_same_labels(
    method: str, computed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = computed(method)
    result = load_segmentation(path)
    recipe = recipe_of(result.provenance)
    monkeypatch.chdir(tmp_path)

    space: dict[str, Any] = {}
    exec(recipe.to_python(), space)  # noqa: S102
    np.testing.assert_array_equal(np.asarray(space["labels"]), result.labels)

    program, *words = shlex.split(recipe.to_command())
    assert program == "napari-kindred"
    assert cli.main(words) == 0
    typed = tmp_path / words[words.index("--out") + 1]
    np.testing.assert_array_equal(labels_of(typed), result.labels)

    assert cli.main(["rerun", str(path)]) == 0
    again = tmp_path / f"{method} again.ome.zarr"
    np.testing.assert_array_equal(labels_of(again), result.labels)
    # What a result says of itself does not change by repeating it.
    assert recipe_of(load_segmentation(again).provenance).commands() == recipe.commands()


def test_another_image_is_segmented_by_the_same_options(
    computed: Any, movie: Path, tmp_path: Path
) -> None:
    path, other = computed("entities"), tmp_path / "other.tif"
    tifffile.imwrite(other, tifffile.imread(movie)[::-1], photometric="minisblack")
    out = tmp_path / "of other.tif"
    assert cli.main(["rerun", str(path), str(other), "--out", str(out)]) == 0
    np.testing.assert_array_equal(labels_of(out) > 0, labels_of(path)[::-1] > 0)
    assert load_segmentation(out).provenance["config"]["min_area"] == 30


def test_an_image_that_is_gone_is_asked_for(
    computed: Any, movie: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = computed("entities")
    moved = movie.rename(tmp_path / "moved.tif")
    assert cli.main(["rerun", str(path)]) == 1
    assert "is gone; name it: rerun RESULT IMAGE" in capsys.readouterr().err
    assert cli.main(["rerun", str(path), str(moved)]) == 0
    np.testing.assert_array_equal(labels_of(tmp_path / "entities again.ome.zarr"), labels_of(path))


@pytest.mark.parametrize("method", ["entities", "clusters", "classes"])
def test_other_weights_are_refused_in_one_sentence(
    method: str, computed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = computed(method)
    attributes = path / "zarr.json"
    content = json.loads(attributes.read_text("utf-8"))
    facts = content["attributes"]["napari-kindred"]["provenance"]
    facts["weights"]["sha256"] = "0" * 64
    attributes.write_text(json.dumps(content), "utf-8")
    capsys.readouterr()
    assert cli.main(["rerun", str(path)]) == 1
    error = capsys.readouterr().err
    assert "weights at hand are not those of the result" in error
    assert error.count("\n") == 1
    assert not (tmp_path / f"{method} again.ome.zarr").exists()


def test_a_saved_model_that_was_changed_is_refused(
    computed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = tmp_path / "kinds.safetensors"
    computed("clusters", "--save-model", str(kinds)).rename(tmp_path / "first.ome.zarr")
    path = computed("clusters", "--model", str(kinds))
    recipe = recipe_of(load_segmentation(path).provenance)
    assert f"model={str(kinds)!r}" in recipe.to_python()
    assert cli.main(["rerun", str(path)]) == 0
    kinds.write_bytes(kinds.read_bytes() + b" ")
    assert cli.main(["rerun", str(path)]) == 1
    assert "files at hand are not those of the result" in capsys.readouterr().err


def test_a_folder_of_results_and_one_of_them_are_repeated(
    tmp_path: Path, discs: tuple[np.ndarray, np.ndarray]
) -> None:
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    for name in "ab":
        tifffile.imwrite(folder / f"{name}.tif", discs[0], photometric="minisblack")
    assert cli.main(["entities", str(folder), "--out", str(out), "--scale", "1"]) == 0
    assert cli.main(["rerun", str(out)]) == 0
    assert cli.main(["rerun", str(out / "a.tif"), "--out", str(tmp_path / "one.tif")]) == 0
    first = tifffile.imread(out / "a.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out again" / "b.tif"), first)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "one.tif"), first)


def test_what_does_not_say_how_it_came_about_is_refused() -> None:
    with pytest.raises(KindredError, match="not computed here"):
        recipe_of({"method": "labels"})
    with pytest.raises(KindredError, match="does not say completely"):
        recipe_of({"method": "entities", "config": {"no such option": 1}})
    facts = provenance(method="entities", config={})
    with pytest.raises(KindredError, match="does not say which file"):
        recipe_of(facts).to_command()


def test_classes_that_no_command_can_name_are_refused() -> None:
    facts: dict[str, Any] = {
        "method": "classes", "config": {}, "names": ["a,b"], "arguments": {"clip": "x"}
    }  # fmt: skip
    with pytest.raises(KindredError, match="comma"):
        recipe_of(facts).to_command()
    facts |= {"names": ["a"], "groups": [["a", ["b", "c"]]], "source_layer": "cells"}
    with pytest.raises(KindredError, match="trained in this window"):
        recipe_of(facts).to_command()
    code = recipe_of(facts | {"arguments": {"vocabulary": "v.kindred"}}).to_python()
    assert "vocabulary = vocabulary.regroup({'a': ['b', 'c']})" in code
    assert "image = viewer.layers['cells'].data" in code
    compile(code, "copied", "exec")
