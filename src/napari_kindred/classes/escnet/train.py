"""Training of ESC-Net: ``napari-kindred train classes DATA --out DIR``."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ...core.errors import OptionError
from ...core.events import Event, Progress, finish
from ...encoders.clip import open_whole_clip
from ...encoders.sam_shapes import read_shapes
from ...models.download import file_sha256
from ...models.trainer import Run, prepared
from ...models.weights import resolve
from ...results.metrics import mean_iou
from ..clip.matching import CONTRAST
from ..clip.text import ClipTexts, contrast_beside
from ..sam.model import load_sam, new_sam, shapes
from .checkpoint import TrainedModel, save_esc
from .clip_dense import DenseClip
from .config import EscTrainConfig
from .dataset import IGNORE, NOTHING, ClassData, draw_crop, load_class_data
from .network import EscNet, EscShape, class_loss
from .predict import EscPredictor

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from ...encoders.clip import OpenedClip
    from ...models.training_data import Example

CONFIDENCE = 0.5
"""Lowest probability of a class's pixel, if there is background."""

VOID = 255
"""Value of unknown pixels in maps that are compared."""


@dataclass(frozen=True)
class Start:
    """Models at the beginning of a run; ``sam`` has the SAM's ``name`` and ``sha256``."""

    model: TrainedModel
    opened: OpenedClip
    sam: dict[str, str]


class EscTrainer(Run):
    """Training run of ESC-Net."""

    network: TrainedModel
    config: EscTrainConfig
    examples: Sequence[Example]
    validation: Sequence[Example]

    def __init__(self, data: ClassData, out: Path, config: EscTrainConfig) -> None:
        self.names = data.names
        self.start = begin(config)
        self.texts = ClipTexts(self.start.opened)
        words = contrast_beside(data.names, CONTRAST)
        texts = self.texts.embed([*data.names, *words])
        super().__init__(
            self.start.model,
            lambda model: groups(model, config.pretrained_rate),
            data.train,
            data.validation,
            data.sha256,
            out,
            config,
        )
        self.embedded = texts.to(self.device)

    def tensors(self) -> dict[str, Tensor]:
        """Leave out the parts of CLIP that are never trained."""
        return self.network.trained()

    # -- one step ---------------------------------------------------------------------------

    def batch(self) -> tuple[Tensor, Tensor]:
        """Draw a step's crops (B, 3, S, S) and labels: the same for the same seed and step."""
        config = self.config
        random = np.random.default_rng((config.seed, self.step))
        picks = random.integers(len(self.examples), size=config.batch)
        crops = [draw_crop(self.examples[int(i)], config.side, random) for i in picks]
        images, labels = (torch.stack(part) for part in zip(*crops, strict=True))
        return images.to(self.device), labels.to(self.device)

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a step."""
        images, labels = self.batch()
        count = len(self.names)
        with self.autocast():
            features = self.network.clip(images)
            logits = self.network.network(features, self.embedded[:count], self.embedded[count:])
        return class_loss(logits, labels), {}

    # -- saving -----------------------------------------------------------------------------

    def averaged(self) -> TrainedModel:
        """Return the network with averaged weights, in evaluation mode."""
        model = deepcopy(self.network)
        model.load_state_dict(self.average, strict=False)
        return model.eval()

    def classifier(self) -> EscPredictor:
        """Return the averaged network as it will be used."""
        return EscPredictor(self.averaged(), self.texts, self.config.side, CONTRAST)

    def describe(self) -> dict[str, Any]:
        """Return the training's facts for the header of a weights file."""
        opened = self.start.opened
        return {
            **super().describe(),
            "clip": {"name": opened.name, "sha256": opened.sha256},
            "sam": self.start.sam,
            "names": list(self.names),
            "contrast": list(CONTRAST),
            "side": self.config.side,
        }

    def write(self, path: Path, info: dict[str, Any]) -> None:
        """Write the averaged network, without the unchanged parts of CLIP."""
        save_esc(self.averaged(), path, info)

    def iter_score(self) -> Generator[Progress, None, dict[str, float]]:
        """Mean IoU of the averaged network on the validation images, then of each class."""
        chosen = self.validation[: self.config.validate_images]
        return iter_score_classes(self.classifier(), chosen, self.names)


def iter_score_classes(
    classifier: EscPredictor, examples: Sequence[Example], names: Sequence[str]
) -> Generator[Progress, None, dict[str, float]]:
    """Score class maps of images against the labels of a :class:`.dataset.ClassData`.

    Returns ``mIoU``, the mean over the classes that occur, and ``IoU NAME`` for each.
    """
    background = any((example.labels == NOTHING).any() for example in examples)
    pairs = []
    for number, example in enumerate(examples):
        yield Progress(number, len(examples), "validating, image")
        pixels = example.pyramid[0].transpose(1, 2, 0).astype(np.float32)
        plane = finish(classifier.iter_class_map(pixels, names))
        best = plane.argmax(0) + 1
        if background:
            best = np.where(plane.max(0) < CONFIDENCE, 0, best)
        truth = np.where(example.labels == IGNORE, VOID, example.labels + 1)
        pairs.append((truth, best))
    mean, each = mean_iou(pairs, VOID)
    found = {f"IoU {names[number - 1]}": value for number, value in each.items() if number > 0}
    return {"mIoU": mean, **found}


def begin(config: EscTrainConfig) -> Start:
    """Open the CLIP and the SAM that a run begins with, and build the network."""
    opened = open_whole_clip(config.clip, patches=True)
    clip = DenseClip(opened)
    if config.side % clip.patch:
        raise OptionError(
            f"side={config.side} must be a multiple of the {clip.patch} pixels of a patch of "
            f"CLIP {opened.model!r}."
        )
    if config.sam == "random":
        sam, source = new_sam(shapes(), config.seed), {"name": "random", "sha256": ""}
    else:
        sam, _ = load_sam(config.sam)
        path = resolve(config.sam, pytorch=True)
        source = {"name": config.sam, "sha256": file_sha256(path)}
    shape = EscShape(
        dimension=clip.dimension,
        width=clip.width,
        sam=read_shapes(sam.state_dict(), config.sam),
        blocks=config.blocks,
        hidden=config.hidden,
        heads=config.heads,
        window=config.window,
        regions=config.regions,
        above=config.above,
        sam_block=config.sam_block,
        fusion=config.fusion,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        sharpness = float(opened.network.logit_scale.detach().exp())
        network = EscNet(shape, sharpness, sam)
    return Start(TrainedModel(network, clip), opened, source)


def groups(model: TrainedModel, share: float) -> list[dict[str, Any]]:
    """Parameters of new layers, and those of CLIP and SAM at a share of the learning rate.

    CLIP's attention is trained unless ``share`` is 0.
    """
    before = model.network.pretrained()
    if share:
        for parameter in model.clip.attention().values():
            before.append(parameter.requires_grad_())  # type: ignore[arg-type]
    old = {id(parameter) for parameter in before}
    new = [p for p in model.network.parameters() if id(p) not in old]
    return _groups_of(new, 1.0) + (_groups_of(before, share) if share else [])


def _groups_of(parameters: list[nn.Parameter], share: float) -> list[dict[str, Any]]:
    """Return the matrices, and the biases, norms and single numbers, which do not decay."""
    matrices = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    return [
        {"params": matrices, "share": share},
        {"params": others, "share": share, "weight_decay": 0.0},
    ]


def iter_train_escnet(
    data: str | Path | Sequence[str | Path], out: str | Path, config: EscTrainConfig | None = None
) -> Generator[Event, None, Path]:
    """Train an ESC-Net, yielding events; see :func:`train_escnet`."""
    config = config or EscTrainConfig()
    with prepared(out, config.threads) as folder:
        yield Progress(0, 1, "reading the images")
        return (yield from EscTrainer(load_class_data(data), folder, config).iter_run())


def train_escnet(
    data: str | Path | Sequence[str | Path], out: str | Path, config: EscTrainConfig | None = None
) -> Path:
    """Train an ESC-Net on folders as in :mod:`.dataset`; returns the path of the best weights.

    A run found in ``out`` is resumed; images marked ``val`` are only validated on.
    """
    return finish(iter_train_escnet(data, out, config))
