"""Engines that could compute the entity network on a CPU: their time, and the accuracy of each.

    python benchmarks/engines.py [DATA_DIR] [--weights NAME_OR_FILE] [--most 20]

One thread each, in turns in one process; what is told is the network's time, and the ratio to
PyTorch as it is used by default.  With ``DATA_DIR`` (see ``entities_accuracy.py``) the pictures of
split ``val``, at most so many of each kind, are segmented by each engine at the scale that PyTorch
chose, and scored; and the share of pixels is told that get another label than from PyTorch.

ONNX Runtime and the eight-bit network are measured if the package ``onnxruntime`` is there.  The
latter is made by quantisation after training, per channel, with the ranges of activations taken
from pictures that were trained on; the first and the last convolution stay in float32.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from entities_accuracy import held_out, score
from entities_speed import picture
from meanshift import hardware
from tables import keep

from napari_kindred import EntityConfig, segment_entities
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.entities.engine import Engine, _split
from napari_kindred.entities.onnx_graph import IMAGE, onnx_model
from napari_kindred.images.stack import ImageStack, normalise, read_image
from napari_kindred.models.download import file_sha256
from napari_kindred.models.trainer import keep_depthwise
from napari_kindred.models.weights import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "engines"
SIDES = (512, 1024)
CALIBRATED = 8
"""Pictures of each kind from which the ranges of activations are taken."""


def by_torch(weights: str) -> Any:
    return load_network(weights)[0]


def by_torch_bfloat16(weights: str) -> Any:
    """Return the network under autocast, depthwise convolutions in float32."""
    network = load_network(weights)[0]
    keep_depthwise(network)
    forward = network.forward

    def rounded(image: torch.Tensor) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            maps = forward(image)
        return type(maps)(*(None if one is None else one.float() for one in maps))

    network.forward = rounded
    return network


def by_openvino(name: str, model: bytes | None = None) -> Callable[[str], Any]:
    """Return what opens a network in OpenVINO, or another graph in its place."""

    def opened(weights: str) -> Any:
        network = load_network(weights)[0]
        engine = Engine(network, name)
        if model is not None:
            import openvino

            options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
            core = openvino.Core()
            compiled = core.compile_model(core.read_model(model), "CPU", options)
            engine._request = compiled.create_infer_request()
        network.forward = engine
        return network

    return opened


def by_onnxruntime(weights: str) -> Any:
    """Return the network in ONNX Runtime, one thread."""
    import onnxruntime

    network = load_network(weights)[0]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_model(network).SerializeToString(), options)

    def run(image: torch.Tensor) -> Any:
        maps = session.run(None, {IMAGE: image.contiguous().numpy()})[0]
        return _split(torch.from_numpy(maps), network.config.features)

    network.forward = run
    return network


def calibration(data: Path) -> list[np.ndarray]:
    """Return pieces of pictures that were trained on."""
    files: dict[str, list[Path]] = {}
    with (data / "dsb2018" / "index.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == "train":
                kind = files.setdefault(row["modality_guess"], [])
                kind.append(data / "dsb2018" / "images" / f"{row['id']}.tif")
    files["phase"] = sorted((data / "usiigaci_phase" / "images").glob("train*"))
    pieces = []
    for file in (one for kind in files.values() for one in kind[:CALIBRATED]):
        image = read_image(file)
        frames = ImageStack.open(image.data, metadata_axes=image.axes)
        pixels = normalise(frames.read(()).pixels)[:256, :256]
        pixels = pixels[: len(pixels) // 32 * 32, : pixels.shape[1] // 32 * 32]
        planes = np.broadcast_to(pixels, (*pixels.shape[:2], 3)).transpose(2, 0, 1)
        pieces.append(np.ascontiguousarray(planes[None], np.float32))
    return pieces


def quantised(weights: str, data: Path) -> bytes:
    """Return the graph with eight-bit convolutions."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        pieces = iter(calibration(data))

        def get_next(self) -> Any:
            piece = next(self.pieces, None)
            return None if piece is None else {IMAGE: piece}

    model = onnx_model(load_network(weights)[0])
    layers = [node.name for node in model.graph.node if node.op_type == "Conv"]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        source.write_bytes(model.SerializeToString())
        quantize_static(
            source,
            target,
            Reader(),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=[layers[0], layers[-1]],
        )
        return target.read_bytes()


def timed(networks: dict[str, Any], side: int, repeats: int) -> dict[str, list[float]]:
    """Return seconds of the processor for a picture, by engine; the first of each is left out."""
    pixels = picture(None)[0].astype(np.float32)[:side, :side]
    image = torch.from_numpy(np.broadcast_to(normalise(pixels), (1, 3, side, side)).copy())
    image = image.to(memory_format=torch.channels_last)
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(repeats + 1):
        for name, network in networks.items():
            start = time.process_time()
            with torch.inference_mode():
                network(image)
            seconds[name].append(time.process_time() - start)
    return {name: own[1:] for name, own in seconds.items()}


def differing(one: np.ndarray, other: np.ndarray) -> float:
    """Share of pixels whose object in ``one`` is not the one that ``other`` mostly has there."""
    pairs, counts = np.unique(np.stack([other.ravel(), one.ravel()]), axis=1, return_counts=True)
    best = np.zeros(int(other.max()) + 1, np.int64)
    order = np.argsort(counts)
    best[pairs[0][order]] = pairs[1][order]
    best[0] = 0
    return float((best[other] != one).mean())


def accuracy(networks: dict[str, Any], data: Path, weights: str, most: int) -> dict[str, Any]:
    """Score each engine on the pictures of split ``val``."""
    info = {"name": weights, "sha256": file_sha256(resolve(weights))}
    rows: dict[str, Any] = {}
    for kind, pairs in held_out(data).items():
        index = pairs[0][0].parents[1] / "index.csv"
        if index.exists() and ",measure," in index.read_text("utf-8"):
            continue  # nothing is chosen on pictures that only judge
        scored: dict[str, list[Any]] = {name: [] for name in networks}
        other: dict[str, list[float]] = {name: [] for name in networks}
        for file, truth in pairs[:most]:
            image, labels = read_image(file), np.asarray(read_image(truth).data)
            scale: Any = "auto"
            for name, network in networks.items():
                config = EntityConfig(weights=weights, scale=scale, engine="torch")  # as it is
                found = segment_entities(image, config=config, model=(network, info))
                scale = found.provenance["scale_used"]
                scored[name].append((labels, np.asarray(found.labels)))
                other[name].append(differing(scored["PyTorch"][-1][1], scored[name][-1][1]))
        rows[kind] = {
            name: score(own) | {"differing": float(np.mean(other[name]))}
            for name, own in scored.items()
        }
        told = {name: (row["AP50"], row["mSA"]) for name, row in rows[kind].items()}
        print(kind, told, flush=True)
    return rows


def markdown(result: dict[str, Any]) -> str:
    """Return the table of one measurement."""
    columns = [f"{side} × {side}, s" for side in SIDES] + [f"times as fast, {SIDES[-1]}"]
    lines = [
        f"| network in one thread | {' | '.join(columns)} | AP50 / mSA on val | other pixels |",
        "|---|" + "---|" * (len(columns) + 2),
    ]
    medians = {
        name: [float(np.median(own[str(side)])) for side in SIDES]
        for name, own in result["seconds"].items()
    }
    for name, own in medians.items():
        found = [row[name] for row in result.get("rows", {}).values() if name in row]
        pair = " / ".join(
            f"{np.mean([row[key] for row in found]):.4f}" for key in ("AP50", "mSA") if found
        )
        share = f"{100 * np.mean([row['differing'] for row in found]):.3f} %" if found else ""
        times = " | ".join(f"{one:.3f}" for one in own)
        times += f" | {medians['PyTorch'][-1] / own[-1]:.2f}"
        lines.append(f"| {name} | {times} | {pair} | {share} |")
    kinds = len(result.get("rows", {}))
    notes = [
        f"Medians of {result['repeats']}, in turns; accuracy is the mean over {kinds} kinds.",
        f"Weights `{result['weights']}`. {result['hardware']}.",
    ]
    return "\n".join([*lines, "", *notes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", metavar="DATA_DIR")
    parser.add_argument("--weights", default=EntityConfig().weights, metavar="NAME_OR_FILE")
    parser.add_argument("--most", type=int, default=20, help="pictures of each kind [20]")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="another JSON file; pages then stay as they are")
    given = parser.parse_args()
    torch.set_num_threads(1)
    ways: dict[str, Callable[[str], Any]] = {
        "PyTorch": by_torch,
        "PyTorch, bfloat16": by_torch_bfloat16,
        "OpenVINO": by_openvino("openvino"),
        "OpenVINO, bfloat16": by_openvino("openvino-bfloat16"),
    }
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        print("Without onnxruntime neither it nor the eight-bit network is measured.")
    else:
        ways["ONNX Runtime"] = by_onnxruntime
        if given.data:
            graph = quantised(given.weights, given.data)
            ways["OpenVINO, int8"] = by_openvino("openvino", graph)
    networks = {name: opened(given.weights) for name, opened in ways.items()}
    seconds: dict[str, dict[str, list[float]]] = {name: {} for name in networks}
    for side in SIDES:
        for name, own in timed(networks, side, given.repeats).items():
            seconds[name][str(side)] = own
    result: dict[str, Any] = {
        "weights": Path(given.weights).stem,
        "repeats": given.repeats,
        "hardware": hardware(),
        "date": time.strftime("%Y-%m-%d"),
        "seconds": seconds,
    }
    if given.data:
        scored = {name: one for name, one in networks.items() if name != "ONNX Runtime"}
        result["rows"] = accuracy(scored, given.data, given.weights, given.most)
    keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
