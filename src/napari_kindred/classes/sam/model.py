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
"""How much larger than torch makes them the projections are with which attention begins."""


def shapes(
    side: int = 256,
    patch: int = 8,
    width: int = 160,
    depth: int = 8,
    heads: int = 5,
    window: int = 8,
    channels: int = 256,
) -> SamShapes:
    """Return the sizes of a small SAM.

    Attention reaches everywhere in two blocks: the middle one and the last.
    """
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
    """Build a SAM with random weights, the same for the same seed.

    Raises
    ------
    WeightsError
        When ``segment_anything`` is not installed.
    """
    check_installed()
    from segment_anything.modeling import Sam

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sam = Sam(sizes.image_encoder(), sizes.prompt_encoder(), sizes.mask_decoder())
        _look_at_the_prompt(sam.mask_decoder.transformer)
    # Places are coded by this matrix, which never learns: half precision must not move them.
    matrix = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    matrix.copy_(matrix.half().float())
    return sam


def _look_at_the_prompt(transformer: Any) -> None:
    """Let attention between prompts and picture begin where both are at the same place.

    Queries and keys carry codes of places whose product is largest for the same place.  Random
    projections of queries and of keys lose this, and a decoder then needs very long to find out
    that the answer depends on the prompt; the same projection of both keeps it.
    """
    crossings = [transformer.final_attn_token_to_image]
    for layer in transformer.layers:
        crossings += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    with torch.no_grad():
        for attention in crossings:
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
    """Load any SAM for use, in float32 on the CPU.

    Parameters
    ----------
    path : str or Path
        A name in the weights table, or a file with SAM's key names.

    Returns
    -------
    sam : segment_anything.modeling.Sam
        In evaluation mode, its weights fixed.
    info : dict
        What :func:`save_sam` was given; empty for files of others.

    Raises
    ------
    WeightsError
        When the file is missing, damaged, or no SAM.
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
    """What is asked about one picture: first some points, then some boxes, one mask for each.

    Attributes
    ----------
    points : Tensor, (P, 2) float32
        (x, y) in input pixels, one point on each thing.
    boxes : Tensor, (B, 4) float32
        (x0, y0, x1, y1) in input pixels, one box around each thing.
    """

    points: Tensor
    boxes: Tensor

    def __len__(self) -> int:
        return len(self.points) + len(self.boxes)


@dataclass(frozen=True)
class Correction:
    """One more point for each prompt, after a first answer was seen.

    Attributes
    ----------
    points : Tensor, (N, 2) float32
        (x, y) in input pixels.
    inside : Tensor, (N,) bool
        Whether the point lies on the thing, or beside it.
    masks : Tensor, (N, 4 h, 4 w) float32
        Logits of the first answer, from an embedding of (h, w) tokens.
    """

    points: Tensor
    inside: Tensor
    masks: Tensor


def embed(sam: Any, images: Tensor, corner: tuple[int, int] = (0, 0)) -> Tensor:
    """Encode pictures, or square windows cut out of them, with gradients.

    A window of n tokens a side is encoded as if it lay at ``corner`` of a picture of whose rest
    nothing is known: it takes the codes of the places there, and only the relative positions
    that occur in it.  Training on windows costs less, above all in the decoder.

    ``images`` (B, 3, S, S) float32; returns (B, C, S / patch, S / patch).
    """
    encoder = sam.image_encoder
    grid = encoder.pos_embed.shape[1]
    n = images.shape[-1] // encoder.patch_embed.proj.stride[0]
    if n == grid:
        whole: Tensor = encoder(images)
        return whole
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
    """Decode the masks of one picture's prompts, all at once, with gradients.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
    embedding : Tensor, (1, C, h, w)
        Of one picture, or of a window.
    prompts : Prompts
        At least one; in pixels of the picture or window.
    correction : Correction, optional
    corner : tuple of int
        Of the window, as for :func:`embed`.

    Returns
    -------
    logits : Tensor, (N, 4, 4 h, 4 w) float32
        The mask for prompts that are unambiguous, then the three candidates for single points.
    quality : Tensor, (N, 4) float32
        Predicted IoU of each.
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
    places = sam.prompt_encoder.get_dense_pe()
    logits, quality = sam.mask_decoder.predict_masks(
        image_embeddings=embedding,
        image_pe=places[..., corner[0] : corner[0] + height, corner[1] : corner[1] + width],
        sparse_prompt_embeddings=torch.cat(sparse),
        dense_prompt_embeddings=torch.cat(dense)[..., :height, :width],
    )
    return logits.float(), quality.float()


def _embed_prompts(
    sam: Any, part: Tensor, correction: Correction | None, rows: slice, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """Embed prompts of one sort: points (P, 2) or boxes (B, 4), moved by ``shift`` (x, y)."""
    boxed = part.shape[1] == 4
    places = [] if boxed else [part + shift]
    labels = [] if boxed else [torch.ones_like(part[:, 0])]
    masks = None
    if correction is not None:
        places.append(correction.points[rows] + shift)
        labels.append(correction.inside[rows].float())
        masks = correction.masks[rows, None]
    points = (torch.stack(places, 1), torch.stack(labels, 1)) if places else None
    boxes = part + shift.repeat(2) if boxed else None
    tokens, maps = sam.prompt_encoder(points=points, boxes=boxes, masks=masks)
    return tokens, maps
