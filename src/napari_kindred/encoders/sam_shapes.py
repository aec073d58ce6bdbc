"""How a SAM was built, read from the shapes of its tensors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

HEADS = 8
"""Attention heads of the mask decoder, which its shapes do not show: 8 in every SAM."""


OTHERS = {
    "MobileSAM": ("image_encoder.layers.",),
    "SAM 3": ("detector.", "tracker_model.", "tracker."),
    "SAM 2": (
        "image_encoder.trunk.",
        "sam_mask_decoder.",
        "memory_encoder.",
        "vision_encoder.backbone.",
    ),
    "SAM of Hugging Face's transformers": ("vision_encoder.", "shared_image_embedding."),
}
"""Kinds of files that are not read, by how names of some of their tensors begin."""


@dataclass(frozen=True, slots=True)
class SamShapes:
    """Sizes of the modules of a SAM."""

    side: int
    """Of the square input, pixels."""
    patch: int
    """Side of a token, pixels."""
    width: int
    depth: int
    heads: int
    hidden: int
    window: int
    """Side of attention windows in tokens; 0 without windows."""
    everywhere: tuple[int, ...]
    """Blocks with global attention."""
    qkv_bias: bool
    out_channels: int
    mask_channels: int
    decoder_depth: int
    decoder_hidden: int
    attention_width: int
    masks: int
    """Candidate masks besides the single one: 3 in every SAM."""
    quality_depth: int
    quality_hidden: int

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        return self.side // self.patch, self.side // self.patch

    def image_encoder(self) -> Any:
        """Build the image encoder."""
        from segment_anything.modeling import ImageEncoderViT
        from torch.nn import LayerNorm

        return ImageEncoderViT(
            img_size=self.side,
            patch_size=self.patch,
            embed_dim=self.width,
            depth=self.depth,
            num_heads=self.heads,
            mlp_ratio=self.hidden / self.width,
            out_chans=self.out_channels,
            qkv_bias=self.qkv_bias,
            norm_layer=partial(LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=self.window,
            global_attn_indexes=self.everywhere,
        )

    def prompt_encoder(self) -> Any:
        """Build the prompt encoder."""
        from segment_anything.modeling import PromptEncoder

        return PromptEncoder(
            embed_dim=self.out_channels,
            image_embedding_size=self.grid,
            input_image_size=(self.side, self.side),
            mask_in_chans=self.mask_channels,
        )

    def mask_decoder(self) -> Any:
        """Build the mask decoder."""
        from segment_anything.modeling import MaskDecoder, TwoWayTransformer

        transformer = TwoWayTransformer(
            depth=self.decoder_depth,
            embedding_dim=self.out_channels,
            mlp_dim=self.decoder_hidden,
            num_heads=HEADS,
            attention_downsample_rate=self.out_channels // self.attention_width,
        )
        return MaskDecoder(
            transformer_dim=self.out_channels,
            transformer=transformer,
            num_multimask_outputs=self.masks,
            iou_head_depth=self.quality_depth,
            iou_head_hidden_dim=self.quality_hidden,
        )


def read_shapes(tensors: Mapping[str, Tensor], file_name: str) -> SamShapes:
    """Read the sizes of a SAM from tensors with its key names.

    Raises
    ------
    WeightsError
        If this is not a SAM, or one with another image encoder (such as MobileSAM's).
    """
    try:
        return _read(tensors)
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        for kind, beginnings in OTHERS.items():
            if any(key.startswith(beginnings) for key in tensors):
                raise WeightsError(
                    f"{file_name} is a {kind}, which is not supported; use a checkpoint of Meta's "
                    "first SAM, vit_b, vit_l or vit_h."
                ) from error
        raise WeightsError(
            f"{file_name} is no SAM checkpoint: it has not the tensors of its image encoder, "
            "prompt encoder and mask decoder; give one that has."
        ) from error


def _read(tensors: Mapping[str, Tensor]) -> SamShapes:
    encoder, decoder = "image_encoder.", "mask_decoder."
    width, _, patch, _ = tensors[encoder + "patch_embed.proj.weight"].shape
    grid = tensors[encoder + "pos_embed"].shape[1]
    depth = _count(tensors, encoder + "blocks.")
    # A block's table of relative positions has 2 n - 1 rows for windows of n tokens a side.
    reaches = [
        (_rows(tensors, f"{encoder}blocks.{i}.attn.rel_pos_h") + 1) // 2 for i in range(depth)
    ]
    windows = sorted({reach for reach in reaches if reach != grid})
    if len(windows) > 1:
        raise ValueError("attention windows of several sizes")
    channels = tensors[encoder + "neck.0.weight"].shape[0]
    attention = decoder + "transformer.layers.0.cross_attn_token_to_image.q_proj.weight"
    quality = decoder + "iou_prediction_head.layers."
    return SamShapes(
        side=grid * patch,
        patch=patch,
        width=width,
        depth=depth,
        heads=width // tensors[encoder + "blocks.0.attn.rel_pos_h"].shape[1],
        hidden=_rows(tensors, encoder + "blocks.0.mlp.lin1.weight"),
        window=windows[0] if windows else 0,
        everywhere=tuple(i for i, reach in enumerate(reaches) if reach == grid),
        qkv_bias=encoder + "blocks.0.attn.qkv.bias" in tensors,
        out_channels=channels,
        mask_channels=_rows(tensors, "prompt_encoder.mask_downscaling.3.weight"),
        decoder_depth=_count(tensors, decoder + "transformer.layers."),
        decoder_hidden=_rows(tensors, decoder + "transformer.layers.0.mlp.lin1.weight"),
        attention_width=_rows(tensors, attention),
        masks=_rows(tensors, decoder + "mask_tokens.weight") - 1,
        quality_depth=_count(tensors, quality),
        quality_hidden=_rows(tensors, quality + "0.weight"),
    )


def _rows(tensors: Mapping[str, Tensor], key: str) -> int:
    return tensors[key].shape[0]


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """Count the numbered modules below a prefix."""
    numbers = {key[len(prefix) :].split(".")[0] for key in tensors if key.startswith(prefix)}
    return len(numbers)
