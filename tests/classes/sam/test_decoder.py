"""Points of one picture are answered as segment_anything's own mask decoder answers them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from napari_kindred.classes.sam.decoder import decode
from napari_kindred.classes.sam.model import new_sam, shapes

SMALL = {"side": 64, "width": 32, "depth": 2, "heads": 2, "window": 4}


def answers_of_sam(sam: Any, embedding: Any, sparse: Any, dense: Any) -> tuple[Any, ...]:
    """What the model's own decoder gives; its mask tokens by a hook on its transformer."""
    seen: list[Any] = []
    transformer = sam.mask_decoder.transformer
    hook = transformer.register_forward_hook(lambda _module, _inputs, out: seen.append(out[0]))
    logits, quality = sam.mask_decoder(
        image_embeddings=embedding,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
    )
    hook.remove()
    return logits, quality, seen[0][:, 1:5]


@pytest.mark.parametrize("channels", [32, 256])
@pytest.mark.parametrize("count", [1, 5])
def test_masks_qualities_and_tokens_are_those_of_the_model_s_own_decoder(
    channels: int, count: int
) -> None:
    """With every weight and bias drawn anew, so that none may be left out."""
    sam = new_sam(shapes(**SMALL, channels=channels)).eval()
    generator = torch.Generator().manual_seed(3)
    for tensor in sam.mask_decoder.parameters():
        spread = 0.7 / max(1.0, tensor[0].numel() ** 0.5) if tensor.ndim > 1 else 0.3
        tensor.data.normal_(0, spread, generator=generator)
    embedding = torch.randn(1, channels, 8, 8, generator=generator)
    places = 64 * torch.rand(count, 1, 2, generator=generator)
    with torch.inference_mode():
        inside = torch.ones(count, 1, dtype=torch.int)
        sparse, dense = sam.prompt_encoder(points=(places, inside), boxes=None, masks=None)
        expected = answers_of_sam(sam, embedding, sparse, dense)
        found = decode(sam, embedding, sparse, dense)
    assert [one.shape for one in found] == [one.shape for one in expected]
    for one, two in zip(found, expected, strict=True):
        assert two.std() > 1e-3, "the answers are all alike, the test tells nothing"
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4 * float(two.abs().max()))
