"""Training of the entity network: ``napari-kindred train entities DATA --out DIR``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import OptionError, WeightsError
from ..core.events import Event, Notice, Progress, finish
from ..core.options import changed
from ..models.augment import Crop, draw_crop, draw_synthetic_crop
from ..models.trainer import Run, prepared
from ..models.training_data import (
    Data,
    Example,
    TrainingArrays,
    data_hash,
    group_weights,
    load_splits,
    notes_on,
    read_emphasis,
    spread,
)
from .checkpoint import load_network, save_weights
from .config import LOSSES, TrainConfig
from .model_card import write_card
from .network import DenseMaps, EntityNetwork, load_imagenet
from .objective import crop_loss
from .recipe import find_recipe
from .validate import iter_choose_settings, iter_learn_scoring, iter_score_examples

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

FOUND = {"name", "sha256", "network"}
"""Facts that are added when a weights file is opened."""

EARLY = ("conv_stem", "bn1", "blocks.0", "blocks.1", "blocks_0", "blocks_1", "stem", "stages_0")
"""Prefixes of the names of an encoder's early layers, in timm's families."""

CLIP = 2.0
"""Longest gradient that is not shortened."""


class Trainer(Run):
    """Training run of the entity network."""

    network: EntityNetwork
    examples: Sequence[Example]
    validation: Sequence[Example]
    config: TrainConfig

    def __init__(
        self,
        train: Sequence[Example],
        validation: Sequence[Example],
        out: Path,
        config: TrainConfig,
        network: EntityNetwork | None = None,
    ) -> None:
        self.recipe = find_recipe(config.recipe) if config.recipe else None
        if self.recipe is None:
            self.probabilities = group_weights(train, read_emphasis(config.emphasis, train))
            self.synthetic: dict[str, float] = {}
        else:
            self.probabilities = self.recipe.probabilities(train)
            self.synthetic = dict(self.recipe.synthetic)
        self.weights, self.frozen = LOSSES[config.losses], False
        self.partners: dict[str, list[Example]] = {}
        for example in train:
            if example.diameter > 0:
                self.partners.setdefault(example.group, []).append(example)
        self.config = config
        start, data = _start(config) if network is None else network, data_hash(train)
        self.old = {k: v.detach().clone() for k, v in start.state_dict().items()}
        super().__init__(start, self.groups, train, validation, data, out, config, clip=CLIP)

    def groups(self, network: EntityNetwork) -> list[dict[str, Any]]:
        """Give the pretrained encoder a share of the others' learning rate."""
        encoder = list(network.encoder.parameters())
        in_encoder = {id(parameter) for parameter in encoder}
        rest = [p for p in network.parameters() if id(p) not in in_encoder]
        return [{"params": encoder, "share": self.config.encoder_rate}, {"params": rest}]

    # -- one step ---------------------------------------------------------------------------

    def train_step(self) -> dict[str, float]:
        """Do one optimiser step; late in the run the encoder's early stages are frozen."""
        if not self.frozen and self.share_done() >= self.config.freeze_after:
            self.frozen = True
            for name, parameter in self.network.encoder.named_parameters():
                if name.startswith(EARLY):
                    parameter.requires_grad = False
        return super().train_step()

    def batch(self) -> tuple[Tensor, list[Tensor], list[bool], np.random.Generator]:
        """Draw a step's crops: the same for the same seed and step."""
        config = self.config
        random = np.random.default_rng((config.seed, self.step))
        crops = [self.crop(random) for _ in range(config.batch)]
        images = torch.stack([c.image for c in crops]).to(self.device)
        images = images.contiguous(memory_format=torch.channels_last)
        labels = [c.labels.to(self.device) for c in crops]
        return images, labels, [c.complete for c in crops], random

    def crop(self, random: np.random.Generator) -> Crop:
        """Draw one crop, synthetic with the recipe's probability of each kind."""
        config, draw = self.config, random.random()
        debris = random.random() < config.debris
        for kind, share in self.synthetic.items():
            draw -= share
            if draw < 0:
                return draw_synthetic_crop(kind, config.crop, random, debris)
        example = self.examples[int(random.choice(len(self.examples), p=self.probabilities))]
        low, high = config.diameter_low, config.diameter_high
        other = self.partner(example, random)
        return draw_crop(example, config.crop, low, high, random, other, debris)

    def partner(self, example: Example, random: np.random.Generator) -> Example | None:
        """Draw the image of the same group that entities are pasted from, if any."""
        if random.random() >= self.config.paste or example.diameter <= 0:
            return None
        group = self.partners[example.group]
        return group[int(random.integers(len(group)))]

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        """Return the loss of a step and its terms, each a mean over crops."""
        images, labels, complete, random = self.batch()
        with self.autocast():
            maps = self.network(images)
        total = images.new_zeros(())
        sums: dict[str, float] = {}
        stride = self.network.config.output_stride
        for i, truth in enumerate(labels):
            terms = crop_loss(maps_of(maps, i), truth, complete[i], self.weights, stride, random)
            total = total + torch.stack(list(terms.values())).sum()
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / len(images)
        return total / len(images), sums

    # -- saving and resuming ----------------------------------------------------------------

    def averaged(self) -> EntityNetwork:
        """Return the network with averaged weights, mixed with those of ``init`` by ``blend``."""
        return self.mixed(self.average, self.config.blend)

    def mixed(self, tensors: Mapping[str, Tensor], blend: float) -> EntityNetwork:
        """Return a network with tensors mixed with those that training began with."""
        network = EntityNetwork(self.network.config)
        mixed = {
            name: value.lerp(self.old[name].to(value.device), blend)
            if value.is_floating_point()
            else value
            for name, value in tensors.items()
        }
        network.load_state_dict(mixed)
        return network.to(self.device).eval()

    def write(self, path: Path, info: dict[str, Any]) -> None:
        """Write the averaged network."""
        save_weights(self.averaged(), path, info)

    def iter_train(self) -> Generator[Event, None, Path]:
        """Train, then learn the score of the entities that the saved network finds.

        A run by a recipe chooses threshold and minimum score on the validation images, too, and
        writes the card.
        """
        path, count = (yield from super().iter_train()), self.config.score_images
        network, info = load_network(path, self.device, for_training=True)
        if count:
            learning = iter_learn_scoring(network, spread(self.examples)[:count])
            network.scoring = yield from self.within_run(learning)
            save_weights(network, path, {key: info[key] for key in info.keys() - FOUND})
        if self.recipe is not None:
            choosing = iter_choose_settings(network, self.validation)
            settings = yield from self.within_run(choosing)
            log = self.out / "log.csv"
            card = write_card(path, log, self.config.recipe, self.recipe, info, settings)
            yield Notice(f"The model card is {card}.")
        return path

    def resume_weights(self, path: Path) -> bool:
        """Resume from averaged weights if they are of this run's options and data."""
        if not path.exists():
            return False
        network, info = load_network(path, self.device, for_training=True)
        if network.config != self.network.config:
            raise WeightsError(f"{path} is from other options; remove it or choose another --out.")
        if info["data_sha256"] != self.data:
            raise OptionError(f"{path} was trained on other data; choose another --out.")
        self.network.load_state_dict(network.state_dict())
        self.average = {k: v.detach().clone() for k, v in self.tensors().items()}
        self.step = self.first_step = int(info["steps"])
        self.seconds = 60 * float(info["minutes"])
        return True

    def iter_score(self) -> Generator[Progress, None, dict[str, float]]:
        """Score the averaged network on the validation images; mSA decides."""
        chosen = self.validation[: self.config.validate_images]
        scores = yield from iter_score_examples(self.averaged(), chosen)
        return {"mSA": scores.pop("mSA"), **scores}


def _start(config: TrainConfig) -> EntityNetwork:
    if config.blend and config.init in ("imagenet", "timm", "random"):
        raise OptionError(f"blend={config.blend} needs a weights file to begin from, in init.")
    torch.manual_seed(config.seed)
    network = EntityNetwork(config.network())
    if config.init == "imagenet":
        load_imagenet(network)
    elif config.init == "timm":
        network.encoder = _download_encoder(config.encoder)
    elif config.init != "random":
        network, _ = load_network(config.init, torch.device("cpu"), for_training=True)
        if network.config != config.network():
            raise WeightsError(f"{config.init} holds a network of another shape: {network.config}.")
    return network.to(memory_format=torch.channels_last)


def _download_encoder(name: str) -> nn.Module:
    import timm

    try:
        encoder: nn.Module = timm.create_model(name, features_only=True, pretrained=True)
    except (RuntimeError, OSError) as error:
        raise WeightsError(
            f"timm has no weights for encoder={name!r} or could not download them; go online, or "
            "train with --init imagenet or --init random."
        ) from error
    return encoder


def maps_of(maps: DenseMaps, index: int) -> DenseMaps:
    """Return one image's maps out of a batch, (C, h, w) float32 each."""
    rest = (None if m is None else m[index].float() for m in maps[1:])
    return DenseMaps(maps.background[index].float(), *rest)


def iter_train(
    data: Data, out: str | Path, config: TrainConfig | None = None
) -> Generator[Event, None, Path]:
    """Train an entity network, yielding events; see :func:`train`.

    Yields :class:`.Progress`, :class:`.Notice` and :class:`.Metrics`.  Closed at any step, it
    leaves a checkpoint, from which the next call resumes.
    """
    config = config or TrainConfig()
    if config.recipe:
        recipe = find_recipe(config.recipe)
        others = changed(config).keys() - {"recipe", "device", "finish_at"}
        if others:
            raise OptionError(
                f"The recipe {config.recipe!r} sets all options but device and finish_at; "
                f"leave out {', '.join(sorted(others))}."
            )
        kept = {name: getattr(config, name) for name in ("recipe", "device", "finish_at")}
        config = dataclasses.replace(recipe.config, **kept)
        data = recipe.folders(_one_folder(data))
    with prepared(out, config.threads) as folder:
        yield Progress(0, 1, "reading the images")
        examples, validation = load_splits(data)
        for note in notes_on([*examples, *validation]):
            yield Notice(note)
        return (yield from Trainer(examples, validation, folder, config).iter_run())


def train(data: Data, out: str | Path, config: TrainConfig | None = None) -> Path:
    """Train an entity network.

    Parameters
    ----------
    data : path, sequence of paths, or TrainingArrays
        Data folders as described in :mod:`napari_kindred.models.training_data`, or arrays.
    out : path
        Folder for checkpoints, log and weights; a run found there is resumed.
    config : TrainConfig, optional

    Returns
    -------
    Path
        Weights file for ``EntityConfig(weights=…)``: the best validated ones.

    Raises
    ------
    InputError, OptionError, OutputError, WeightsError
    """
    return finish(iter_train(data, out, config))


def _one_folder(data: Data) -> str | Path:
    if isinstance(data, str | Path):
        return data
    if isinstance(data, TrainingArrays) or len(data) > 1:
        raise OptionError("A recipe takes one folder that contains all its data folders.")
    return data[0]
