"""Whether weights know separate channels; those that do not get the mean of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..models.weights import read_header, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..images.stack import ImageStack

SHIPPED = "kindred-entities"
"""Name of the weights that come with the package."""


def fit_channels(
    frames: ImageStack, name: str = SHIPPED, network: Mapping[str, Any] | None = None
) -> str:
    """Let weights that do not know separate channels get their mean; returns a note, or nothing.

    ``network`` are the weights' facts, if they are loaded.
    """
    if not frames.parts:
        return ""
    if network is None:
        about = read_header(resolve(name)).get("__metadata__", {})
        network = json.loads(about.get("network", "{}"))
    # Whatever was trained with a branch of its own for the foreground saw single channels, too.
    if network.get("foreground"):
        return ""
    frames.average()
    return f"The weights {name!r} do not know separate channels, so they get the mean of them."
