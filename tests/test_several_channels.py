"""Two channels together give what the same planes give as red and green of a colour image.

Weights that do not know separate channels get what a grey image of their mean gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

import napari_kindred as nk
from napari_kindred.classes import predict as classes
from napari_kindred.cli.main import main
from napari_kindred.clusters import predict as clusters
from napari_kindred.entities import frame_tasks
from napari_kindred.entities import predict as entities
from napari_kindred.results.recipe import recipe_of

if TYPE_CHECKING:
    from pathlib import Path

TOGETHER = "Channels 0 and 2 are looked at together, each in its own range of intensities."


@pytest.fixture(scope="module")
def seen() -> np.ndarray:
    """Where nuclei (first) and cells (second) are bright in two frames; (2, 2, 96, 96) bool."""
    y, x = np.mgrid[:96, :96]
    centres = np.array([(20, 22), (24, 66), (66, 26), (70, 72)])
    away = [
        np.min([np.hypot(y - down - 2 * time, x - across) for down, across in centres], axis=0)
        for time in range(2)
    ]
    return np.stack([np.stack(away) < 6, np.stack(away) < 12])


@pytest.fixture(scope="module")
def channels(seen: np.ndarray) -> np.ndarray:
    """The same as channels 0 and 2, of very different ranges; (T, C, Y, X)."""
    nuclei, cells = np.where(seen[0], 41_000, 1_000), np.where(seen[1], 90, 40)
    other = np.random.default_rng(0).integers(0, 500, nuclei.shape)
    return np.stack([nuclei, other, cells], 1).astype(np.uint16)


@pytest.fixture(params=[True, False])
def known(request: Any, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the weights know separate channels, as those that are shipped do."""

    def average(frames: Any, *_: Any) -> str:
        if not frames.parts:
            return ""
        frames.average()
        return "The weights do not know separate channels, so they get the mean of them."

    if not request.param:
        for module in (entities, clusters, classes):
            monkeypatch.setattr(module, "fit_channels", average)
    return bool(request.param)


@pytest.fixture
def colours(seen: np.ndarray, known: bool) -> np.ndarray:
    """The same as red and green, of one range, or the mean of both; (T, Y, X, 3)."""
    two = np.where(np.stack(seen, -1), 200, 20).astype(np.uint8)
    if not known:
        return np.repeat(two.mean(-1, keepdims=True).astype(np.uint8), 3, -1)
    return np.concatenate([two, np.full_like(two[..., :1], 20)], -1)


def same(one: Any, other: Any) -> None:
    np.testing.assert_array_equal(one.labels, other.labels)
    assert len(one.table) == len(other.table) > 0
    assert one.provenance["config"]["channel"] == "0+2"
    assert TOGETHER in one.provenance["notes"]


@pytest.mark.parametrize(
    ("known", "scheduler"), [(True, "threads"), (False, None)], indirect=["known"]
)
def test_entities_of_a_movie(channels: Any, colours: Any, known: bool, scheduler: Any) -> None:
    options = {"scheduler": scheduler, "scale": 1.0}
    result = nk.segment_entities(channels, axes="TCYX", channel=[0, 2], **options)
    same(result, nk.segment_entities(colours, axes="TYXS", **options))
    assert known != any(
        "do not know separate channels" in one for one in result.provenance["notes"]
    )
    frames = result.table.set_index("frame")["mean_intensity"]
    inside = result.labels[0] == result.table["index"].iloc[0]
    assert frames.iloc[0] == pytest.approx(channels[0, ::2, inside].mean())


@pytest.mark.parametrize("known", [False], indirect=True)
def test_entities_on_workers(channels: Any, colours: Any, client: Any) -> None:
    result = nk.segment_entities(channels, axes="TCYX", channel=[0, 2], scheduler=client, scale=1)
    same(result, nk.segment_entities(colours, axes="TYXS", scale=1))


@pytest.mark.parametrize("known", [True], indirect=True)
def test_entities_of_a_large_plane(
    channels: Any, colours: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_tasks, "BLOCK", 64)
    monkeypatch.setattr(frame_tasks, "SMALLEST_BLOCK", 32)
    result = nk.segment_entities(channels[0], axes="CYX", channel="0+2", scale=0.8)
    same(result, nk.segment_entities(colours[0], axes="YXS", scale=0.8))


@pytest.mark.parametrize("known", [True], indirect=True)
@pytest.mark.parametrize("link", ["3-D", "z"])
def test_entities_of_a_volume(channels: Any, colours: Any, link: str) -> None:
    thick, red = np.repeat(channels[:1], 8, 0), np.repeat(colours[:1], 8, 0)
    options: dict[str, Any] = {"link": link, "scale": 1.0, "spacing": (3, 1, 1)}
    result = nk.segment_entities(np.swapaxes(thick, 0, 1), axes="CZYX", channel="0+2", **options)
    same(result, nk.segment_entities(red, axes="ZYXS", **options))


def test_clusters(channels: Any, colours: Any) -> None:
    result = nk.cluster_stack(channels, axes="TCYX", channel="0+2", n_clusters=3)
    same(result, nk.cluster_stack(colours, axes="TYXS", n_clusters=3))
    assert np.shape(result.provenance["intensity_range"]) == (2, 2)
    again = nk.cluster_stack(channels, axes="TCYX", channel="0+2", n_clusters=3, model=result.model)
    same(again, result)


def test_classes(channels: Any, colours: Any) -> None:
    options: dict[str, Any] = {"names": ["fluorescent nucleus"], "threshold": 0.0}
    result = nk.segment_classes(channels[0], axes="CYX", channel="0+2", **options)
    same(result, nk.segment_classes(colours[0], axes="YXS", **options))


def test_the_command_line_a_folder_and_what_is_copied_from_a_result(
    channels: Any, tmp_path: Path, capsys: Any
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number, frame in enumerate(channels):
        tifffile.imwrite(folder / f"{number}.tif", frame, metadata={"axes": "CYX"}, imagej=True)
    arguments = ["--channel", "0+2", "--scale", "1"]
    assert main(["entities", str(folder), "--out", str(tmp_path / "out"), *arguments]) == 0
    expected = nk.segment_entities(channels[0], axes="CYX", channel=(0, 2), scale=1).labels
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "0.tif"), expected)
    assert (
        main(["entities", str(folder / "0.tif"), "--out", str(tmp_path / "one.tif"), *arguments])
        == 0
    )
    result = nk.load_segmentation(tmp_path / "one.tif")
    recipe = recipe_of(result.provenance)
    assert "--channel 0+2" in recipe.to_command()
    names: dict[str, Any] = {}
    exec(recipe.to_python(), names)  # noqa: S102
    np.testing.assert_array_equal(names["labels"], expected)
    assert main(["rerun", str(tmp_path / "one.tif"), "--out", str(tmp_path / "two.tif")]) == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "two.tif"), expected)
    capsys.readouterr()
    too_many = ["--out", str(tmp_path / "no.tif"), "--channel", "0+1+2+3"]
    assert main(["entities", str(folder / "0.tif"), *too_many]) == 1
    assert "at most 3 can be looked at together" in capsys.readouterr().err
