"""Folders whose images are worked on elsewhere: what is written is the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_kindred import ClassesConfig, EntityConfig
from napari_kindred.cli.batch import process_folder
from napari_kindred.cli.class_tasks import ClassTask
from napari_kindred.cli.tasks import EntityTask, Task
from napari_kindred.images.samples import open_sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures of nuclei, and a file that is none."""
    path = tmp_path / "pictures"
    path.mkdir()
    for number, frame in enumerate(np.asarray(open_sample("nuclei").data)[:3, :96, :96]):
        iio.imwrite(path / f"p{number}.tif", frame)
    (path / "p1b.png").write_bytes(b"no picture")
    return path


def entities(scheduler: Any) -> Task[Any]:
    return EntityTask(EntityConfig(scale=1.0, engine="torch"), scheduler)


def classes(scheduler: Any) -> Task[Any]:
    config = ClassesConfig(threshold=0.2)
    return ClassTask(config, ["fluorescent nucleus"], scheduler=scheduler)


@pytest.mark.parametrize("make", [entities, classes])
@pytest.mark.parametrize("large", [False, True])
def test_images_of_a_folder_are_worked_on_by_workers(
    tmp_path: Path,
    folder: Path,
    client: Any,
    make: Callable[[Any], Task[Any]],
    large: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if large:  # handed out by frames then, not by images
        monkeypatch.setattr("napari_kindred.cli.batch.LARGE", 1)
    heard: list[Any] = []
    outcomes = [
        process_folder(folder, tmp_path / name, make(who), lambda event, **at: heard.append(at))
        for name, who in (("here", None), ("there", client))
    ]
    assert [sorted(outcome.failed) for outcome in outcomes] == [["p1b.png"]] * 2
    assert outcomes[0].object_counts == outcomes[1].object_counts
    assert outcomes[1].done == 3
    for stem in ("p0", "p1", "p2"):
        here, there = (tifffile.imread(tmp_path / way / f"{stem}.tif") for way in ("here", "there"))
        assert here.any()
        np.testing.assert_array_equal(here, there)
        tables = [pd.read_csv(tmp_path / way / f"{stem}.csv") for way in ("here", "there")]
        pd.testing.assert_frame_equal(*tables)
    assert {"place": 3, "count": 4} in heard
