"""The fusion refines in windows, and across classes that have no order."""

from __future__ import annotations

import pytest
import torch

from napari_kindred.classes.escnet.fusion import ClassLayer, FusionBlock, WindowLayer


def attention_by_hand(layer, x, guide):
    """Attention of a window layer on one map (h, w, hidden), place by place."""
    height, width, hidden = x.shape
    q, k, v = layer.qkv(layer.norm(x)).chunk(3, -1)
    lead_q, lead_k = layer.lead(guide).chunk(2, -1)
    q, k = q + lead_q, k + lead_k
    n, size = layer.window, hidden // layer.heads
    found = torch.zeros_like(x)
    for y in range(height):
        for c in range(width):
            same = [
                (i, j)
                for i in range(height)
                for j in range(width)
                if (i + layer.shift) // n == (y + layer.shift) // n
                and (j + layer.shift) // n == (c + layer.shift) // n
            ]
            for head in range(layer.heads):
                part = slice(head * size, (head + 1) * size)
                scores = torch.stack([q[y, c, part] @ k[i, j, part] for i, j in same])
                places = [(y - i + n - 1) * (2 * n - 1) + c - j + n - 1 for i, j in same]
                weight = (scores / size**0.5 + layer.places[head, places]).softmax(0)
                found[y, c, part] = sum(
                    w * v[i, j, part] for w, (i, j) in zip(weight, same, strict=True)
                )
    return layer.feed(x + layer.out(found))


@pytest.mark.parametrize(("shift", "size"), [(0, (6, 6)), (1, (6, 6)), (0, (5, 7)), (1, (4, 8))])
def test_windows_are_cut_and_joined_as_a_loop_over_places_does(shift, size):
    torch.manual_seed(0)
    layer = WindowLayer(8, 2, 3, shift)
    torch.nn.init.normal_(layer.places)
    x, guide = torch.randn(1, 2, *size, 8), torch.randn(1, *size, 8)
    with torch.no_grad():
        found = layer(x, guide)
        for kind in range(2):
            expected = attention_by_hand(layer, x[0, kind], guide[0])
            torch.testing.assert_close(found[0, kind], expected, atol=1e-5, rtol=1e-4)


def test_attention_among_classes_is_linear_attention_place_by_place():
    torch.manual_seed(0)
    layer = ClassLayer(8, 2)
    x, guide = torch.randn(1, 5, 2, 3, 8), torch.randn(5, 8)
    with torch.no_grad():
        found = layer(x, guide)
        q, k, v = layer.qkv(layer.norm(x[0, :, 1, 2])).chunk(3, -1)
        lead_q, lead_k = layer.lead(guide).chunk(2, -1)
        positive = torch.nn.functional.elu
        q, k = positive(q + lead_q) + 1, positive(k + lead_k) + 1
        parts = []
        for head in (slice(0, 4), slice(4, 8)):
            weight = q[:, head] @ k[:, head].T
            parts.append(weight / weight.sum(1, keepdim=True) @ v[:, head])
        expected = layer.feed(x[0, :, 1, 2] + layer.out(torch.cat(parts, 1)))
    torch.testing.assert_close(found[0, :, 1, 2], expected, atol=1e-4, rtol=1e-4)


def test_shapes_gradients_and_the_embedding_of_the_block_before():
    torch.manual_seed(0)
    block = FusionBlock(12, 24, hidden=16, heads=2, window=3)
    torch.nn.init.normal_(block.read.weight)
    correlation = torch.randn(2, 3, 6, 5, requires_grad=True)
    guide, texts = torch.randn(2, 12, 6, 5), torch.randn(3, 24)
    refined, embedded = block(correlation, None, guide, texts)
    assert refined.shape == (2, 3, 6, 5)
    assert embedded.shape == (2, 3, 6, 5, 16)
    (refined.square().sum() + embedded.square().sum()).backward()
    # Two biases have no say: a constant in all keys cancels in a softmax; the pair's first window
    # layer has no place of its own beyond that.
    assert correlation.grad.abs().sum() > 0
    assert all(p.grad is not None for p in block.parameters())
    again, _ = block(correlation, embedded, guide, texts)
    assert (again - refined).abs().max() > 1e-3
