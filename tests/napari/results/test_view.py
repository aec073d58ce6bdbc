from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel

from napari_kindred._napari.results.view import show
from napari_kindred.results.segmentation import Segmentation, measure

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("axes", "shape"), [("YX", (30, 40)), ("TYX", (3, 30, 40))])
def test_a_saved_result_is_shown_on_its_image(
    tmp_path: Path, axes: str, shape: tuple[int, ...]
) -> None:
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}
    image = np.random.default_rng(0).integers(0, 255, shape).astype("uint8")
    tifffile.imwrite(tmp_path / "a.ome.tif", image, metadata={"axes": axes, **size})
    labels = np.zeros(shape, np.int32)
    labels[..., 5:9, 5:9] = 1
    table = measure(labels.reshape(-1, 30, 40)[0], image.reshape(-1, 30, 40)[0])
    if axes == "TYX":
        table.insert(1, "frame", 0)
    scale = (1.0,) * (len(axes) - 1) + (0.5,)
    result = Segmentation(labels, table, {"axes": axes}, axes, scale)
    viewer = ViewerModel()
    show(viewer, tmp_path / "a.ome.tif", result.save(tmp_path / "labels.tif"))
    picture, shown = viewer.layers
    assert picture.data.shape == shown.data.shape == shape
    assert tuple(picture.scale) == tuple(shown.scale) == scale
    assert shown.features["area"].dropna().tolist() == [16]
    assert shown.metadata["napari-kindred"]["source_layer"] == picture.name
