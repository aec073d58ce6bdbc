"""Show a saved result in napari: ``python -m napari_kindred._napari.results.view IMAGE LABELS``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...images.readers import read_image, source_of_text
from ..common.layers import KEY, image_layer
from .layer_storage import layer_data

if TYPE_CHECKING:
    from napari.components import ViewerModel


def show(viewer: ViewerModel, image_path: str | Path, labels_path: Path) -> None:
    """Add an image and its saved result to a viewer."""
    image = read_image(image_path)
    data, options, _kind = layer_data(labels_path)
    facts = options["metadata"][KEY]
    facts["source_layer"] = image.name
    pixels, place, _kind = image_layer(replace(image, axes=facts["axes"] or image.axes))
    viewer.add_image(pixels, **place)
    viewer.add_labels(data, **options)


def main(image: str, labels: str) -> None:
    """Open a window with an image and its labels."""
    import napari

    show(napari.Viewer(), source_of_text(image), Path(labels))
    napari.run()


if __name__ == "__main__":
    main(*sys.argv[1:3])
