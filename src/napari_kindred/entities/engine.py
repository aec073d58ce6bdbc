"""Engines that compute the entity network faster on a CPU than PyTorch: OpenVINO.

A network is written as an ONNX graph, which OpenVINO compiles for this processor: half a second of
it, once per opened network.  In float32 the maps are PyTorch's except for rounding; in bfloat16,
which has eight binary digits, a few pixels in a thousand get another label, and it takes less
than half the time where the processor computes with it.  See ``benchmarks/engines.py``.
"""

from __future__ import annotations

import copy
import importlib.metadata
import importlib.util
import threading
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from ..core.errors import KindredError, OptionError
from .network import DenseMaps, EntityNetwork
from .onnx_graph import IMAGE, UnsupportedError, onnx_model

if TYPE_CHECKING:
    from collections.abc import Mapping

PRECISIONS = {"openvino": "f32", "openvino-bfloat16": "bf16"}
"""Numbers that OpenVINO computes with, by the engine's name."""

TILE_BYTES: Mapping[str, int] = {"torch": 160, "openvino": 340, "openvino-bfloat16": 190}
"""Memory of the network per pixel of a tile.  Measured as the rise of a process's peak, with the
shipped network and tiles of 512 and 1,024 pixels: 116 to 157 bytes, 308 to 331, 154 to 178."""

_compiled: WeakKeyDictionary[EntityNetwork, dict[tuple[str, int], Engine]] = WeakKeyDictionary()
"""Engines that are ready, by network, and by name and number of threads."""


class Engine:
    """A compiled network: called with an image (B, 3, H, W), it returns the dense maps.

    To be used in one thread.

    Parameters
    ----------
    network : EntityNetwork
    name : str
        A key of :data:`PRECISIONS`.

    Raises
    ------
    OptionError
        If OpenVINO is not installed, or the network has parts that it cannot take over.
    """

    def __init__(self, network: EntityNetwork, name: str) -> None:
        try:
            import onnx  # noqa: F401
            import openvino
        except ImportError as error:
            raise OptionError(
                f"engine={name!r} needs the packages openvino and onnx; install them: "
                "pip install 'napari-kindred[fast]'."
            ) from error
        self.name = name
        self._features = network.config.features
        options = {
            "INFERENCE_PRECISION_HINT": PRECISIONS[name],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # several processes would be pinned to the same cores
        }
        core = openvino.Core()
        model = core.read_model(onnx_model(network).SerializeToString())
        self._compiled = core.compile_model(model, "CPU", options)
        self._request = self._compiled.create_infer_request()
        self._lock = threading.Lock()  # a run that was cancelled may be at its last tile

    def __call__(self, image: torch.Tensor) -> DenseMaps:
        """Compute the maps of an image (B, 3, H, W) float32; see :class:`.network.DenseMaps`."""
        pixels = image.contiguous().numpy()
        try:
            with self._lock:
                maps = self._request.infer({IMAGE: pixels}, share_inputs=True)[0]
        except RuntimeError as error:  # it tells of each layer, over several lines
            if "alloc" in str(error):
                raise MemoryError("OpenVINO got too little memory") from error
            raise KindredError("OpenVINO failed on this image; use engine='torch'.") from error
        return _split(torch.from_numpy(maps), self._features)

    def release(self) -> None:
        """Free the memory of the last tile; the network stays compiled."""
        with self._lock:
            self._compiled.release_memory()


def _split(maps: torch.Tensor, features: str) -> DenseMaps:
    """Take apart the maps (B, C, h, w) of an ONNX graph; the distance is not among them."""
    if features == "content":
        return DenseMaps(maps[:, :1], None, None, maps[:, 1:])
    content = maps[:, 4:] if features == "both" else None
    return DenseMaps(maps[:, :1], maps[:, 1:3], maps[:, 3:4], content)


def with_engine(network: EntityNetwork, name: str, device: torch.device) -> EntityNetwork:
    """Return a network that is computed by an engine, or the network itself.

    Parameters
    ----------
    network : EntityNetwork
        From :func:`.checkpoint.load_network`; its tensors must not change any more.
    name : str
        As the option ``engine``.
    device : torch.device
        Only networks on a CPU have other engines than torch.

    Raises
    ------
    OptionError
        If the engine was asked for by name and cannot be used.
    """
    own = type(network) is EntityNetwork and "forward" not in vars(network)
    if name == "torch" or not own:  # another's forward is computed as it is
        return network
    if name == "auto" and (device.type != "cpu" or not installed()):
        return network
    if device.type != "cpu":
        raise OptionError(f"engine={name!r} computes on the CPU; choose device='cpu' as well.")
    chosen = automatic() if name == "auto" else name
    ready = _compiled.setdefault(network, {})
    key = chosen, torch.get_num_threads()
    try:
        if key not in ready:
            ready[key] = Engine(network, chosen)
    except UnsupportedError:
        if name == "auto":
            return network
        raise
    other = copy.copy(network)
    other.forward = ready[key]  # type: ignore[method-assign]
    return other


def release(network: EntityNetwork) -> None:
    """Free what the engines of a network hold of the last tile."""
    for engine in _compiled.get(network, {}).values():
        engine.release()


def installed() -> bool:
    """Whether what engines need is installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("openvino", "onnx"))


def automatic() -> str:
    """Return the fastest engine for this processor."""
    fast = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "openvino-bfloat16" if fast() else "openvino"


def name_of(network: EntityNetwork) -> str:
    """Return the name of the engine that computes a network."""
    engine = vars(network).get("forward")
    return engine.name if isinstance(engine, Engine) else "torch"


def described(network: EntityNetwork) -> str:
    """Return engine, numbers and version, for the provenance."""
    name = name_of(network)
    if name == "torch":
        return f"PyTorch {torch.__version__}, float32"
    numbers = "bfloat16" if PRECISIONS[name] == "bf16" else "float32"
    return f"OpenVINO {importlib.metadata.version('openvino')}, {numbers}"
