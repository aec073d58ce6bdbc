"""A picture of discs, and a threshold in place of the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import pytest
from skimage.measure import label

from napari_kindred.cli.tasks import EntityTask
from napari_kindred.core.events import Partial
from napari_kindred.entities.assembly import EntityAssembly
from napari_kindred.images.stack import ImageStack
from napari_kindred.results.segmentation import measure, provenance

if TYPE_CHECKING:
    from pathlib import Path

    from napari_kindred.entities.config import EntityConfig


@pytest.fixture
def picture(tmp_path: Path, discs: tuple[np.ndarray, np.ndarray]) -> Path:
    path = tmp_path / "discs.png"
    iio.imwrite(path, discs[0])
    return path


@pytest.fixture
def bright_things(monkeypatch: pytest.MonkeyPatch) -> list[EntityConfig]:
    """Segment by a threshold in place of the network; lists the configs it was called with."""
    configs = []

    def iterate(task: EntityTask, image: Any, metadata_axes: str | None) -> Any:
        config = task.config
        configs.append(config)
        frames = ImageStack.open(image, config.axes, config.channel, metadata_axes)
        assembly = EntityAssembly(frames)
        for number, index in enumerate(frames.indices()):
            raw = frames.read(index)
            labels = label(raw.pixels[..., 0] > 100).astype(np.int32)
            table = measure(labels, raw.pixels, frame=number if index else None)
            yield assembly.add(Partial(index, labels, table, raw.note))
        facts = provenance(method="entities", config=config, frames=frames, device="cpu")
        return assembly.result(facts)

    monkeypatch.setattr(EntityTask, "iterate", iterate)
    return configs
