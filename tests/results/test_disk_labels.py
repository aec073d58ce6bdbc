"""Labels too large for memory grow on disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from ome_zarr_models import open_ome_zarr
from ome_zarr_models.v05 import ImageLabel

from napari_kindred.core.events import Partial
from napari_kindred.entities.assembly import EntityAssembly
from napari_kindred.images.stack import ImageStack, read_image
from napari_kindred.load import load_segmentation
from napari_kindred.results import assembly as assembly_module
from napari_kindred.results import disk_labels
from napari_kindred.results.assembly import location_for, make_labels
from napari_kindred.results.segmentation import measure


def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly_module, "IN_MEMORY", 1000)
    monkeypatch.setattr(assembly_module, "room_for_labels", lambda *_: 1000)


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageStack:
    """A movie in a file whose labels are too large."""
    little_memory(monkeypatch)
    movie = np.random.default_rng(0).integers(0, 4000, (3, 40, 50)).astype("uint16")
    metadata = {"axes": "TYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}
    tifffile.imwrite(tmp_path / "cells.ome.tif", movie, metadata=metadata)
    return ImageStack.open(read_image(tmp_path / "cells.ome.tif"))


def one_square(frame: int) -> Partial:
    labels = np.zeros((40, 50), np.int32)
    labels[3:9, 3:9] = 1
    return Partial((frame,), labels, measure(labels, labels, frame=frame))


def test_labels_too_large_for_memory_grow_beside_the_image(
    large: ImageStack, tmp_path: Path
) -> None:
    assembly = EntityAssembly(large)
    path = tmp_path / "cells entities.ome.zarr"
    assert path.is_dir()
    assert str(path) in assembly.note
    for frame in range(3):
        assembly.add(one_square(frame))
    result = assembly.result({"method": "entities"})
    assert isinstance(result.labels, zarr.Array)
    loaded = load_segmentation(path)
    assert loaded.provenance == {"method": "entities", "complete": True, "frames_done": 3}
    np.testing.assert_array_equal(loaded.labels, result.labels[:])
    pd.testing.assert_frame_equal(loaded.table, result.table)
    assert (loaded.axes, loaded.scale) == ("TYX", (1.0, 1.0, 0.5))
    assert loaded.units == result.units == ("pixel", "pixel", "micrometer")


def test_what_is_left_of_a_killed_run_can_be_read(large: ImageStack, tmp_path: Path) -> None:
    assembly = EntityAssembly(large)
    assembly.add(one_square(1))
    image = open_ome_zarr(
        zarr.open_group(tmp_path / "cells entities.ome.zarr", mode="r"), version="0.5"
    )
    assert isinstance(image, ImageLabel)
    left = load_segmentation(tmp_path / "cells entities.ome.zarr")
    assert left.provenance["complete"] is False
    assert left.labels.any(axis=(1, 2)).tolist() == [False, True, False]
    assert len(left.table) == 0


def test_a_result_beside_the_image_is_never_written_over(large: ImageStack, tmp_path: Path) -> None:
    kept = [EntityAssembly(large) for _ in range(3)]
    names = {Path(assembly.labels.store.root).name for assembly in kept}
    assert names == {
        "cells entities.ome.zarr",
        "cells entities 2.ome.zarr",
        "cells entities 3.ome.zarr",
    }


def test_where_nothing_can_be_written_labels_grow_in_the_temporary_folder(
    large: ImageStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    location = location_for(large, "entities", "frame")
    assert location is not None
    assert location.make() is None
    monkeypatch.undo()
    little_memory(monkeypatch)
    labels = make_labels((3, 40, 50), location=None)
    assert isinstance(labels, zarr.Array)
    assert tmp_path not in Path(labels.store.root).parents
    assert disk_labels.where(labels) == ""


def test_an_image_whose_place_is_unknown_has_its_labels_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    little_memory(monkeypatch)
    frames = ImageStack.open(np.zeros((3, 40, 50), "uint8"), axes="TYX")
    assert EntityAssembly(frames).note == ""
    assert list(tmp_path.iterdir()) == []


def test_a_label_movie_on_disk_is_smaller_than_its_image(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    little_memory(monkeypatch)
    samples = Path(__file__).parents[2] / "sample_data"
    image = samples / "nuclei_timelapse.ome.tif"
    truth = read_image(samples / "nuclei_timelapse_truth.ome.tif").data[:]
    shutil.copy(image, tmp_path / image.name)
    frames = ImageStack.open(read_image(tmp_path / image.name))
    assembly = EntityAssembly(frames)
    for place, index in enumerate(frames.indices()):
        # Ids that count on from frame to frame compress worst.
        labels = np.where(truth[place], truth[place].astype(np.int32) + 1000 * place, 0)
        assembly.add(Partial(index, labels, measure(labels, labels, frame=place)))
    result = assembly.result({})
    path = Path(result.labels.store.root)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    assert size < image.stat().st_size


def test_labels_that_would_not_fit_are_kept_on_disk_and_cleared_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    little_memory(monkeypatch)
    labels = make_labels((3, 20, 30))
    assert isinstance(labels, zarr.Array)
    labels[(1,)] = np.full((20, 30), 7, np.int32)
    assert (labels[0].max(), labels[1].min()) == (0, 7)
    folder = Path(labels.store.root)
    assert folder.exists()
    del labels
    assert not folder.exists()
