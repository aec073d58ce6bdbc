"""Files of results for other programs, by the name of their format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import OptionError

if TYPE_CHECKING:
    from ..base import Result

    Named = tuple[str, Result]

Write = Callable[[Path, Sequence["Named"], Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file that results are exported as.

    Attributes
    ----------
    name : str
    suffix : str
        How the names of its files end.
    about : str
        What it is, a few words.
    module : str
        Its module in this package, whose ``write`` takes a path, pairs of a stem and a result,
        and options.
    joins : bool
        Whether one file holds many results, as for training.
    of_tracks : bool
        Whether it holds tracks, so that only linked results can be written.
    """

    name: str
    suffix: str
    about: str
    module: str
    joins: bool = False
    of_tracks: bool = False

    def fits(self, result: Result) -> bool:
        """Return whether a result can be written as this."""
        return result.ids == "track" or not self.of_tracks

    @property
    def write(self) -> Write:
        """The function that writes it."""
        found: Write = import_module(f".{self.module}", __package__).write
        return found


FORMATS = {
    entry.name: entry
    for entry in (
        Format("roi", ".zip", "ImageJ regions of interest", "imagej_roi"),
        Format("geojson", ".geojson", "GeoJSON for QuPath", "geojson"),
        Format("coco", ".json", "COCO instances", "coco", joins=True),
        Format("yolo", ".yolo.zip", "YOLO segmentation labels", "yolo", joins=True),
        Format("csv", ".csv", "shapes and intensities as CSV", "measurements"),
        Format("tiff", ".tif", "labels as ImageJ TIFF", "imagej_tiff"),
        Format(
            "ctc",
            "_res",
            "tracks as a folder of the Cell Tracking Challenge",
            "ctc",
            of_tracks=True,
        ),
        Format("trackmate", ".xml", "tracks for TrackMate", "trackmate", of_tracks=True),
        Format(
            "tracks",
            ".tracks.csv",
            "tracks as CSV, a row per object and frame",
            "spots",
            of_tracks=True,
        ),
    )
}
"""All formats by name, in the order of the help."""


def format_of(path: Path, name: str | None = None) -> Format:
    """Return the format of this name, else the one that the end of a path stands for.

    Raises
    ------
    OptionError
        If there is none, listing those that there are.
    """
    if name is not None:
        found = FORMATS.get(name)
    else:
        ends = (entry for entry in FORMATS.values() if path.name.lower().endswith(entry.suffix))
        found = max(ends, key=lambda entry: len(entry.suffix), default=None)
    if found is None:
        what = f"format={name!r}" if name is not None else f"The end of {path.name!r}"
        raise OptionError(f"{what} is no format of exports; choose one of {', '.join(FORMATS)}.")
    return found


def export(
    results: Sequence[Named],
    path: Path,
    name: str | None = None,
    overwrite: bool = False,
    **options: Any,
) -> Path:
    """Write results into one file; see :meth:`.Segmentation.export`.

    ``results`` are pairs of a stem, for the names of images, and a result; more than one if the
    format joins them.
    """
    from ..atomic import check_folder, refuse_existing, replacing  # which takes numpy along

    entry = format_of(path, name)
    wrong = [key for key, value in options.items() if value is not None and entry.name != "csv"]
    if wrong:
        raise OptionError(f"{wrong[0]!r} is an option of the format csv only; leave it out.")
    check_folder(path.parent)
    refuse_existing(path, overwrite)
    with replacing(path, overwrite) as part:
        entry.write(part, results, options)
    return path
