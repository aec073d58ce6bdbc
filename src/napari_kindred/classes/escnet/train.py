"""Training of ESC-Net: ``napari-kindred train classes DATA --out DIR``."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ...core.errors import OptionError
from ...core.events import finish
from ...encoders.clip import open_whole_clip
from ...encoders.sam_shapes import read_shapes
from ...models.download import file_sha256
from ...models.trainer import Run, Say, prepared
from ...models.weights import resolve
from ...results.metrics import mean_iou
from ..clip.matching import CONTRAST, contrast_beside
from ..clip.text import ClipTexts
from ..sam.model import load_sam, new_sam, shapes
from .checkpoint import TrainedModel, save_esc
from .clip_dense import DenseClip
from .config import EscTrainConfig
from .dataset import IGNORE, NOTHING, ClassData, draw_crop, load_class_data
from .network import EscNet, EscShape, class_loss
from .predict import EscPredictor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ...encoders.clip import OpenedClip
    from ...models.training_data import Example

SURE = 0.5
"""Where there is background, a pixel is a class only if it is at least this probable."""

VOID = 255
"""Number of unknown pixels where maps are compared."""


@dataclass(frozen=True)
class Start:
    """What a run begins with.

    Attributes
    ----------
    model : TrainedModel
    opened : OpenedClip
    sam : dict
        ``name`` and ``sha256`` of the SAM.
    """

    model: TrainedModel
    opened: OpenedClip
    sam: dict[str, str]


class EscTrainer(Run):
    """State of a training run of ESC-Net.

    Parameters
    ----------
    data : ClassData
    out : Path
        Folder made by :func:`napari_kindred.models.trainer.prepared`.
    config : EscTrainConfig
    say : callable
        Gets one line of text now and then.
    """

    network: TrainedModel
    config: EscTrainConfig
    examples: Sequence[Example]
    validation: Sequence[Example]

    def __init__(
        self, data: ClassData, out: Path, config: EscTrainConfig, say: Say = print
    ) -> None:
        self.names = data.names
        self.start = begin(config)
        self.texts = ClipTexts(self.start.opened)
        words = contrast_beside(data.names, CONTRAST)
        known = self.texts.embed([*data.names, *words])
        super().__init__(
            self.start.model,
            lambda model: groups(model, config.pretrained_rate),
            data.train,
            data.validation,
            data.sha256,
            out,
            config,
            say,
        )
        self.known = known.to(self.device)

    def tensors(self) -> dict[str, Tensor]:
        """Leave out what of the CLIP is never trained."""
        return self.network.learnt()

    # -- one step ---------------------------------------------------------------------------

    def batch(self) -> tuple[Tensor, Tensor]:
        """Draw a step's crops (B, 3, S, S) and labels: the same for the same seed and step."""
        config = self.config
        random = np.random.default_rng((config.seed, self.step))
        picks = random.integers(len(self.examples), size=config.batch)
        crops = [draw_crop(self.examples[int(i)], config.side, random) for i in picks]
        pictures, labels = (torch.stack(part) for part in zip(*crops, strict=True))
        return pictures.to(self.device), labels.to(self.device)

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a step."""
        pictures, labels = self.batch()
        count = len(self.names)
        with self.autocast():
            features = self.network.clip(pictures)
            logits = self.network.network(features, self.known[:count], self.known[count:])
        loss = class_loss(logits, labels)
        return loss, {}

    # -- keeping ----------------------------------------------------------------------------

    def averaged(self) -> TrainedModel:
        """Return the network with averaged weights, in evaluation mode."""
        model = deepcopy(self.network)
        model.load_state_dict(self.average, strict=False)
        return model.eval()

    def classifier(self) -> EscPredictor:
        """Return the averaged network as it will be used."""
        return EscPredictor(self.averaged(), self.texts, self.config.side, CONTRAST)

    def describe(self) -> dict[str, Any]:
        """Return what a weights file says about its making."""
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
        """Write the averaged network, without what of CLIP has not changed."""
        save_esc(self.averaged(), path, info)

    def score(self) -> dict[str, float]:
        """Mean IoU of the averaged network on the validation pictures, then of each class."""
        chosen = self.validation[: self.config.validate_images]
        return score_classes(self.classifier(), chosen, self.names)


def score_classes(
    classifier: EscPredictor, examples: Sequence[Example], names: Sequence[str]
) -> dict[str, float]:
    """Score class maps of pictures against their labels.

    Parameters
    ----------
    classifier : EscPredictor
        Or anything with its ``iter_class_map``.
    examples : sequence of Example
        Of a :class:`.dataset.ClassData`.
    names : sequence of str

    Returns
    -------
    dict
        ``mIoU``: the mean over the classes that occur; ``IoU NAME`` for each.
    """
    background = any((example.labels == NOTHING).any() for example in examples)
    pairs = []
    for example in examples:
        pixels = example.pyramid[0].transpose(1, 2, 0).astype(np.float32)
        plane = finish(classifier.iter_class_map(pixels, names))
        best = plane.argmax(0) + 1
        if background:
            best = np.where(plane.max(0) < SURE, 0, best)
        truth = np.where(example.labels == IGNORE, VOID, example.labels + 1)
        pairs.append((truth, best))
    mean, each = mean_iou(pairs, VOID)
    found = {f"IoU {names[number - 1]}": value for number, value in each.items() if number > 0}
    return {"mIoU": mean, **found}


def begin(config: EscTrainConfig) -> Start:
    """Open the CLIP and the SAM that a run begins with, and build the network.

    Raises
    ------
    WeightsError
        When one of them is not here, or damaged.
    OptionError
        When they do not go together with the options.
    """
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
    """Divide what is trained: new layers, and those of CLIP and SAM, which learn slower.

    Parameters
    ----------
    model : TrainedModel
        CLIP's attention is set to learn, unless ``share`` is 0.
    share : float
        Of the learning rate, for what was trained before.
    """
    before = model.network.pretrained()
    if share:
        for parameter in model.clip.attention().values():
            before.append(parameter.requires_grad_())  # type: ignore[arg-type]
    known = {id(parameter) for parameter in before}
    new: list[nn.Parameter] = [p for p in model.network.parameters() if id(p) not in known]
    parts = [
        {"params": _matrices(new), "share": 1.0},
        {"params": _others(new), "share": 1.0, "weight_decay": 0.0},
    ]
    if share:
        parts += [
            {"params": _matrices(before), "share": share},
            {"params": _others(before), "share": share, "weight_decay": 0.0},
        ]
    return parts


def _matrices(parameters: list[nn.Parameter]) -> list[nn.Parameter]:
    return [p for p in parameters if p.ndim > 1]


def _others(parameters: list[nn.Parameter]) -> list[nn.Parameter]:
    """Biases, norms and single numbers, which do not decay."""
    return [p for p in parameters if p.ndim <= 1]


def train_escnet(
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    config: EscTrainConfig | None = None,
    say: Say = print,
) -> Path:
    """Train an ESC-Net.

    Parameters
    ----------
    data : path or sequence of paths
        Data folders as described in :mod:`.dataset`; pictures marked ``val`` are validated on and
        never learnt from.
    out : path
        Folder for checkpoints, log and weights; a run found there is gone on with.
    config : EscTrainConfig, optional
    say : callable
        Gets the log's lines.

    Returns
    -------
    Path
        A file that :func:`.predict.open_esc` opens: the best validated one.

    Raises
    ------
    InputError, OptionError, OutputError, WeightsError
    """
    config = config or EscTrainConfig()
    with prepared(out, config.threads) as folder:
        return EscTrainer(load_class_data(data), folder, config, say).go()
