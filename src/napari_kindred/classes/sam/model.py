"""The small promptable model: Segment Anything's own modules, sized for a wheel and a CPU.

Kirillov et al., "Segment Anything" (2023).  Image encoder, prompt encoder and mask decoder are
those of ``segment_anything``; only the image encoder is smaller.  A saved model is a SAM like any
other, and ``open_encoder(PATH)`` opens it.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ...encoders.sam import build, check_installed
from ...encoders.sam_shapes import SamShapes, read_shapes
from ...models.checkpoints import read_tensors
from ...models.weights import read_header, resolve
from ...results.atomic import replacing

FORMAT = "napari-kindred sam 1"

SHARPNESS = 3.0
"""Factor of the initial projections of attention, relative to torch's."""


def shapes(
    side: int = 256,
    patch: int = 8,
    width: int = 160,
    depth: int = 8,
    heads: int = 5,
    window: int = 8,
    channels: int = 256,
) -> SamShapes:
    """Return the sizes of a small SAM, with global attention in its middle and last blocks."""
    return SamShapes(
        side=side,
        patch=patch,
        width=width,
        depth=depth,
        heads=heads,
        hidden=4 * width,
        window=window,
        everywhere=tuple(sorted({depth // 2 - 1, depth - 1} - {-1})),
        qkv_bias=True,
        out_channels=channels,
        mask_channels=16,
        decoder_depth=2,
        decoder_hidden=8 * channels,
        attention_width=channels // 2,
        masks=3,
        quality_depth=3,
        quality_hidden=channels,
    )


def new_sam(sizes: SamShapes, seed: int = 0) -> Any:
    """Build a SAM with random weights, the same for the same seed."""
    check_installed()
    from segment_anything.modeling import Sam

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sam = Sam(sizes.image_encoder(), sizes.prompt_encoder(), sizes.mask_decoder())
        _align_attention(sam.mask_decoder.transformer)
    # Positions are coded by this matrix, which is never trained: half precision must not move them.
    matrix = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    matrix.copy_(matrix.half().float())
    return sam


def _align_attention(transformer: Any) -> None:
    """Make attention between prompts and image start where both are at the same position.

    Queries and keys carry codes of positions whose product is largest for the same position.
    Random projections of queries and of keys lose this, and a decoder then takes very long to learn
    that the mask depends on the prompt; the same projection of both keeps it.
    """
    crossed = [transformer.final_attn_token_to_image]
    for layer in transformer.layers:
        crossed += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    with torch.no_grad():
        for attention in crossed:
            attention.q_proj.weight.mul_(SHARPNESS)
            attention.k_proj.weight.copy_(attention.q_proj.weight)


def save_sam(sam: Any, path: str | Path, info: dict[str, Any]) -> None:
    """Write a SAM in half precision, in one piece, with ``info`` in the file's header."""
    path = Path(path)
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in sam.state_dict().items()
    }
    metadata = {
        "format": FORMAT,
        "shapes": json.dumps(dataclasses.asdict(read_shapes(tensors, path.name))),
        "info": json.dumps(info),
    }
    with replacing(path) as part:
        part.write_bytes(save(tensors, metadata))  # unlike save_file, readable to colleagues


def load_sam(path: str | Path) -> tuple[Any, dict[str, Any]]:
    """Load any SAM for use, in float32 on the CPU, by a name in the weights table or its path.

    Returns it in evaluation mode with fixed weights, and the ``info`` of :func:`save_sam`, empty
    for files of others; WeightsError for a file that is missing, damaged, or no SAM.
    """
    check_installed()
    found = resolve(path, pytorch=True)
    tensors = read_tensors(found)
    sam = build(read_shapes(tensors, found.name), tensors, found.name).eval()
    if found.suffix.lower() != ".safetensors":
        return sam, {}
    metadata = read_header(found).get("__metadata__", {})
    ours = metadata.get("format") == FORMAT
    return sam, dict(json.loads(metadata["info"])) if ours else {}


# -- prompts ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prompts:
    """Prompts of one image in input pixels: some points, then some boxes, one mask for each.

    ``points`` (P, 2) are (x, y), one on each object; ``boxes`` (B, 4) (x0, y0, x1, y1), one around
    each object.
    """

    points: Tensor
    boxes: Tensor

    def __len__(self) -> int:
        return len(self.points) + len(self.boxes)


@dataclass(frozen=True)
class Correction:
    """One more point for each prompt, after a first mask was predicted.

    ``points`` (N, 2) are (x, y) in input pixels, ``inside`` (N,) says whether each lies on the
    object, ``masks`` (N, 4 h, 4 w) are the first logits, from an embedding of (h, w) tokens.
    """

    points: Tensor
    inside: Tensor
    masks: Tensor


def embed(sam: Any, images: Tensor, corner: tuple[int, int] = (0, 0)) -> Tensor:
    """Encode images (B, 3, S, S), or square windows of them, with gradients.

    A window is encoded as if it lay at ``corner`` (in tokens) of an otherwise unknown image: it
    takes the position codes of that place, and only the relative positions that occur in it.
    Training on windows costs less, above all in the decoder.  Returns (B, C, S / patch, S / patch).
    """
    encoder = sam.image_encoder
    grid = encoder.pos_embed.shape[1]
    n = images.shape[-1] // encoder.patch_embed.proj.stride[0]
    if n == grid:
        complete: Tensor = encoder(images)
        return complete
    rows, columns = (slice(start, start + n) for start in corner)
    parts = {"pos_embed": encoder.pos_embed[:, rows, columns]}
    for name, table in encoder.named_parameters():
        if ".rel_pos_" in name and len(table) == 2 * grid - 1:
            parts[name] = table[grid - n : grid + n - 1]
    window: Tensor = torch.func.functional_call(encoder, parts, (images,))
    return window


def predict_masks(
    sam: Any,
    embedding: Tensor,
    prompts: Prompts,
    correction: Correction | None = None,
    corner: tuple[int, int] = (0, 0),
) -> tuple[Tensor, Tensor]:
    """Decode the masks of one image's prompts, all at once, with gradients.

    ``embedding`` (1, C, h, w) is of an image or a window, as are the prompts' pixels; ``corner`` as
    for :func:`embed`.  Returns ``logits`` (N, 4, 4 h, 4 w), the mask for unambiguous prompts, then
    the three candidates for single points; and ``quality`` (N, 4), the predicted IoU of each.
    """
    sparse, dense = [], []
    split = len(prompts.points)
    pixels = sam.image_encoder.patch_embed.proj.stride[0]
    shift = prompts.points.new_tensor([corner[1] * pixels, corner[0] * pixels])
    for part, rows in ((prompts.points, slice(0, split)), (prompts.boxes, slice(split, None))):
        if len(part):
            tokens, maps = _embed_prompts(sam, part, correction, rows, shift)
            sparse.append(tokens)
            dense.append(maps)
    height, width = embedding.shape[-2:]
    positions = sam.prompt_encoder.get_dense_pe()
    logits, quality = sam.mask_decoder.predict_masks(
        image_embeddings=embedding,
        image_pe=positions[..., corner[0] : corner[0] + height, corner[1] : corner[1] + width],
        sparse_prompt_embeddings=torch.cat(sparse),
        dense_prompt_embeddings=torch.cat(dense)[..., :height, :width],
    )
    return logits.float(), quality.float()


def _embed_prompts(
    sam: Any, part: Tensor, correction: Correction | None, rows: slice, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """Embed prompts of one kind: points (P, 2) or boxes (B, 4), moved by ``shift`` (x, y)."""
    boxed = part.shape[1] == 4
    positions = [] if boxed else [part + shift]
    labels = [] if boxed else [torch.ones_like(part[:, 0])]
    masks = None
    if correction is not None:
        positions.append(correction.points[rows] + shift)
        labels.append(correction.inside[rows].float())
        masks = correction.masks[rows, None]
    points = (torch.stack(positions, 1), torch.stack(labels, 1)) if positions else None
    boxes = part + shift.repeat(2) if boxed else None
    tokens, maps = sam.prompt_encoder(points=points, boxes=boxes, masks=masks)
    return tokens, maps
