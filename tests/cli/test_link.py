"""The command ``link``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tifffile

from napari_kindred.cli.main import main
from napari_kindred.load import load_segmentation

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def movie() -> np.ndarray:
    """Two objects whose ids change places from frame to frame."""
    labels = np.zeros((3, 32, 32), np.uint16)
    for frame in range(3):
        labels[frame, 4:12, 4 + frame : 12 + frame] = 1 + frame % 2
        labels[frame, 20:28, 20:28] = 2 - frame % 2
    return labels


def test_labels_of_any_file_or_folder_are_linked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    for frame, labels in enumerate(movie()):
        tifffile.imwrite(folder / f"t{frame}.tif", labels)
    tifffile.imwrite(tmp_path / "movie.tif", movie(), metadata={"axes": "TYX"})
    for source in (folder, tmp_path / "movie.tif"):
        out = tmp_path / f"{source.stem} linked.ome.zarr"
        assert main(["link", str(source), "--out", str(out), "--max-gap", "1"]) == 0
        result = load_segmentation(out)
        assert (result.ids, len(result.tracks)) == ("track", 2)
        assert result.provenance["config"]["max_gap"] == 1
        assert "2 objects in 3 frames, 0 divisions" in capsys.readouterr().out


def test_a_result_is_linked_and_what_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(tmp_path / "movie.tif", movie(), metadata={"axes": "TYX"})
    first, again = tmp_path / "a.tif", tmp_path / "b.tif"
    assert main(["link", str(tmp_path / "movie.tif"), "--out", str(first)]) == 0
    assert main(["link", str(first), "--out", str(again), "--image", str(first)]) == 0
    assert np.array_equal(load_segmentation(again).labels, load_segmentation(first).labels)
    assert main(["link", str(tmp_path / "none.tif"), "--out", str(tmp_path / "c.tif")]) == 1
    assert "check the path" in capsys.readouterr().err
