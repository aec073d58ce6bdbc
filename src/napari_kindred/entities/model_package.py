"""The entity network for other programs: as an ONNX file, or as a BioImage Model Zoo package."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._version import __version__
from ..core.errors import OptionError, OutputError
from ..images.intensity import PERCENTILES
from ..images.samples import open_sample
from ..results.atomic import refuse_existing, replacing
from .channels import SHIPPED
from .checkpoint import load_network
from .network import MULTIPLE
from .onnx_graph import IMAGE, MAPS, OPSET, onnx_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .network import EntityNetwork

ONNX, PACKAGE = ".onnx", ".zip"

DECODER = Path(__file__).with_name("numpy_decoder.py")
"""Is copied next to the network; needs only NumPy."""

SIDE = 128
"""Side of the test image in pixels."""

TOLERANCE = 1e-2
"""Largest difference of maps that a runtime may have to the test tensors."""

LICENCE = "BSD-3-Clause"

README = """# {name}

Cells and nuclei: dense maps, from which `decode.py` makes a label per object with NumPy alone.

- Input `{image}` (batch, 3, y, x), float32: intensities from 0 to 1 ({low:g} and {high:g} % of the
  pixels lie below and above), grey images three times; y and x multiples of {multiple}. Objects
  should be 12 to 60 pixels across; scale the image so that they have about 32.
- Output `{maps}` (batch, 4, y/2, x/2), float32: background (log odds), offset to the object's
  centre along y and x (pixels of the input), size (log2 of the diameter over 24 pixels).
- Weights: `{name}`, sha256 `{sha256}`, {licence}, from napari-kindred {version}.
{trained}

```python
import numpy as np, onnxruntime
from decode import labels_of

image = np.load("test_input.npy")
maps = onnxruntime.InferenceSession("weights.onnx").run(None, {{"{image}": image}})[0]
labels = labels_of(maps[0])  # every second pixel of the image
```

# Validation

`test_output.npy` are the maps of `test_input.npy` by PyTorch in float32; other runtimes differ by
rounding. The accuracy on other images is in napari-kindred's documentation.
"""


TRAINED = {
    SHIPPED: """- Trained on nuclei in fluorescence and histology, cells in phase contrast and
  quantitative phase, and bacteria; its model card in napari-kindred names all data. Two sources
  are CC BY 4.0 and ask to be named: H&E images of Naylor et al. 2018 (Zenodo 1175282), and
  quantitative phase images of Vicar et al. (Zenodo 5153251)."""
}
"""The sentence on training data for weights that come with the package."""


def export_model(
    out: str | Path, weights: str = "kindred-entities", overwrite: bool = False
) -> Path:
    """Write the network of entities for other programs.

    Parameters
    ----------
    out : path
        ``.zip`` is a package of the BioImage Model Zoo: the network in ONNX, its description, an
        image and its maps to test with, and ``decode.py``, which turns maps into labels with NumPy
        alone.  ``.onnx`` is the network, with ``decode.py`` beside it.
    weights : str
        Name of shipped weights, or the path of a file.
    overwrite : bool
        Whether files that are there may be replaced.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    OptionError
        If the weights have features that the decoder does not know, or ``onnx`` is not installed.
    OutputError
        If ``out`` ends otherwise, or is there already.
    """
    out = Path(out)
    if out.suffix.lower() not in (ONNX, PACKAGE):
        raise OutputError(
            f"{out.name!r} must end in .zip, for a package of the BioImage Model Zoo, or in .onnx, "
            "for the network alone."
        )
    alone = out.suffix.lower() == ONNX
    files = [out, out.with_name("decode.py")] if alone else [out]
    for file in files:
        refuse_existing(file, overwrite)
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise OptionError(
            "Writing ONNX needs the package onnx; install it: pip install 'napari-kindred[fast]'."
        ) from error
    network, info = load_network(weights)
    if network.config.features != "positional" or network.config.output_stride != 2:
        raise OptionError(
            f"The weights {weights!r} have features that decode.py does not know; positional ones "
            "at half the resolution are needed."
        )
    facts = {"sha256": str(info["sha256"]), "name": Path(weights).stem, "version": __version__}
    graph = onnx_model(network, facts).SerializeToString()
    if not alone:
        _write_package(out, network, graph, facts)
        return out
    for file, content in zip(files, (graph, DECODER.read_bytes()), strict=True):
        with replacing(file) as part:
            part.write_bytes(content)
    return out


def _write_package(
    out: Path, network: EntityNetwork, graph: bytes, facts: Mapping[str, str]
) -> None:
    image = _test_image()
    maps = _maps_of(network, image)
    low, high = PERCENTILES[0], round(100 - PERCENTILES[1], 3)
    about = {"image": IMAGE, "maps": MAPS, "multiple": MULTIPLE, "licence": LICENCE, **facts}
    about["trained"] = TRAINED.get(facts["name"], "- Trained by a user of napari-kindred.")
    files = {
        "weights.onnx": graph,
        "test_input.npy": _npy(image),
        "test_output.npy": _npy(maps),
        "decode.py": DECODER.read_bytes(),
        "cover.png": _cover(image, maps),
        "README.md": README.format(low=low, high=high, **about).encode(),
    }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files["rdf.yaml"] = json.dumps(_description(hashes, facts), indent=1).encode()  # JSON is YAML
    with replacing(out) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in files.items():
            package.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content)


def _test_image() -> NDArray[np.float32]:
    """Return a frame of the shipped sample as the network sees it, (1, 3, SIDE, SIDE)."""
    plane = np.asarray(open_sample("nuclei").data[0])[:SIDE, :SIDE].astype(np.float32)
    low, high = np.percentile(plane, PERCENTILES)
    grey = np.clip((plane - low) / (high - low), 0, 1).astype(np.float32)
    return np.repeat(grey[None, None], 3, axis=1)


def _maps_of(network: EntityNetwork, image: NDArray[np.float32]) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        maps = network(torch.from_numpy(image))
    wanted = (maps.background, maps.offset, maps.size)
    return torch.cat([one for one in wanted if one is not None], 1).numpy()


def _npy(values: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def _cover(image: NDArray[np.float32], maps: NDArray[np.float32]) -> bytes:
    """Return the image and its labels side by side, as PNG."""
    import imageio.v3 as iio

    from .numpy_decoder import labels_of

    labels = labels_of(maps[0]).repeat(2, 0).repeat(2, 1)
    colours = np.random.default_rng(0).integers(80, 256, (labels.max() + 1, 3), np.uint8)
    colours[0] = 0
    grey = np.rint(image[0] * 255).astype(np.uint8).transpose(1, 2, 0)
    return bytes(iio.imwrite("<bytes>", np.hstack([grey, colours[labels]]), extension=".png"))


def _description(hashes: Mapping[str, str], facts: Mapping[str, str]) -> dict[str, Any]:
    """Return the model's description in the zoo's format 0.5, as plain data."""

    def file(name: str) -> dict[str, str]:
        return {"source": name, "sha256": hashes[name]}

    plane = {"min": 64, "step": MULTIPLE}
    inputs = {
        "id": IMAGE,
        "description": "Intensities from 0 to 1; grey images three times.",
        "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": ["red", "green", "blue"]},
            {"type": "space", "id": "y", "size": plane},
            {"type": "space", "id": "x", "size": plane},
        ],
        "test_tensor": file("test_input.npy"),
        "data": {"type": "float32", "range": [0, 1]},
        "preprocessing": [
            {
                "id": "scale_range",
                "kwargs": {
                    "axes": ["channel", "y", "x"],
                    "min_percentile": PERCENTILES[0],
                    "max_percentile": PERCENTILES[1],
                },
            },
            {"id": "clip", "kwargs": {"min": 0.0, "max": 1.0}},
            {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
        ],
    }
    outputs = {
        "id": MAPS,
        "description": "What decode.py turns into labels.",
        "axes": [
            {"type": "batch"},
            {
                "type": "channel",
                "channel_names": ["background", "offset_y", "offset_x", "size"],
            },
            *(
                {
                    "type": "space",
                    "id": axis,
                    "scale": 2.0,
                    "size": {"tensor_id": IMAGE, "axis_id": axis},
                }
                for axis in "yx"
            ),
        ],
        "test_tensor": file("test_output.npy"),
        "data": {"type": "float32"},
    }
    return {
        "type": "model",
        "format_version": "0.5.4",
        "name": f"Cells and nuclei {facts['name'].replace('_', '-')}",
        "description": "Maps of which every cell or nucleus gets a label of its own.",
        "authors": [{"name": "napari-kindred developers"}],
        "license": LICENCE,
        "version": "1",
        "documentation": file("README.md"),
        "covers": ["cover.png"],
        "attachments": [file("decode.py")],
        "tags": ["instance-segmentation", "nuclei", "cells", "2d", "fluorescence", "histology"],
        "timestamp": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
        "inputs": [inputs],
        "outputs": [outputs],
        "weights": {"onnx": {**file("weights.onnx"), "opset_version": OPSET}},
        "config": {
            "napari-kindred": dict(facts),
            "bioimageio": {
                "reproducibility_tolerance": [
                    {"relative_tolerance": 1e-3, "absolute_tolerance": TOLERANCE}
                ]
            },
        },
    }
