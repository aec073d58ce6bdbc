"""Read tensors from files of others: safetensors, or PyTorch's pickles with nothing executed."""

from __future__ import annotations

import warnings
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..core.errors import WeightsError

if TYPE_CHECKING:
    from pathlib import Path

_WRAPPERS = ("model_state", "model_state_dict", "state_dict", "model")
"""Names under which training scripts store the network's tensors."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a network's tensors, by name.

    PyTorch files are opened with ``weights_only=True``: only tensors and plain containers are
    made from them, and a file that asks for anything else is refused.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file, or one written by ``torch.save``: of the tensors, or of a table
        that holds them under ``model_state``, ``model_state_dict``, ``state_dict`` or ``model``.

    Raises
    ------
    WeightsError
        If the file holds something else, is cut short, or would execute code.
    """
    content = _load(path)
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path.name} holds no table of tensors; give a checkpoint's file.")
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path.name} holds no tensors; give a checkpoint's file.")
    return tensors


def _load(path: Path) -> Any:
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickle protocols
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise WeightsError(
            f"{path.name} holds more than tensors, or is not a PyTorch file, and was not opened, "
            "because it might execute code; save its state_dict() alone and give that file."
        ) from error
    except Exception as error:
        # A damaged file may fail in any way; each one means the same to the user.
        raise WeightsError(f"{path.name} is damaged or cut short; get it again.") from error
