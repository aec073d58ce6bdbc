"""Models of consistent clustering on disk: safetensors, so that nothing is ever unpickled."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ..core.errors import OptionError, OutputError, WeightsError
from ..images.ranges import levels_in
from ..models.weights import read_header, there
from ..results.atomic import check_folder, plain, replacing
from ..results.storage import IN_MEMORY, copy_labels, create_labels
from ..results.zarr_tables import read_columns, write_columns
from .kmeans import Basis

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    import zarr

Model = TypeVar("Model")

KIND = "napari-kindred consistent clusters"

LEAVES, LEAVES_PER_FRAME, MODEL = "leaves", "leaves_per_frame", "model"
"""Names in a result's group of what any level is shown from."""

ARRAYS = {
    "prototypes_": np.float32,
    "sizes_": np.int64,
    "prototype_labels_": np.int64,
    "centres_": np.float32,
    "leaves_": np.float32,
    "leaf_parents_": np.int64,
    "leaf_areas_": np.float64,
    "merges_": np.int32,
}


def save_model(content: bytes, path: Path) -> Path:
    """Write a packed model."""
    if path.suffix.lower() != ".safetensors":
        raise OutputError(f"{path.name!r} is not a name for a model; end it in .safetensors.")
    check_folder(path.parent)
    with replacing(path) as part:
        # Written as bytes: safetensors' own files are unreadable to other users.
        part.write_bytes(content)
    return path


def pack(tensors: dict[str, Any], facts: dict[str, Any]) -> bytes:
    """Return a model's arrays and facts as the content of its file."""
    ready = {name: np.ascontiguousarray(value, ARRAYS.get(name)) for name, value in tensors.items()}
    return bytes(save(ready, {"kind": KIND, "facts": json.dumps(plain(facts))}))


def parts_of(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays and the facts of a fitted model."""
    tensors = {name: getattr(model, name) for name in ARRAYS}
    tensors |= {"mean": model.basis_.mean, "components": model.basis_.components}
    facts = {
        "options": model.get_params(),
        "temperature": model.temperature_,
        "intensity": model.intensity_,
        "encoder": model.encoder_,
        "objects": model.objects_,
        "examples": {name: sorted(leaves) for name, leaves in model.examples_.items()},
    }
    return tensors, facts


def set_parts(model: Any, tensors: dict[str, Any], facts: dict[str, Any]) -> None:
    """Give a new model the arrays and facts of :func:`parts_of`; what does not fit raises."""
    model.basis_ = Basis(tensors["mean"], tensors["components"])
    for name in ARRAYS:
        setattr(model, name, tensors[name])
    model.temperature_ = float(facts["temperature"])
    model.intensity_ = levels_in(facts["intensity"])
    model.encoder_ = dict(facts["encoder"])
    model.objects_ = bool(facts["objects"])
    examples = facts["examples"].items()
    if any(not 0 <= leaf < len(tensors["leaves_"]) for _, leaves in examples for leaf in leaves):
        raise ValueError("unexpected leaf")
    model.examples_ = {str(name): frozenset(map(int, leaves)) for name, leaves in examples}


def load_model(path: Path, build: Callable[[dict[str, Any], dict[str, Any]], Model]) -> Model:
    """Read a model's arrays and facts, from which ``build`` makes the model."""
    if there(path) is None:
        raise WeightsError(f"There is no model {str(path)!r}; check the path.")
    about = read_header(path).get("__metadata__", {})
    wrong = WeightsError(
        f"{path.name!r} is not a model of consistent clusters; give one that was saved as such."
    )
    if about.get("kind") != KIND:
        raise wrong
    try:
        tensors = load_file(path)
        _check_shapes(tensors)
        return build(tensors, json.loads(about["facts"]))
    except (SafetensorError, OptionError, LookupError, ValueError, TypeError) as error:
        raise wrong from error


def write_leaves(root: zarr.Group, leaves: Any, rows: pd.DataFrame, model: bytes) -> None:
    """Add leaves and model to a result's group, to show it at any level."""
    copy_labels(leaves, create_labels(root.create_group(LEAVES), leaves.shape, np.uint8))
    write_columns(root, rows, LEAVES_PER_FRAME)
    root.create_array(MODEL, data=np.frombuffer(model, np.uint8))


def read_leaves(
    root: zarr.Group, build: Callable[[dict[str, Any], dict[str, Any]], Model]
) -> tuple[Any, pd.DataFrame, Model] | None:
    """Read what :func:`write_leaves` wrote, if anything."""
    if MODEL not in root:
        return None
    array: Any = root[f"{LEAVES}/0"]
    leaves = array[:] if array.nbytes <= IN_MEMORY else array
    packed: Any = root[MODEL]
    with tempfile.TemporaryDirectory(prefix="napari-kindred-") as folder:
        path = Path(folder, "model.safetensors")
        path.write_bytes(packed[:].tobytes())
        model = load_model(path, build)
    return leaves, read_columns(root, LEAVES_PER_FRAME), model


def _check_shapes(tensors: dict[str, Any]) -> None:
    """Raise ValueError if tensors do not fit each other."""
    (prototypes, dimension), (_, reduced) = tensors["prototypes_"].shape, tensors["centres_"].shape
    leaves = len(tensors["leaves_"])
    expected = {
        "sizes_": (prototypes,),
        "prototype_labels_": (prototypes,),
        "leaves_": (leaves, reduced),
        "leaf_parents_": (leaves,),
        "leaf_areas_": (leaves,),
        "merges_": (leaves - 1, 2),
        "mean": (dimension,),
        "components": (reduced, dimension),
    }
    wrong = [name for name, shape in expected.items() if tensors[name].shape != shape]
    if wrong:
        raise ValueError(f"unexpected shape of {', '.join(wrong)}")
