"""The entity network as an ONNX graph, for other programs and for faster engines.

The network is followed by :mod:`torch.fx`, and each step becomes one ONNX operator; torch's own
exporter needs further packages and seconds.  Heights and widths stay open; both must be multiples
of :data:`.network.MULTIPLE`.
"""

from __future__ import annotations

import copy
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from ..core.errors import OptionError
from .fused_layers import Bands
from .network import EntityNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx import ModelProto

OPSET = 18
"""Version of ONNX's operators; readers of the last three years know it."""

IR_VERSION = 8
"""Version of the file format, the one that came with these operators."""

IMAGE, MAPS = "image", "maps"
"""Names of the graph's input and output."""


class UnsupportedError(OptionError):
    """The network has a part without a counterpart here."""


class _Unbanded(EntityNetwork):
    """The network computed as a whole, which is what a graph describes."""

    @staticmethod
    def _in_bands(head: Callable[..., Tensor], maps: list[Tensor], channels: int) -> Tensor:  # noqa: ARG004
        return head(*maps)


class _OneTensor(nn.Module):
    """The maps that segmentation reads, joined along the channels."""

    def __init__(self, network: EntityNetwork) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).cpu()
        self.network.__class__ = _Unbanded
        for parent in list(self.network.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, Bands):
                    setattr(parent, name, child.block)

    def forward(self, image: Tensor) -> Tensor:
        """Return background, offset, size and content, as far as there are any, (B, C, h, w)."""
        maps = self.network(image)
        wanted = (maps.background, maps.offset, maps.size, maps.content)
        return torch.cat([one for one in wanted if one is not None], 1)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Layers are operators; what is built of them is followed."""
        return isinstance(m, nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)


def onnx_model(network: EntityNetwork, about: dict[str, str] | None = None) -> ModelProto:
    """Return a network as an ONNX model.

    Parameters
    ----------
    network : EntityNetwork
        From :func:`.checkpoint.load_network`, ready for use (batch norm folded).
    about : dict of str, optional
        Facts to store in the model.

    Returns
    -------
    onnx.ModelProto
        Input ``image`` (B, 3, H, W) float32, 0..1; output ``maps`` (B, C, h, w) float32: the
        maps of :class:`.network.DenseMaps` but the distance, joined.

    Raises
    ------
    OptionError
        If the network has a part that is not known here.
    """
    from onnx import TensorProto, helper

    module = _OneTensor(network)
    try:
        graph = _Tracer().trace(module)
    except (AttributeError, NameError, RuntimeError, TypeError, ValueError) as error:
        raise UnsupportedError(
            f"A network on {network.config.encoder} cannot be written as ONNX; use engine='torch'."
        ) from error
    for node in reversed(graph.nodes):
        if not node.users and node.op.startswith("call"):
            graph.erase_node(node)  # of sizes, which decide on bands
    writer = _Writer(module)
    for node in graph.nodes:
        writer.add(node)
    stride = network.config.output_stride
    shapes: dict[str, list[str | int | None]] = {
        IMAGE: ["batch", 3, "height", "width"],
        MAPS: ["batch", _channels(network), f"height/{stride}", f"width/{stride}"],
    }
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    made = helper.make_graph(writer.nodes, "kindred-entities", ends[:1], ends[1:], writer.tensors)
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        made, opset_imports=opset, ir_version=IR_VERSION, producer_name="napari-kindred"
    )
    helper.set_model_props(model, about or {})
    return model


def _channels(network: EntityNetwork) -> int:
    from .segment import channels

    return channels(network)


class _Writer:
    """Turns the steps of a followed network into ONNX nodes."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []
        self._names: dict[fx.Node, str] = {}

    def add(self, node: fx.Node) -> None:
        """Add a step."""
        if node.op == "placeholder":
            self._names[node] = IMAGE
        elif node.op == "output":
            self._put("Identity", [self._input(node.args[0])], MAPS)
        elif node.op == "call_module":
            layer = self.module.get_submodule(str(node.target))
            self._names[node] = self._layer(layer, self._input(node.args[0]), node.name)
        else:
            self._names[node] = self._function(node)

    def _input(self, value: Any) -> str:
        """Return the name of a step's result, or of a number as a constant."""
        if isinstance(value, fx.Node):
            return self._names[value]
        return self._constant(np.float32(value), f"number{len(self.tensors)}")

    def _constant(self, value: Any, name: str) -> str:
        from onnx import numpy_helper

        self.tensors.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _put(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def _layer(self, layer: nn.Module, x: str, name: str) -> str:
        """Add a layer."""
        match layer:
            case nn.Conv2d():
                tensors = [self._constant(layer.weight.detach().float().numpy(), f"{name}.weight")]
                if layer.bias is not None:
                    bias = layer.bias.detach().float().numpy()
                    tensors.append(self._constant(bias, f"{name}.bias"))
                return self._put(
                    "Conv", [x, *tensors], name,
                    kernel_shape=list(layer.kernel_size),
                    strides=list(layer.stride),
                    dilations=list(layer.dilation),
                    group=layer.groups,
                    pads=_pads(layer),
                )  # fmt: skip
            case nn.Identity():
                return x
            case nn.ReLU():
                return self._put("Relu", [x], name)
            case nn.ReLU6():
                limits = [self._constant(np.float32(n), f"{name}.{n}") for n in (0, 6)]
                return self._put("Clip", [x, *limits], name)
            case nn.SiLU():
                gate = self._put("Sigmoid", [x], f"{name}.gate")
                return self._put("Mul", [x, gate], name)
        raise UnsupportedError(
            f"A network with {type(layer).__name__} cannot be written as ONNX; use engine='torch'."
        )

    def _function(self, node: fx.Node) -> str:
        """Add a function of tensors."""
        kind = _FUNCTIONS.get(node.target)
        args: list[Any] = list(node.args)
        if kind in ("Add", "Sub", "Mul"):
            return self._put(kind, [self._input(one) for one in args[:2]], node.name)
        if kind in ("Relu", "Tanh"):
            return self._put(kind, [self._input(args[0])], node.name)
        if kind == "Concat":
            inputs = [self._input(one) for one in args[0]]
            return self._put("Concat", inputs, node.name, axis=1)
        if kind == "Slice" and isinstance(args[1], tuple) and len(args[1]) == 2:
            part = args[1][1]
            ends = (part.start or 0, np.iinfo(np.int64).max if part.stop is None else part.stop, 1)
            inputs = [
                self._constant(np.array([one], np.int64), f"{node.name}.{number}")
                for number, one in enumerate(ends)
            ]
            return self._put("Slice", [self._input(args[0]), *inputs], node.name)
        if kind == "Resize" and node.kwargs.get("scale_factor") == 2.0:
            scales = self._constant(np.array([1, 1, 2, 2], np.float32), f"{node.name}.scales")
            return self._put(
                "Resize", [self._input(args[0]), "", scales], node.name,
                mode="linear", coordinate_transformation_mode="half_pixel",
            )  # fmt: skip
        raise UnsupportedError(
            f"A network with {node.target} cannot be written as ONNX; use engine='torch'."
        )


_FUNCTIONS: dict[Any, str] = {
    operator.add: "Add",
    operator.sub: "Sub",
    operator.mul: "Mul",
    "add_": "Add",
    F.relu: "Relu",
    F.relu_: "Relu",
    torch.relu_: "Relu",
    torch.tanh: "Tanh",
    torch.cat: "Concat",
    operator.getitem: "Slice",
    F.interpolate: "Resize",
}
"""Operators by the functions, or names of methods, that a network calls."""


def _pads(layer: nn.Conv2d) -> list[int]:
    """Return the rows and columns of zeros before and after a map, of even size."""
    from timm.layers import Conv2dSame  # type: ignore[attr-defined]

    if not isinstance(layer, Conv2dSame):
        if isinstance(layer.padding, str):
            raise UnsupportedError(
                f"A convolution with padding {layer.padding!r} cannot be written as ONNX; "
                "use engine='torch'."
            )
        return [*layer.padding, *layer.padding]
    totals = [
        max((size - 1) * dilation + 1 - step, 0)
        for size, dilation, step in zip(
            layer.kernel_size, layer.dilation, layer.stride, strict=True
        )
    ]
    return [*(total // 2 for total in totals), *(total - total // 2 for total in totals)]
