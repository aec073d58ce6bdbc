"""A run that finds classes by name: labels frame by frame, and what is said of them. Free of Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...methods import CLASSES
from ..common.run import MOST_NOTICES, Clock, Run, duration
from .layer import OPACITY, Classes, colormap, features, show

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from ...classes.config import ClassesConfig
    from ...classes.result import ClassSegmentation
    from ...classes.vocabulary.vocabulary import Vocabulary
    from ...core.events import Partial, Progress
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
    """A run that gives every class one label, in all frames.

    Parameters
    ----------
    viewer, layer, image, config
        As for :class:`Run`.
    names : sequence of str
        Checked.
    colours : sequence of str
        ``#rrggbb`` of each name, until the result brings its own.
    chosen : mapping
        Those that the user chose, by :func:`~napari_kindred.classes.names.key`; they stay.
    name_source : ClassNameSource
        What the names mean.
    """

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
        """Return the number of objects of each class; see :class:`Run`."""
        rows = result.table
        if not rows["area"].any():
            return "Found no object above the threshold (lower it)"
        counts = [counted(int(row["count"]), row["name"]) for _, row in rows.iterrows()]
        more = len(counts) - MOST_SHOWN
        listed = ", ".join(counts[:MOST_SHOWN])
        return f"Found {listed}" + (f" and {more} more classes" if more > 0 else "")

    def origin(self) -> dict[str, Any]:
        """Return how the result comes about, names included; see :class:`Run`."""
        return {**super().origin(), "names": list(self._names), **self._name_source.entry()}

    def keep(self, layer: Labels, result: ClassSegmentation) -> None:
        """Keep with the layer what changing it needs, of a part as of the whole."""
        shape, source = self.placement.shape, self._name_source
        show(layer, Classes(result, shape, self._config, source, self._chosen))

    def features(self) -> pd.DataFrame:
        """Return a row per class; see :class:`Run`."""
        return features(self.assembly.table())

    def _show(self, entry: Mapping[str, Any]) -> Labels:
        before = self.layer
        layer = super()._show(entry)
        if layer is not before:
            layer.colormap = colormap(dict(enumerate(self._colours, start=1)))
            layer.opacity = OPACITY
            self.hide_earlier(layer)
        return layer


class Learning:
    """View of training on examples; there is no layer to show.

    Parameters
    ----------
    count : int
        Of examples.
    keep : callable
        Takes the vocabulary that was learnt.
    """

    source = "my examples"
    layer: Labels | None = None
    image_id: object = None
    dropped = False

    def __init__(self, count: int, keep: Callable[[Vocabulary], None]) -> None:
        self._count, self._keep = count, keep
        self._notices: list[str] = []
        self._clock = Clock()

    def begin(self) -> None:
        """Count the time from now on."""
        self._clock.start()

    def drop(self) -> None:
        """Do nothing: there is no layer to be removed."""

    def progress(self, event: Progress) -> str:
        """Return what the job is at, and how long it may still take."""
        return f"{event.what[:1].upper()}{event.what[1:]}{self._clock.remaining(event)}."

    def notice(self, text: str) -> None:
        """Note something that the user should know."""
        if text not in self._notices:
            self._notices.append(text)

    def notices(self) -> list[str]:
        """Return what the user should know."""
        return self._notices[:MOST_NOTICES]

    def add(self, partial: Partial) -> None:
        """Do nothing: training has no frames."""

    def finish(self, result: Vocabulary) -> str:
        """Pass on the trained vocabulary, and return a summary."""
        self._keep(result)
        seconds = duration(self._clock.seconds())
        return f"Trained {', '.join(result.names)} on {self._count} annotations in {seconds}."

    def interrupt(self, reason: str) -> str:  # noqa: ARG002 - as Run's
        """Return what is left of it."""
        return "Nothing was trained."
