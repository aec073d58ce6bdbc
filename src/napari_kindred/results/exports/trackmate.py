"""Tracks as TrackMate's XML, which Fiji opens by *Plugins ▸ Tracking ▸ Load a TrackMate file*."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np

from .spots import refuse_unlinked, spots_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from ..base import Result
    from . import Named

VERSION = "7.11.1"
"""Of TrackMate, whose files these are like."""

_FEATURES = {
    "SpotFeatures": (
        ("QUALITY", "Quality", "QUALITY", "false"),
        ("POSITION_X", "X", "POSITION", "false"),
        ("POSITION_Y", "Y", "POSITION", "false"),
        ("POSITION_Z", "Z", "POSITION", "false"),
        ("POSITION_T", "T", "TIME", "false"),
        ("FRAME", "Frame", "NONE", "true"),
        ("RADIUS", "Radius", "LENGTH", "false"),
        ("VISIBILITY", "Visibility", "NONE", "true"),
    ),
    "EdgeFeatures": (
        ("SPOT_SOURCE_ID", "Source spot ID", "NONE", "true"),
        ("SPOT_TARGET_ID", "Target spot ID", "NONE", "true"),
    ),
    "TrackFeatures": (("TRACK_ID", "Track ID", "NONE", "true"),),
}


def write(path: Path, results: Sequence[Named], _: Mapping[str, Any]) -> None:
    """Write spots, and a track of TrackMate for each object with all its descendants."""
    ((stem, result),) = results
    refuse_unlinked(result)
    spots = spots_of(result)
    root = ET.Element("TrackMate", version=VERSION)
    time, space = _units_of(result)
    model = ET.SubElement(root, "Model", spatialunits=space, timeunits=time)
    declared = ET.SubElement(model, "FeatureDeclarations")
    for kind, features in _FEATURES.items():
        group = ET.SubElement(declared, kind)
        for feature, name, dimension, whole in features:
            entry = {"feature": feature, "name": name, "shortname": name, "dimension": dimension}
            ET.SubElement(group, "Feature", entry, isint=whole)
    _add_spots(model, spots, result.labels.shape[0])
    _add_tracks(model, spots)
    settings = ET.SubElement(root, "Settings")
    depth, height, width = (1, 1, *result.labels.shape[1:])[-3:]
    steps = dict(zip(result.axes, result.scale or (1.0,) * len(result.axes), strict=True))
    ET.SubElement(
        settings,
        "ImageData",
        filename=stem,
        folder="",
        width=str(width),
        height=str(height),
        nslices=str(depth),
        nframes=str(result.labels.shape[0]),
        pixelwidth=str(steps["X"]),
        pixelheight=str(steps["Y"]),
        voxeldepth=str(steps.get("Z", 1.0)),
        timeinterval=str(steps.get("T", 1.0)),
    )
    ET.indent(root)
    ET.ElementTree(root).write(path, "utf-8", xml_declaration=True)


def _units_of(result: Result) -> tuple[str, str]:
    """Return the units of time and space."""
    units = dict(zip(result.axes, result.units or ("",) * len(result.axes), strict=True))
    time, space = units.get("T", ""), units.get("X", "")
    return ("frame" if time in ("", "pixel") else time), (space or "pixel")


def _add_spots(model: ET.Element, spots: pd.DataFrame, frames: int) -> None:
    every = ET.SubElement(model, "AllSpots", nspots=str(len(spots)))
    groups = dict(iter(spots.groupby("frame")))
    for frame in range(frames):
        group = ET.SubElement(every, "SpotsInFrame", frame=str(frame))
        if frame not in groups:
            continue
        for row in groups[frame].to_dict("records"):
            ET.SubElement(
                group,
                "Spot",
                ID=str(row["spot"]),
                name=f"ID{row['spot']}",
                QUALITY="1.0",
                POSITION_X=str(row["x"]),
                POSITION_Y=str(row["y"]),
                POSITION_Z=str(row.get("z", 0.0)),
                POSITION_T=str(row["t"]),
                FRAME=str(frame),
                RADIUS=str(row["radius"]),
                VISIBILITY="1",
            )


def _add_tracks(model: ET.Element, spots: pd.DataFrame) -> None:
    """Add the links; spots that are linked to each other are one track."""
    lineage = np.zeros(len(spots) + 1, int)
    order = np.argsort(spots["frame"].to_numpy(), kind="stable")
    number, source = spots["spot"].to_numpy(), spots["source"].to_numpy()
    for place in order:
        lineage[number[place]] = lineage[source[place]] if source[place] else number[place]
    linked = spots.assign(lineage=lineage[1:])[source > 0]
    tracks, shown = ET.SubElement(model, "AllTracks"), ET.SubElement(model, "FilteredTracks")
    for track, (_, rows) in enumerate(linked.groupby("lineage")):
        ids = {"name": f"Track_{track}", "TRACK_ID": str(track)}
        group = ET.SubElement(tracks, "Track", ids)
        for before, after in zip(rows["source"], rows["spot"], strict=True):
            ET.SubElement(group, "Edge", SPOT_SOURCE_ID=str(before), SPOT_TARGET_ID=str(after))
        ET.SubElement(shown, "TrackID", TRACK_ID=str(track))
