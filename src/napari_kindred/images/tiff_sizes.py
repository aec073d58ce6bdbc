"""The size of a TIFF's pixels, by OME's, ImageJ's or its own tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .ome import size_of, unit_of

if TYPE_CHECKING:
    from .ome import OmeImage

CENTIMETER = 3
"""Resolutions are per centimetre."""

COARSEST = 20.0
"""Micrometres of a pixel above which a resolution is that of a print or a screen."""


def sizes_of(tif: Any, about: OmeImage | None) -> dict[str, tuple[float, str]]:
    """Return step and unit of axes, from OME's or ImageJ's metadata."""
    if tif.is_ome:
        return {} if about is None else dict(about.sizes)
    return _imagej_sizes(tif) if tif.is_imagej else _tagged_sizes(tif.pages[0].tags)


def _tagged_sizes(tags: Any) -> dict[str, tuple[float, str]]:
    """Return the size of pixels that programs for microscopes write in pixels per centimetre.

    Resolutions per inch, or of more than 20 µm, are those of a print or a screen.
    """
    sizes: dict[str, tuple[float, str]] = {}
    if int(getattr(tags.get("ResolutionUnit"), "value", 1)) != CENTIMETER:
        return sizes
    for letter, name in (("X", "XResolution"), ("Y", "YResolution")):
        counted, per = getattr(tags.get(name), "value", (0, 1))
        if counted > 0 and 0 < per / counted * 1e4 <= COARSEST:
            sizes[letter] = (per / counted * 1e4, "micrometer")
    return sizes if len(sizes) == 2 else {}


def _imagej_sizes(tif: Any) -> dict[str, tuple[float, str]]:
    about = tif.imagej_metadata or {}
    unit = unit_of(about.get("unit"))
    sizes = {}
    for letter, tag in (("X", "XResolution"), ("Y", "YResolution")):
        found = tif.pages[0].tags.get(tag)
        if found is not None and unit != "pixel" and min(found.value) > 0:
            sizes[letter] = (found.value[1] / found.value[0], unit)
    spacing = about.get("spacing")
    if unit != "pixel" and isinstance(spacing, int | float):
        sizes["Z"] = (size_of(abs(spacing)), unit)
    sizes["T"] = (size_of(about.get("finterval")), unit_of(about.get("tunit", "s")))
    return {letter: size for letter, size in sizes.items() if size[0]}


def steps_along(
    sizes: dict[str, tuple[float, str]], axes: str
) -> tuple[tuple[float, ...], tuple[str, ...]] | tuple[None, None]:
    """Return scale and units of axes, None each if unknown."""
    if not sizes:
        return None, None
    return (
        tuple(sizes.get(letter, (1.0, ""))[0] for letter in axes),
        tuple(sizes.get(letter, (1.0, "pixel"))[1] for letter in axes),
    )
