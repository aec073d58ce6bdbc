"""Options of linking."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.options import check, option


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """Options of :func:`napari_kindred.link`; every default works untouched."""

    axes: str | None = option(
        None, "Axes", "Axes of the labels, one letter each, for example TYX; guessed if empty."
    )
    max_gap: int = option(
        2,
        "Maximum gap (frames)",
        "Number of frames in which an object may be missing and still keep its track.",
        minimum=0,
        maximum=100,
    )
    max_distance: float = option(
        4.0,
        "Maximum distance (diameters)",
        "Distance that an object may move from frame to frame, in multiples of its diameter; "
        "a drift of the whole field is corrected first.",
        minimum=0.05,
        maximum=100.0,
        step=0.25,
    )
    divisions: bool = option(
        True,
        "Divisions",
        "Start new tracks, with the track of the mother as their parent, where an object divides.",
    )
    memory: float | None = option(
        None,
        "Memory (GB)",
        "Memory limit in gigabytes; half of the free memory if empty. Large results are kept on "
        "disk.",
        minimum=0.25,
        advanced=True,
    )

    def __post_init__(self) -> None:
        check(self)
