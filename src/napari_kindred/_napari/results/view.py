"""Show a saved result in napari: ``python -m napari_kindred._napari.results.view IMAGE LABELS``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ...images.stack import read_image
from ..common.layers import KEY
from .layer_storage import layer_data

if TYPE_CHECKING:
    from napari.components import ViewerModel


def show(viewer: ViewerModel, image_path: Path, labels_path: Path) -> None:
    """Add an image and its saved result to a viewer."""
    image = read_image(image_path)
    data, options, _kind = layer_data(labels_path)
    facts = options["metadata"][KEY]
    axes, facts["source_layer"] = facts["axes"], image.name
    spatial = axes.removesuffix("S")
    viewer.add_image(
        image.data,
        rgb=axes != spatial,
        name=image.name,
        scale=None if image.scale is None else image.scale[: len(spatial)],
        axis_labels=tuple(spatial.lower()),
    )
    viewer.add_labels(data, **options)


def main(image: str, labels: str) -> None:
    """Open a window with an image and its labels."""
    import napari

    show(napari.Viewer(), Path(image), Path(labels))
    napari.run()


if __name__ == "__main__":
    main(*sys.argv[1:3])
