"""Segment Anything as a latent space, through Meta's ``segment_anything``, mask decoder included.

Any file with SAM's key names will do: the official ones, micro-sam's, or a small one of other
sizes, whose shapes tell how it was built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..compute.device import inference, load_triton_apart, select
from ..core.errors import InputError, WeightsError
from ..models.checkpoints import read_tensors
from ..models.download import file_sha256
from ..models.weights import WEIGHTS, resolve
from .base import MaskDecoder, Tokens, fitted_shape, projected
from .sam_shapes import SamShapes, read_shapes

if TYPE_CHECKING:
    from torch import nn


class SamDecoder:
    """SAM's prompt encoder and mask decoder; see :class:`.base.MaskDecoder`."""

    def __init__(self, sam: Any) -> None:
        self._sam = sam

    def decode(self, values: Tensor, points: Tensor, shape: tuple[int, int]) -> Tensor:
        """Predict three candidate masks (3, H, W); see :meth:`.base.MaskDecoder.decode`."""
        sam = self._sam
        grid = tuple(sam.prompt_encoder.image_embedding_size)
        expected = (*grid, sam.prompt_encoder.embed_dim)
        if tuple(values.shape) != expected:
            raise InputError(
                f"The mask decoder needs a whole embedding of shape {expected}, padding included, "
                f"not {tuple(values.shape)}."
            )
        if points.ndim != 2 or points.shape[1] != 2 or not len(points):
            raise InputError(f"Points must be (N, 2) with N at least 1, not {tuple(points.shape)}.")
        device = sam.device
        size = fitted_shape(shape, sam.image_encoder.img_size)
        scale = points.new_tensor([size[0] / shape[0], size[1] / shape[1]])
        coordinates = (points * scale).flip(1)[None].to(device, torch.float32)
        labels = torch.ones(1, len(points), dtype=torch.int, device=device)
        with inference():
            sparse, dense = sam.prompt_encoder(points=(coordinates, labels), boxes=None, masks=None)
            logits, _ = sam.mask_decoder(
                image_embeddings=values.to(device, torch.float32).permute(2, 0, 1)[None],
                image_pe=sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )
            full: Tensor = sam.postprocess_masks(logits, input_size=size, original_size=shape)
        return full[0]


class SamEncoder:
    """SAM's image encoder; see :class:`.base.Encoder`."""

    def __init__(self, name: str, sam: Any, shapes: SamShapes, licence: str, sha256: str) -> None:
        self.name, self.licence, self.sha256 = name, licence, sha256
        self.stride = shapes.patch
        self.dimension = shapes.out_channels
        self.input_size: int | None = shapes.side
        self.decoder: MaskDecoder | None = SamDecoder(sam)
        self._sam = sam

    @property
    def sam(self) -> Any:
        """The ``segment_anything`` model itself."""
        return self._sam

    def encode(self, batch: Tensor, components: Tensor | None = None) -> Tokens:
        """Encode images (B, 3, H, W) as the paper does; see :meth:`.base.Encoder.encode`.

        The longer side is scaled to the input's, SAM's mean and deviation are applied, and zeros
        padded at the bottom and right.  A token is valid if its centre lies on the image.  Values
        beyond 0..1 are clipped, because SAM's 8-bit training images have none.
        """
        side = self._sam.image_encoder.img_size
        height, width = fitted_shape((batch.shape[2], batch.shape[3]), side)
        with inference():
            images = batch.to(self._sam.device, torch.float32).clamp(0, 1) * 255
            images = F.interpolate(
                images, (height, width), mode="bilinear", align_corners=False, antialias=True
            )
            # One after the other: attention among all tokens of an image fills the memory.
            parts = [self._sam.image_encoder(self._sam.preprocess(one[None])) for one in images]
            values = projected(torch.cat(parts).permute(0, 2, 3, 1), components)
        centres = (torch.arange(side // self.stride, device=values.device) + 0.5) * self.stride
        rows, columns = centres < max(height, self.stride), centres < max(width, self.stride)
        return Tokens(values, rows[:, None] & columns)


def open_sam(name: str, device: str | torch.device) -> SamEncoder:
    """Open a named SAM, or a file with one.

    Parameters
    ----------
    name : str
        One of :data:`.registry.SAMS`, or the path of a ``.pth``, ``.pt`` or ``.safetensors`` file
        with SAM's key names.
    device : str or torch.device

    Raises
    ------
    WeightsError
        If ``segment_anything`` is not installed, or the file is missing and cannot be downloaded,
        or is not a SAM.
    """
    check_installed()
    chosen = select(device)
    path = resolve(name, pytorch=True)
    entry = WEIGHTS.get(name)
    tensors = {key.removeprefix("sam."): value for key, value in read_tensors(path).items()}
    shapes = read_shapes(tensors, path.name)
    sam = build(shapes, tensors, path.name).to(chosen).eval()
    licence = entry.licence if entry else "as its source states"
    return SamEncoder(name, sam, shapes, licence, entry.sha256 if entry else file_sha256(path))


def check_installed() -> None:
    """Raise WeightsError, naming the fix, if ``segment_anything`` is not installed."""
    try:
        load_triton_apart()
        import segment_anything  # noqa: F401
    except ImportError as error:
        raise WeightsError(
            "SAM encoders need the package segment-anything: "
            "pip install 'napari-kindred[encoders]'."
        ) from error


def build(shapes: SamShapes, tensors: dict[str, Tensor], file_name: str) -> nn.Module:
    """Build a SAM of these shapes around these tensors; WeightsError if they do not fit."""
    from segment_anything.modeling import Sam

    # On the meta device nothing that is replaced anyway is allocated or drawn at random.
    with torch.device("meta"):
        sam = Sam(shapes.image_encoder(), shapes.prompt_encoder(), shapes.mask_decoder())
    # Fine-tuned files may carry more than SAM itself, such as micro-sam's decoder.
    wanted = sam.state_dict()
    ours = {key: value for key, value in tensors.items() if key in wanted}
    ours = {k: v.float() if v.is_floating_point() else v for k, v in ours.items()}
    try:
        sam.load_state_dict(ours, assign=True)
    except RuntimeError as error:
        raise WeightsError(
            f"{file_name} is no whole SAM checkpoint: tensors are missing or of another size; "
            "give a file with image encoder, prompt encoder and mask decoder."
        ) from error
    # Not in any file; these are SAM's own.
    sam.pixel_mean = torch.tensor([123.675, 116.28, 103.53]).view(-1, 1, 1)
    sam.pixel_std = torch.tensor([58.395, 57.12, 57.375]).view(-1, 1, 1)
    built: nn.Module = sam.requires_grad_(requires_grad=False)
    return built
