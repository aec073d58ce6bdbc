"""Weights files of the entity network: safetensors with their making in the header."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..compute.device import select
from ..core.errors import KindredError, WeightsError
from ..models.download import file_sha256
from ..models.spec import Spec, absolute, check_hash
from ..models.weights import resolve
from ..results.atomic import replacing
from .config import NetworkConfig
from .fused_layers import optimise_for_inference
from .network import EntityNetwork
from .scoring import ScoreModel

FORMAT = "napari-kindred entities 1"


@dataclass(frozen=True)
class EntityNetSpec(Spec[EntityNetwork]):
    """Weights of the entity network.

    Attributes
    ----------
    name : str
        Name in the weights table, or the path of a file written by training.
    sha256 : str
    """

    name: str
    sha256: str

    @classmethod
    def of(cls, info: Mapping[str, Any], name: str) -> EntityNetSpec:
        """Return the spec of a network from the info of :func:`load_network`."""
        return cls(absolute(str(info.get("name", name))), info["sha256"])

    def open(self, device: torch.device | str = "auto") -> EntityNetwork:
        """Load the network for use; see :meth:`.Spec.open`."""
        network, info = load_network(self.name, select(device))
        check_hash(self.name, info["sha256"], self.sha256)
        return network


def save_weights(network: EntityNetwork, path: str | Path, info: dict[str, Any]) -> None:
    """Write a network in half precision, in one piece, with ``info`` in the file's header."""
    path = Path(path)
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    metadata = {
        "format": FORMAT,
        "network": json.dumps(dataclasses.asdict(network.config)),
        "info": json.dumps(info),
    }
    if network.scoring is not None:
        metadata["scoring"] = json.dumps(dataclasses.asdict(network.scoring))
    with replacing(path) as part:
        part.write_bytes(save(tensors, metadata))  # unlike save_file, readable to other users


def load_network(
    name: str | Path, device: torch.device | str = "cpu", *, for_training: bool = False
) -> tuple[EntityNetwork, dict[str, Any]]:
    """Load a network.

    Parameters
    ----------
    name : str or path
        Name in the weights table, or a file written by training.
    device : torch.device
    for_training : bool
        Whether its tensors must be those of the file; otherwise see
        :func:`.fused_layers.optimise_for_inference`.

    Returns
    -------
    network : EntityNetwork
        In evaluation mode on ``device``, float32.
    info : dict
        ``name``, ``sha256``, ``network`` and what training wrote.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or made for another kind of network.
    """
    path = resolve(str(name))
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path.name} is truncated or not a weights file; train or download it again."
        ) from error
    if metadata.get("format") != FORMAT:
        raise WeightsError(
            f"{path.name} holds weights of something else; a file written by "
            "'napari-kindred train entities' is needed."
        )
    try:
        network = EntityNetwork(NetworkConfig(**json.loads(metadata["network"])))
        expected = network.state_dict()
        for key, value in expected.items():
            if not key.endswith("num_batches_tracked"):
                expected[key] = tensors[key].to(value.dtype)
        network.load_state_dict(expected)
        info = json.loads(metadata["info"])
        scoring = ScoreModel.read(metadata.get("scoring"))
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError, KindredError) as error:
        raise WeightsError(
            f"{path.name} does not fit the network it describes; train it again with this version."
        ) from error
    network = network.eval() if for_training else optimise_for_inference(network)
    network = network.to(device).to(memory_format=torch.channels_last)
    network.scoring = scoring
    return network, {
        "name": str(name),
        "sha256": file_sha256(path),
        "network": dataclasses.asdict(network.config),
        **info,
    }
