"""Weights files of ESC-Net: the trained tensors, and which CLIP they belong to.

A CLIP is large and has a file of its own; only its attention is trained, so only that is saved, in
full precision because its changes are small.  The SAM's trained blocks are saved whole.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from ...core.errors import KindredError, WeightsError
from ...encoders.clip import open_whole_clip
from ...encoders.sam_shapes import SamShapes
from ...models.checkpoints import read_tensors
from ...models.download import file_sha256
from ...models.weights import read_header, resolve
from ...results.atomic import replacing
from .clip_dense import DenseClip
from .network import EscNet, EscShape

FORMAT = "napari-kindred escnet 1"

NETWORK, CLIP = "network.", "clip."
"""Prefixes of the names of tensors."""


class TrainedModel(nn.Module):
    """ESC-Net and the image encoder of its CLIP."""

    def __init__(self, network: EscNet, clip: DenseClip) -> None:
        super().__init__()
        self.network, self.clip = network, clip

    def trained(self) -> dict[str, Tensor]:
        """Return the tensors that training changes, by name; the CLIP's others are left out."""
        attention = {CLIP + name for name in self.clip.attention()}
        return {
            name: value
            for name, value in self.state_dict().items()
            if name.startswith(NETWORK) or name in attention
        }


def save_esc(model: TrainedModel, path: str | Path, info: dict[str, Any]) -> None:
    """Write the trained tensors, in one piece, with ``info`` in the file's header."""
    path = Path(path)
    tensors = {}
    for name, value in model.trained().items():
        halved = name.startswith(NETWORK) and value.is_floating_point()
        tensors[name] = (value.half() if halved else value).contiguous().cpu()
    metadata = {
        "format": FORMAT,
        "shape": json.dumps(dataclasses.asdict(model.network.shape)),
        "info": json.dumps(info),
    }
    with replacing(path) as part:
        part.write_bytes(save(tensors, metadata))  # unlike save_file, readable to colleagues


def is_esc(path: Path) -> bool:
    """Whether the header of a safetensors file names an ESC-Net."""
    metadata = read_header(path).get("__metadata__") or {}
    return metadata.get("format") == FORMAT


def load_esc(path: str | Path, clip: str = "") -> tuple[TrainedModel, Any, dict[str, Any]]:
    """Load an ESC-Net with its CLIP."""
    found = resolve(path)
    metadata, tensors = read_header(found).get("__metadata__") or {}, read_tensors(found)
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"{found.name} holds weights of something else; a file written by "
            "'napari-kindred train classes' is needed."
        )
    try:
        shape = json.loads(metadata["shape"])
        shape["sam"] = SamShapes(**shape["sam"])
        info = json.loads(metadata["info"])
        clip_name = str(info["clip"]["name"])
        expected = str(info["clip"]["sha256"])
        network = EscNet(EscShape(**shape))
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise _misfit(found) from error
    try:
        opened = open_whole_clip(clip or clip_name, patches=True)
    except KindredError as error:
        raise WeightsError(
            f"{found.name} was trained with CLIP {clip_name!r}, which could not be opened: {error}"
        ) from error
    if opened.sha256 != expected:
        raise WeightsError(
            f"{found.name} was trained with the CLIP whose sha256 is {expected}, not "
            f"{opened.sha256}; give that one."
        )
    model = TrainedModel(network, DenseClip(opened))
    wanted = model.trained()
    try:
        if tensors.keys() != wanted.keys():
            raise KeyError("tensors of another network")
        # Shapes are compared here; names were compared above, and a CLIP has more of them.
        model.load_state_dict({k: v.to(wanted[k].dtype) for k, v in tensors.items()}, strict=False)
    except (KeyError, RuntimeError) as error:
        raise _misfit(found) from error
    return model.eval(), opened, {**info, "sha256": file_sha256(found)}


def _misfit(path: Path) -> WeightsError:
    return WeightsError(
        f"{path.name} does not fit the network it describes; train it again with this version."
    )
