"""The protocol of every latent space: an image in, a grid of tokens out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """A batch of images in latent space.

    Attributes
    ----------
    values : Tensor, (B, h, w, D) float32
        On the encoder's device.
    valid : Tensor, (h, w) bool
        False if a token lies in padding.
    """

    values: Tensor
    valid: Tensor


class MaskDecoder(Protocol):
    """Turns points on objects into their masks, given an image's tokens."""

    def decode(self, values: Tensor, points: Tensor, shape: tuple[int, int]) -> Tensor:
        """Predict three candidate masks of the object under the points.

        Parameters
        ----------
        values : Tensor, (h, w, D) float32
            One image's tokens, whole, padding included, as its encoder returned them.
        points : Tensor, (N, 2) float32
            (y, x) in pixels of the image, all on the same object.
        shape : tuple of int
            Height and width of the image that was encoded.

        Returns
        -------
        Tensor, (3, H, W) float32
            Logits; above 0 is inside.
        """
        ...


class Encoder(Protocol):
    """A latent space.

    Attributes
    ----------
    name : str
        The name under which the registry opens it.
    stride : int
        Input pixels per token.
    dimension : int
        Length D of a token.
    licence : str
        Of the weights: an SPDX identifier, or words.
    sha256 : str
        Of the weights' file.
    input_size : int or None
        Side of the square that every image is scaled to fit into; None if images of any size are
        encoded as they are.
    decoder : MaskDecoder or None
    """

    name: str
    stride: int
    dimension: int
    licence: str
    sha256: str
    input_size: int | None
    decoder: MaskDecoder | None

    def encode(self, batch: Tensor, components: Tensor | None = None) -> Tokens:
        """Encode images of one size.

        Parameters
        ----------
        batch : Tensor, (B, 3, H, W) float32
            Intensities of about 0..1, normalised the same way for a whole movie; the encoder
            applies its own mean, deviation, scaling and padding.
        components : Tensor, (n, D) float32, optional
            Tokens are returned as their products with these, (B, h, w, n).  If maps of several
            levels make a token, each level is projected before it is interpolated, which is the
            same except for rounding, and takes a fraction of the memory.

        Returns
        -------
        Tokens
        """
        ...


def projected(values: Tensor, components: Tensor | None) -> Tensor:
    """Return the products of tokens (..., D) with components (n, D), or the tokens for None."""
    return values if components is None else values @ components.to(values).T


def fitted_shape(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """Return the size of an image whose longer side is scaled to ``side`` pixels."""
    scale = side / max(shape)
    height, width = (max(1, int(length * scale + 0.5)) for length in shape)
    return height, width
