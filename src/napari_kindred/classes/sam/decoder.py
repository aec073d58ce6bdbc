"""SAM's mask decoder for many points on one image: the same output with less computation.

``segment_anything``'s decoder treats every prompt as if it came with an image of its outputs.  Here

* what is the same for all prompts (the image's tokens before attention to any) is computed once;
* attention between a images prompt tokens and many image tokens is rearranged: with ``q`` of a
  prompt token and ``k = K x`` of an image token, ``q . k = (K^T q) . x``, so that the projection
  ``K`` is applied to the images instead of the many; values and outputs likewise;
* transposed convolutions whose stride is their kernel's side are matrix products, and only the
  masks themselves are brought into the order of pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def decode(sam: Any, embedding: Tensor, sparse: Tensor, dense: Tensor) -> tuple[Tensor, ...]:
    """Decode prompts of one image as ``sam.mask_decoder`` with ``multimask_output`` does.

    ``embedding`` (1, C, h, w), ``sparse`` (P, T, C), ``dense`` (P, C, h, w); returns ``logits`` (P,
    3, 4 h, 4 w), ``quality`` (P, 3), ``tokens`` (P, 4, C).
    """
    decoder = sam.mask_decoder
    height, width = embedding.shape[-2:]
    outputs = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    prompts = torch.cat([outputs.expand(len(sparse), -1, -1), sparse], 1)
    image = (embedding + dense[:1]).flatten(2).transpose(1, 2)
    positions = sam.prompt_encoder.get_dense_pe().flatten(2).transpose(1, 2)
    queries, image = _two_way_attention(decoder.transformer, prompts, image, positions)
    tokens = queries[:, 1 : 1 + decoder.num_mask_tokens]
    networks = decoder.output_hypernetworks_mlps
    kernels = torch.stack([networks[i](tokens[:, i]) for i in range(1, len(networks))], 2)
    logits = _masks(decoder.output_upscaling, image, kernels, (height, width))
    return logits, decoder.iou_prediction_head(queries[:, 0])[:, 1:], tokens


def _two_way_attention(
    transformer: Any, prompts: Tensor, image: Tensor, positions: Tensor
) -> tuple[Tensor, Tensor]:
    """Attend between prompts (P, T, C) and image (1, N, C) in turn; see TwoWayTransformer."""
    queries = prompts
    for layer in transformer.layers:
        if layer.skip_first_layer_pe:
            queries = layer.self_attn(q=queries, k=queries, v=queries)
        else:
            queries_at = queries + prompts
            queries = queries + layer.self_attn(q=queries_at, k=queries_at, v=queries)
        queries = layer.norm1(queries)
        image_keys = image + positions
        attended = _attend_to_image(
            layer.cross_attn_token_to_image, queries + prompts, image_keys, image
        )
        queries = layer.norm2(queries + attended)
        queries = layer.norm3(queries + layer.mlp(queries))
        image = layer.norm4(
            _attend_to_prompts(
                layer.cross_attn_image_to_token, image_keys, queries + prompts, queries, image
            )
        )
    attended = _attend_to_image(
        transformer.final_attn_token_to_image, queries + prompts, image + positions, image
    )
    return transformer.norm_final_attn(queries + attended), image


def _attend_to_image(attention: Any, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attend from prompts (P, T, C) to an image (P or 1, N, C); returns (P, T, C)."""
    count, length, _ = queries.shape
    heads, images = attention.num_heads, len(keys)
    q = _heads(attention.q_proj(queries), heads)
    # A bias of the keys adds the same to all of a query's products, which softmax ignores.
    projected = q @ _per_head(attention.k_proj.weight, heads) / q.shape[-1] ** 0.5
    rows = projected.reshape(images, -1, projected.shape[-1])
    weights = (rows @ keys.transpose(1, 2)).softmax(-1)
    means = (weights @ values).view(count, heads, length, -1)
    found = means @ _per_head(attention.v_proj.weight, heads).transpose(1, 2)
    found = found.transpose(1, 2).reshape(count, length, -1) + attention.v_proj.bias
    result: Tensor = attention.out_proj(found)
    return result


def _attend_to_prompts(
    attention: Any, queries: Tensor, keys: Tensor, values: Tensor, image: Tensor
) -> Tensor:
    """Attend from an image (P or 1, N, C) to prompts (P, T, C); returns ``image`` plus that."""
    count, length, _ = keys.shape
    heads, images = attention.num_heads, len(queries)
    k = _heads(attention.k_proj(keys), heads) / (attention.k_proj.out_features / heads) ** 0.5
    projected = k @ _per_head(attention.q_proj.weight, heads)
    constant = k @ attention.q_proj.bias.view(heads, -1, 1)
    rows = projected.reshape(images, -1, projected.shape[-1])
    products = (rows @ queries.transpose(1, 2)).view(count, heads, length, -1)
    weights = (products + constant).softmax(2).flatten(1, 2)
    v = _heads(attention.v_proj(values), heads)
    results = v @ _per_head(attention.out_proj.weight.T, heads)
    before = image + attention.out_proj.bias
    return torch.baddbmm(before, weights.transpose(1, 2), results.flatten(1, 2))


def _heads(x: Tensor, heads: int) -> Tensor:
    """Split (P, T, D) into (P, heads, T, D / heads)."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def _per_head(weight: Tensor, heads: int) -> Tensor:
    """Split a matrix (D, C) into (heads, D / heads, C)."""
    return weight.reshape(heads, -1, weight.shape[1])


def _masks(upscaling: Any, image: Tensor, kernels: Tensor, grid: tuple[int, int]) -> Tensor:
    """Enlarge images (P, N, C) fourfold and multiply them with kernels (P, c, M)."""
    first, norm, bend, second, last = upscaling
    fine = _quarters(first, image)
    fine = bend(F.layer_norm(fine, fine.shape[-1:], norm.weight, norm.bias, norm.eps))
    finest = last(_quarters(second, fine))
    masks = finest.flatten(1, -2) @ kernels
    # Rows, columns, rows and columns in a token, rows and columns in a quarter of one; masks.
    parts = masks.view(len(masks), *grid, 2, 2, 2, 2, -1).permute(0, 7, 1, 3, 5, 2, 4, 6)
    whole: Tensor = parts.reshape(len(masks), -1, 4 * grid[0], 4 * grid[1])
    return whole


def _quarters(layer: Any, x: Tensor) -> Tensor:
    """Apply a transposed convolution of side and stride 2 to tokens (…, C): (…, 4, c)."""
    weight = layer.weight.permute(0, 2, 3, 1).flatten(1)
    values_out = F.linear(x, weight.T, layer.bias.repeat(4))
    return values_out.view(*x.shape[:-1], 4, -1)
