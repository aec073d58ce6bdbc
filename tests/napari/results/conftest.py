"""A movie opened from a file, and its result, for the tests of what is done with results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import tifffile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np


@pytest.fixture
def widget(shades: Any, request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(getattr(request, "param", "entities_widget"))


@pytest.fixture
def opened(viewer: Any, widget: Any, tmp_path: Path) -> Callable[..., Any]:
    """Write a movie to disk, open it as a user does, and choose it."""

    def open_(movie: np.ndarray, name: str = "my cells.tif", axes: str = "TYX") -> Any:
        tifffile.imwrite(tmp_path / name, movie, photometric="minisblack")
        (layer,) = viewer.open(str(tmp_path / name), plugin="napari")
        widget.image.value = layer
        widget.axes.value = axes
        return layer

    return open_


@pytest.fixture
def computed(opened: Callable[..., Any], run: Callable[..., Any]) -> Callable[..., Any]:
    """Open a movie from disk, press Run, and return the layer of the result."""

    def compute(movie: np.ndarray) -> Any:
        opened(movie)
        return run()

    return compute
