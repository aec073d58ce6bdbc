"""A run that finds classes by name: labels frame by frame, and what is said of them. Free of Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...methods import CLASSES
from ..common.job_view import JobView, duration
from ..common.label_state import show
from ..common.layers import table_features
from ..common.run import Run
from .layer import Classes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from ...classes.config import ClassesConfig
    from ...classes.result import ClassSegmentation
    from ...classes.vocabulary.vocabulary import Vocabulary
    from ..common.layers import LayerImage
    from .layer import ClassNameSource

MOST_SHOWN = 6
"""Number of classes whose counts are shown; the table has all."""


def counted(count: int, name: str) -> str:
    """Return a count and a name, as a plural if English has a regular one: ``2 nuclei``."""
    if count == 1 or not name[-1:].isalpha():
        return f"{count:,} {name}"
    for end, plural in (("us", "i"), ("sis", "ses"), ("ss", "sses"), ("s", "s"), ("ium", "ia")):
        if name.endswith(end):
            return f"{count:,} {name.removesuffix(end)}{plural}"
    if name.endswith("y") and name[-2:-1] not in "aeiou":
        return f"{count:,} {name.removesuffix('y')}ies"
    return f"{count:,} {name}s"


class ClassRun(Run):
    """A run that gives every class one label, in all frames."""

    method = CLASSES

    def __init__(
        self,
        viewer: ViewerModel,
        layer: Image,
        image: LayerImage,
        config: ClassesConfig,
        names: Sequence[str],
        colours: Sequence[str],
        chosen: Mapping[str, str],
        name_source: ClassNameSource,
    ) -> None:
        super().__init__(viewer, layer, image, config)
        self._names, self._colours, self._chosen = tuple(names), tuple(colours), chosen
        self._name_source = name_source

    def found(self, result: ClassSegmentation) -> str:  # type: ignore[override]
        rows = result.table
        if not rows["area"].any():
            return "Found no object above the threshold (lower it)"
        counts = [counted(int(row["count"]), row["name"]) for _, row in rows.iterrows()]
        more = len(counts) - MOST_SHOWN
        listed = ", ".join(counts[:MOST_SHOWN])
        return f"Found {listed}" + (f" and {more} more classes" if more > 0 else "")

    def origin(self) -> dict[str, Any]:
        return {**super().origin(), "names": list(self._names), **self._name_source.entry()}

    def keep(self, layer: Labels, result: ClassSegmentation) -> None:
        """Keep with the layer what changing it needs, of a part as of the whole."""
        shape, source = self.placement.shape, self._name_source
        show(layer, Classes(result, shape, self.config, source, self._chosen))

    def features(self) -> pd.DataFrame:
        return table_features(self.assembly.table())

    def preview_palette(self) -> Mapping[int, Any]:
        return dict(enumerate(self._colours, start=1))


class TrainingView(JobView):
    """View of training on examples; there is no layer to show."""

    source = "my examples"

    def __init__(self, count: int, on_trained: Callable[[Vocabulary], None]) -> None:
        super().__init__()
        self._count, self._on_trained = count, on_trained

    def finish(self, result: Vocabulary) -> str:
        self._on_trained(result)
        seconds = duration(self._clock.seconds())
        return f"Trained {', '.join(result.names)} on {self._count} annotations in {seconds}."

    def interrupt(self, reason: str) -> str:  # noqa: ARG002 - no part of a training is kept
        return "Nothing was trained."
