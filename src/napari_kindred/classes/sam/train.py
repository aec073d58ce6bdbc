"""Training of the small promptable model: ``napari-kindred train sam DATA --out DIR``.

After Segment Anything, appendix A: points and rough boxes, one correction, only the best of three
candidates learns.  From scratch on few pictures an image encoder learns slowly from prompts
alone: at first a dense helper, which is not kept, reads every pixel off the embedding, and
windows of half the side stand for whole crops, four for one, since they are answered faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ...core.errors import WeightsError
from ...models.augment import IGNORE, draw_crop
from ...models.trainer import Run, Say, prepared
from ...models.training_data import Example, data_hash, group_weights, load_splits
from .config import SamTrainConfig
from .losses import DenseHead, answer_loss, dense_loss
from .model import embed, load_sam, new_sam, predict_masks, save_sam, shapes
from .prompts import PromptBatch, draw_corrections, draw_prompt_batch
from .validate import one_click

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ...encoders.sam_shapes import SamShapes

PADDED = 0.15
"""Share of the crops that are cut to a smaller height or width, and padded, as pictures are."""


LARGEST = 0.45
"""Median diameter of a crop's things, as a share of its side, is not above this."""


@dataclass(frozen=True)
class Batch:
    """A step's crops.

    Attributes
    ----------
    images : Tensor, (B, 3, S, S) float32
        As the image encoder wants them.
    labels : list of Tensor, (S, S) int64
        ``IGNORE`` outside the picture.
    complete : list of bool
        Whether unlabelled pixels are background for certain.
    corner : tuple of int
        Token of the whole input at which the crops are taken to begin.
    random : numpy Generator
        To go on drawing from.
    """

    images: Tensor
    labels: list[Tensor]
    complete: list[bool]
    corner: tuple[int, int]
    random: np.random.Generator


class TrainedModel(nn.Module):
    """A SAM and its dense helper."""

    def __init__(self, sam: Any, channels: int, patch: int) -> None:
        super().__init__()
        self.sam = sam
        self.dense = DenseHead(channels, patch)


class SamTrainer(Run):
    """State of a training run of the promptable model.

    Parameters
    ----------
    train, validation : sequence of Example
    out : Path
        Folder for ``last.pt``, ``last.safetensors``, ``best.safetensors`` and ``log.csv``.
    config : SamTrainConfig
    say : callable
        Gets one line of text now and then.
    """

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
        say: Say = print,
    ) -> None:
        self.chances = group_weights(train)
        start, data = _start(config), data_hash(train)
        super().__init__(start, _groups, train, validation, data, out, config, say)

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
        for i in random.choice(len(self.examples), size=count, p=self.chances):
            crop = draw_crop(self.examples[int(i)], side, low, high, random)
            height, width = _cut(side, random)
            picture = crop.image.new_zeros(3, side, side)
            scaled = crop.image[:, :height, :width].clamp(0, 1) * 255
            picture[:, :height, :width] = (scaled - sam.pixel_mean.cpu()) / sam.pixel_std.cpu()
            crop.labels[height:], crop.labels[:, width:] = IGNORE, IGNORE
            images.append(picture)
            labels.append(crop.labels.to(self.device))
            complete.append(crop.complete)
        free = (config.side - side) // config.patch + 1
        corner = int(random.integers(free)), int(random.integers(free))
        return Batch(torch.stack(images).to(self.device), labels, complete, corner, random)

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a step and its terms, each a mean over crops."""
        batch = self.batch()
        help_weight = self.help_weight()
        rows: list[dict[str, Tensor]] = []
        with self.autocast():
            embeddings = embed(self.network.sam, batch.images, batch.corner)
            maps = self.network.dense(embeddings) if help_weight else None
            for i, truth in enumerate(batch.labels):
                terms = self._answers(embeddings[i : i + 1], truth, batch.complete[i], batch)
                if maps is not None:
                    dense = dense_loss(maps[i].float(), truth, batch.complete[i])
                    terms["dense"] = dense * help_weight
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

    def help_weight(self) -> float:
        """Weight of the dense helper now: 1 at first, fading to 0."""
        until = self.config.dense_until
        return max(0.0, 1 - self.share_done() / until) if until else 0.0

    def _answers(
        self, embedding: Tensor, labels: Tensor, complete: bool, batch: Batch
    ) -> dict[str, Tensor]:
        """Ask for some things of one crop, correct the answers now and then, and return losses."""
        config, sam, random = self.config, self.network.sam, batch.random
        side = 4 * embedding.shape[-1]
        # A window is a quarter of a crop, but a thing alone in it would teach no telling apart.
        count = -(-config.prompts // 2) if labels.shape[-1] < config.side else config.prompts
        prompt_batch = draw_prompt_batch(labels, complete, count, config.boxes, random, side)
        corrected = random.random() < config.corrections
        if prompt_batch is None:
            return {}
        logits, quality = predict_masks(sam, embedding, prompt_batch.prompts, corner=batch.corner)
        terms = _judge(logits, quality, prompt_batch, prompt_batch.single)
        if corrected and not bool(prompt_batch.empty.all()):
            correction = draw_corrections(logits, quality, prompt_batch, labels.shape[-1], random)
            logits, quality = predict_masks(
                sam, embedding, prompt_batch.prompts, correction, batch.corner
            )
            # Two prompts for one thing leave no doubt which is meant.
            again = _judge(logits, quality, prompt_batch, torch.ones_like(prompt_batch.single))
            terms.update({f"{name}_2": value for name, value in again.items()})
        return terms

    # -- keeping ----------------------------------------------------------------------------

    def averaged(self) -> Any:
        """Return the SAM with averaged weights, in evaluation mode."""
        sam = new_sam(sizes(self.config))
        prefix = "sam."
        sam.load_state_dict(
            {k.removeprefix(prefix): v for k, v in self.average.items() if k.startswith(prefix)}
        )
        return sam.to(self.device).eval()

    def write(self, path: Path, info: dict[str, Any]) -> None:
        """Write the averaged SAM, without the dense helper."""
        save_sam(self.averaged(), path, info)

    def score(self) -> dict[str, float]:
        """One-click IoU of the averaged SAM on the validation pictures."""
        return one_click(self.averaged(), self.validation[: self.config.validate_images])


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
        known, _ = load_sam(config.init)
        try:
            sam.load_state_dict(known.state_dict())
        except RuntimeError as error:
            raise WeightsError(
                f"{config.init} holds a model of another shape; give its options, or --init random."
            ) from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return TrainedModel(sam, wanted.out_channels, wanted.patch)


def _groups(network: nn.Module) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and codes of places do not."""
    decays: list[nn.Parameter] = []
    stays: list[nn.Parameter] = []
    for name, value in network.named_parameters():
        (stays if value.ndim < 2 or "pos_" in name else decays).append(value)
    return [{"params": decays}, {"params": stays, "weight_decay": 0.0}]


def _cut(side: int, random: np.random.Generator) -> tuple[int, int]:
    """Height and width to which a crop is cut before it is padded again."""
    if random.random() >= PADDED:
        return side, side
    short = int(random.integers(side // 2, side))
    return (short, side) if random.random() < 0.5 else (side, short)


def _judge(
    logits: Tensor, quality: Tensor, prompt_batch: PromptBatch, single: Tensor
) -> dict[str, Tensor]:
    with torch.autocast(logits.device.type, enabled=False):
        return answer_loss(
            logits, quality, prompt_batch.targets, prompt_batch.valid, single, prompt_batch.empty
        )


def train_sam(
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    config: SamTrainConfig | None = None,
    say: Say = print,
) -> Path:
    """Train a promptable model.

    Parameters
    ----------
    data : path or sequence of paths
        Data folders as described in :mod:`napari_kindred.models.training_data`; pictures marked
        ``val`` are validated on and never learnt from.
    out : path
        Folder for checkpoints, log and weights; a run found there is gone on with.
    config : SamTrainConfig, optional
    say : callable
        Gets the log's lines.

    Returns
    -------
    Path
        A SAM file, which ``open_encoder`` opens: the best validated one.

    Raises
    ------
    InputError, OptionError, OutputError, WeightsError
    """
    config = config or SamTrainConfig()
    with prepared(out, config.threads) as folder:
        return SamTrainer(*load_splits(data), folder, config, say).go()
