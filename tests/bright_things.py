"""Entities by a simple threshold in place of the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.measure import label

from napari_kindred.cli.tasks import EntityTask
from napari_kindred.core.events import Event, Partial, Progress
from napari_kindred.entities.assembly import EntityAssembly
from napari_kindred.images.stack import ImageStack
from napari_kindred.results.segmentation import Segmentation, measure, provenance

if TYPE_CHECKING:
    from collections.abc import Generator


class BrightThings(EntityTask):
    """Segments by a threshold, in the manner of every ``iter_…`` function."""

    prepared = 0

    def iter_prepare(self) -> Generator[Event, None, None]:
        self.prepared += 1
        yield Progress(0, 1, "loading the weights")

    def iterate(
        self, image: Any, metadata_axes: str | None
    ) -> Generator[Event, None, Segmentation]:
        frames = ImageStack.open(image, self.config.axes, self.config.channel, metadata_axes)
        assembly = EntityAssembly(frames)
        for number, index in enumerate(frames.indices()):
            raw = frames.read(index)
            labels = label(raw.pixels[..., 0] > 100).astype(np.int32)
            table = measure(labels, raw.pixels, frame=number if index else None)
            yield assembly.add(Partial(index, labels, table, raw.note))
            yield Progress(number + 1, len(frames), "threshold", number + 1, len(frames))
        facts = provenance(method="entities", config=self.config, frames=frames, device="none")
        return assembly.result(facts)
