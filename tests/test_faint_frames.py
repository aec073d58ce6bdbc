"""Where no edge stands out from the noise, every method says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import napari_kindred as nk

FAINT = "hardly any contrast: no edge stands out from its noise"


@pytest.fixture(scope="module")
def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Haze, and the same with cells; (2, 128, 128) each."""
    random = np.random.default_rng(0)
    shape = (2, 128, 128)
    haze = gaussian_filter(random.normal(0, 1, shape), (0, 25, 25)) * 2000 + 500
    haze += random.normal(0, 30, shape)
    y, x = np.mgrid[:128, :128] % 42 - 21
    cells = gaussian_filter((np.hypot(y, x) < 10) * 3000.0, 1)
    return haze.clip(0).astype(np.uint16), (haze + cells).clip(0).astype(np.uint16)


@pytest.mark.parametrize("method", ["entities", "clusters", "classes"])
def test_a_faint_frame_is_told(pictures: Any, method: str) -> None:
    def notes(movie: np.ndarray) -> list[str]:
        if method == "entities":
            result: Any = nk.segment_entities(
                movie, axes="TYX", scale=1, threshold=0.1, min_score=0
            )
        elif method == "clusters":
            result = nk.cluster_stack(movie, axes="TYX", n_clusters=3)
        else:
            names = ["fluorescent nucleus"]
            result = nk.segment_classes(movie[0], names, axes="YX", threshold=0)
        return [note for note in result.provenance["notes"] if FAINT in note]

    found = notes(pictures[0])
    assert len(found) >= 1
    assert found[0].startswith("The image" if method == "classes" else "Frame 0")
    assert not notes(pictures[1])


def test_enlarged_noise_is_not_taken_for_cells() -> None:
    noise = np.random.default_rng(0).poisson(100, (256, 256)).astype(np.uint16)
    result = nk.segment_entities(noise, axes="YX")
    assert result.provenance["scale_used"] <= 1
    assert len(result.table) <= 5
