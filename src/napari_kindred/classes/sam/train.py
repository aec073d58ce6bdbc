"""Training of the small promptable model: ``napari-kindred train sam DATA --out DIR``.

After Segment Anything, appendix A: points and rough boxes, one correction, a loss for the best of
three candidates only.  From scratch on few images an image encoder learns slowly from prompts
alone.  At first, therefore, a dense auxiliary head, which is not saved, predicts every pixel from
the embedding, and four windows of half the side, which are faster, replace one crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ...core.errors import WeightsError
from ...core.events import Event, Notice, Progress, finish
from ...models.augment import IGNORE, draw_crop
from ...models.trainer import Run, prepared
from ...models.training_data import (
    Data,
    Example,
    data_hash,
    group_weights,
    load_splits,
    notes_on,
)
from .config import SamTrainConfig
from .losses import DenseHead, answer_loss, dense_loss
from .model import embed, load_sam, new_sam, predict_masks, save_sam, shapes
from .prompts import PromptBatch, draw_corrections, draw_prompt_batch
from .validate import iter_one_click

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from ...encoders.sam_shapes import SamShapes

PADDED = 0.15
"""Share of the crops that are cut to a smaller height or width, and padded, as images are."""

LARGEST = 0.45
"""Largest median diameter of a crop's objects, as a share of its side."""


@dataclass(frozen=True)
class Batch:
    """A step's crops: images (B, 3, S, S), labels (S, S) with ``IGNORE`` outside the image."""

    images: Tensor
    labels: list[Tensor]
    complete: list[bool]
    corner: tuple[int, int]
    """Token of the whole input at which the crops begin."""
    random: np.random.Generator


class TrainedModel(nn.Module):
    """A SAM and its dense auxiliary head."""

    def __init__(self, sam: Any, channels: int, patch: int) -> None:
        super().__init__()
        self.sam = sam
        self.dense = DenseHead(channels, patch)


class SamTrainer(Run):
    """Training run of the promptable model."""

    network: TrainedModel
    examples: Sequence[Example]
    validation: Sequence[Example]
    config: SamTrainConfig

    def __init__(
        self,
        train: Sequence[Example],
        validation: Sequence[Example],
        out: Path,
        config: SamTrainConfig,
    ) -> None:
        self.probabilities = group_weights(train)
        start, data = _start(config), data_hash(train)
        super().__init__(start, _groups, train, validation, data, out, config)

    # -- one step ---------------------------------------------------------------------------

    def batch(self) -> Batch:
        """Draw a step's crops: the same for the same seed and step."""
        config, sam = self.config, self.network.sam
        random = np.random.default_rng((config.seed, self.step))
        windowed = self.share_done() < config.windows_until
        side = config.side // 2 if windowed else config.side
        high = min(config.diameter_high, side * LARGEST)
        low = min(config.diameter_low, high)
        count = config.batch * 4 if windowed else config.batch
        images, labels, complete = [], [], []
        for i in random.choice(len(self.examples), size=count, p=self.probabilities):
            crop = draw_crop(self.examples[int(i)], side, low, high, random)
            height, width = _cut(side, random)
            image = crop.image.new_zeros(3, side, side)
            scaled = crop.image[:, :height, :width].clamp(0, 1) * 255
            image[:, :height, :width] = (scaled - sam.pixel_mean.cpu()) / sam.pixel_std.cpu()
            crop.labels[height:], crop.labels[:, width:] = IGNORE, IGNORE
            images.append(image)
            labels.append(crop.labels.to(self.device))
            complete.append(crop.complete)
        free = (config.side - side) // config.patch + 1
        corner = int(random.integers(free)), int(random.integers(free))
        return Batch(torch.stack(images).to(self.device), labels, complete, corner, random)

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a step and its terms, each a mean over crops."""
        batch = self.batch()
        dense_weight = self.dense_weight()
        rows: list[dict[str, Tensor]] = []
        with self.autocast():
            embeddings = embed(self.network.sam, batch.images, batch.corner)
            maps = self.network.dense(embeddings) if dense_weight else None
            for i, truth in enumerate(batch.labels):
                terms = self._prompt_losses(embeddings[i : i + 1], truth, batch.complete[i], batch)
                if maps is not None:
                    dense = dense_loss(maps[i].float(), truth, batch.complete[i])
                    terms["dense"] = dense * dense_weight
                rows.append(terms)
        total = batch.images.new_zeros(())
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        for terms in rows:
            for name, value in terms.items():
                total = total + value / len(rows)
                sums[name] = sums.get(name, 0.0) + float(value.detach())
                counts[name] = counts.get(name, 0) + 1
        return total, {name: value / counts[name] for name, value in sums.items()}

    def dense_weight(self) -> float:
        """Weight of the dense loss: 1 at first, fading to 0."""
        until = self.config.dense_until
        return max(0.0, 1 - self.share_done() / until) if until else 0.0

    def _prompt_losses(
        self, embedding: Tensor, labels: Tensor, complete: bool, batch: Batch
    ) -> dict[str, Tensor]:
        """Return the loss terms of prompts for some objects of a crop, some of them corrected."""
        config, sam, random = self.config, self.network.sam, batch.random
        side = 4 * embedding.shape[-1]
        # A window is a quarter of a crop, but one object alone would not teach separation.
        count = -(-config.prompts // 2) if labels.shape[-1] < config.side else config.prompts
        prompt_batch = draw_prompt_batch(labels, complete, count, config.boxes, random, side)
        corrected = random.random() < config.corrections
        if prompt_batch is None:
            return {}
        logits, quality = predict_masks(sam, embedding, prompt_batch.prompts, corner=batch.corner)
        terms = _prompt_loss(logits, quality, prompt_batch, prompt_batch.single)
        if corrected and not bool(prompt_batch.empty.all()):
            correction = draw_corrections(logits, quality, prompt_batch, labels.shape[-1], random)
            logits, quality = predict_masks(
                sam, embedding, prompt_batch.prompts, correction, batch.corner
            )
            # Two prompts for one object are not ambiguous.
            unambiguous = torch.ones_like(prompt_batch.single)
            second = _prompt_loss(logits, quality, prompt_batch, unambiguous)
            terms.update({f"{name}_2": value for name, value in second.items()})
        return terms

    # -- saving -----------------------------------------------------------------------------

    def averaged(self) -> Any:
        """Return the SAM with averaged weights, in evaluation mode."""
        sam = new_sam(sizes(self.config))
        prefix = "sam."
        sam.load_state_dict(
            {k.removeprefix(prefix): v for k, v in self.average.items() if k.startswith(prefix)}
        )
        return sam.to(self.device).eval()

    def write(self, path: Path, info: dict[str, Any]) -> None:
        """Write the averaged SAM, without the dense head."""
        save_sam(self.averaged(), path, info)

    def iter_score(self) -> Generator[Progress, None, dict[str, float]]:
        """One-click IoU of the averaged SAM on the validation images."""
        return iter_one_click(self.averaged(), self.validation[: self.config.validate_images])


def sizes(config: SamTrainConfig) -> SamShapes:
    """Return the shape of the model that these options train."""
    return shapes(
        config.side,
        config.patch,
        config.width,
        config.depth,
        config.heads,
        config.window,
        config.channels,
    )


def _start(config: SamTrainConfig) -> TrainedModel:
    wanted = sizes(config)
    sam = new_sam(wanted, config.seed)
    if config.init != "random":
        given, _ = load_sam(config.init)
        try:
            sam.load_state_dict(given.state_dict())
        except RuntimeError as error:
            raise WeightsError(
                f"{config.init} holds a model of another shape; give its options, or --init random."
            ) from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return TrainedModel(sam, wanted.out_channels, wanted.patch)


def _groups(network: nn.Module) -> list[dict[str, Any]]:
    """Weight decay for matrices; none for biases, norms and position codes."""
    decayed: list[nn.Parameter] = []
    undecayed: list[nn.Parameter] = []
    for name, value in network.named_parameters():
        (undecayed if value.ndim < 2 or "pos_" in name else decayed).append(value)
    return [{"params": decayed}, {"params": undecayed, "weight_decay": 0.0}]


def _cut(side: int, random: np.random.Generator) -> tuple[int, int]:
    """Return the height and width to which a crop is cut before it is padded again."""
    if random.random() >= PADDED:
        return side, side
    short = int(random.integers(side // 2, side))
    return (short, side) if random.random() < 0.5 else (side, short)


def _prompt_loss(
    logits: Tensor, quality: Tensor, prompt_batch: PromptBatch, single: Tensor
) -> dict[str, Tensor]:
    with torch.autocast(logits.device.type, enabled=False):
        return answer_loss(
            logits, quality, prompt_batch.targets, prompt_batch.valid, single, prompt_batch.empty
        )


def iter_train_sam(
    data: Data, out: str | Path, config: SamTrainConfig | None = None
) -> Generator[Event, None, Path]:
    """Train a promptable model, yielding events; see :func:`train_sam`."""
    config = config or SamTrainConfig()
    with prepared(out, config.threads) as folder:
        yield Progress(0, 1, "reading the images")
        examples, validation = load_splits(data)
        for note in notes_on([*examples, *validation]):
            yield Notice(note)
        return (yield from SamTrainer(examples, validation, folder, config).iter_run())


def train_sam(data: Data, out: str | Path, config: SamTrainConfig | None = None) -> Path:
    """Train a promptable model."""
    return finish(iter_train_sam(data, out, config))
