"""Labels of tracks, put together frame by frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.events import Partial
from ..results.assembly import Assembly, location_for
from .movie import LinkedMovie

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from ..images.stack import ImageStack
    from ..results.base import IdScope
    from .config import LinkConfig


class LinkAssembly(Assembly):
    """Labels of tracks; see :class:`.Assembly`."""

    ids: IdScope = "track"

    def __init__(
        self, stack: ImageStack, config: LinkConfig, spacing: tuple[float, ...] | None
    ) -> None:
        super().__init__(
            stack.output_shape,
            stack.output_axes,
            stack.scale,
            stack.units,
            location_for(stack, "tracks", self.ids),
            config.memory,
            translate=stack.translate,
        )
        self.movie = LinkedMovie(config, spacing)

    @property
    def frames(self) -> int:
        """Number of steps of time."""
        return int(self.labels.shape[0])

    @property
    def done(self) -> int:
        """Number of frames that are linked."""
        return len(self.movie)

    def add(self, labels: NDArray[Any], pixels: NDArray[Any] | None = None) -> Partial:
        """Link the next frame; returns it as the job yields it."""
        with self._lock:
            place = len(self.movie)
            linked, rows = self.movie.add(labels, pixels)
            if not self._closed:
                self.labels[place] = linked
        return Partial((place,), linked, rows, assembly=self)

    def settle(self) -> None:
        """Give frames the ids that later frames decided."""
        with self._lock:
            for place, table in self.movie.settle():
                self.labels[place] = table[np.asarray(self.labels[place])]

    def table(self) -> pd.DataFrame:
        """Return a row per object and frame."""
        with self._lock:
            self.settle()
            return self.movie.table()
