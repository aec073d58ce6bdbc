"""Names of classes in CLIP's space: the mean over several sentences with the name.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (2021),
section 3.1.4: a name inside a sentence is understood better than alone, and several sentences
better than one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ...compute.device import inference
from ...core.errors import OptionError, WeightsError
from ..names import key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...encoders.clip import OpenedClip

TEMPLATES: tuple[str, ...] = (
    "a photo of a {}.",
    "a picture of a {}.",
    "a close-up photo of a {}.",
    "a photo of many {}.",
    "a microscopy image of a {}.",
    "a micrograph of {}.",
)
"""Sentences that names are put into, for photographs and for micrographs."""

CHUNK = 64
"""Number of sentences that are embedded at once."""


def contrast_beside(names: Sequence[str], contrast: Sequence[str]) -> list[str]:
    """Return the words of the contrast that are not names themselves."""
    taken = {key(name) for name in names}
    return [word for word in contrast if key(word) not in taken]


class ClipTexts:
    """Embeds names with a CLIP, whose network is already on its device.

    ``templates`` are sentences with ``{}`` where a name goes; OptionError without one.
    """

    def __init__(self, opened: OpenedClip, templates: Sequence[str] = TEMPLATES) -> None:
        self.templates = tuple(templates)
        wrong = [text for text in self.templates if "{}" not in text]
        if wrong or not self.templates:
            raise OptionError(
                f"{wrong[0]!r} has no place for a name; write {{}} where it goes."
                if wrong
                else "There is no sentence to put names into; give one such as 'a photo of a {}.'."
            )
        self._opened = opened
        self._embedded: dict[str, Tensor] = {}

    @property
    def sharpness(self) -> float:
        """Factor that CLIP learned for its cosines."""
        return float(self._opened.network.logit_scale.detach().exp())

    def embed(self, names: Sequence[str]) -> Tensor:
        """Embed names as unit vectors (C, D) float32 on the network's device, each name once."""
        new = [name for name in dict.fromkeys(names) if name not in self._embedded]
        if new:
            self._embedded.update(zip(new, self._embed(new), strict=True))
        return torch.stack([self._embedded[name] for name in names])

    def embed_with_contrast(
        self, names: Sequence[str], contrast: Sequence[str], device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Embed names (C, D), and the words of the contrast that are no names (K, D)."""
        texts, words = self.embed(names).to(device), contrast_beside(names, contrast)
        return texts, self.embed(words).to(device) if words else texts[:0]

    def _embed(self, names: Sequence[str]) -> Tensor:
        network = self._opened.network
        sentences = [text.replace("{}", name) for name in names for text in self.templates]
        tokens = self._tokenize(sentences).to(network.logit_scale.device)
        with inference():
            parts = [
                network.encode_text(some, normalize=True) for some in torch.split(tokens, CHUNK)
            ]
        # Out of inference mode, so that training may use them.
        each = torch.cat(parts).float().clone().reshape(len(names), len(self.templates), -1)
        return F.normalize(each.mean(1), dim=1)

    def _tokenize(self, sentences: list[str]) -> Tensor:
        import open_clip

        try:
            tokens: Tensor = open_clip.get_tokenizer(self._opened.model)(sentences)
        except Exception as error:  # each of its kinds of tokenizer fails in its own way
            raise WeightsError(
                f"The tokenizer of CLIP {self._opened.model!r} is not on this machine and could "
                "not be downloaded; use a model with open_clip's own, for example ViT-B-16."
            ) from error
        return tokens
