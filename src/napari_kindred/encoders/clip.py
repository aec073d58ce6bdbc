"""CLIP as a latent space: every patch of an image in the space of texts."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..compute.device import load_triton_apart, select
from ..core.errors import OptionError, WeightsError
from ..models.download import fetch_from_hub, file_sha256, find_on_hub
from ..models.weights import there
from .timm import PatchEncoder

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names of a model's weights on the hub, if its entry names none."""

HUB = "hf-hub:"
"""Beginning of the name of a repository of the hub, as open_clip writes it."""

CONFIG = "open_clip_config.json"
"""Name of a repository's description of its model."""

ABOUT = "patches in CLIP's space of pictures and texts"

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class OpenedClip:
    """Both sides of a CLIP, in evaluation mode on the CPU.

    Attributes
    ----------
    name : str
        ``<model>/<pretrained>``.
    model : str
        open_clip's name of the model, by which its tokenizer is found.
    network : open_clip.CLIP
    side : int
        Side of its square input, in pixels.
    mean, deviation : tuple of three floats
        Of its training images, 0..1.
    licence, sha256 : str
        Of the weights.
    """

    name: str
    model: str
    network: Any
    side: int
    mean: Triple
    deviation: Triple
    licence: str
    sha256: str


def open_whole_clip(name: str, *, patches: bool = False) -> OpenedClip:
    """Open a CLIP of open_clip, both images and texts.

    Parameters
    ----------
    name : str
        ``<model>/<pretrained>`` with a model and a tag of open_clip, or a model and the path of a
        checkpoint; or ``hf-hub:<owner>/<repository>``; ``clip:`` may stand before it.
    patches : bool
        Whether the model must have a token for every patch.

    Raises
    ------
    OptionError
        If open_clip has no such model or weights, or the model has no token per patch.
    WeightsError
        If open_clip is not installed, or the weights are not installed and cannot be downloaded,
        or do not fit.
    """
    repository = _repository(name)
    if repository:
        model, entry = _hub_model(fetch_from_hub(name, repository, (CONFIG,)), repository, patches)
        path = fetch_from_hub(name, repository, DEFAULT_FILES)
        title = HUB + repository
    else:
        model, pretrained = _split(name, patches=patches)
        found, entry = _local(model, pretrained)
        path = found or fetch_from_hub(name, *_source(name, entry))
        title = f"{model}/{pretrained}"
    network = load_clip(model, path, quick_gelu=bool(entry.get("quick_gelu"))).eval()
    statistics = {**network.visual.preprocess_cfg, **entry}
    side = network.visual.image_size
    return OpenedClip(
        name=title,
        model=model,
        network=network,
        side=side if isinstance(side, int) else side[0],
        mean=tuple(statistics["mean"]),
        deviation=tuple(statistics["std"]),
        licence=_licence(entry),
        sha256=file_sha256(path),
    )


def describe_clip(name: str) -> tuple[str, bool, int, str]:
    """Return licence, whether the weights are installed, their size and their purpose."""
    repository = _repository(name)
    path: Path | None
    if repository:
        path, entry = find_on_hub(repository, DEFAULT_FILES), {"hf_hub": f"{repository}/"}
        if find_on_hub(repository, (CONFIG,)) is None:
            path = None
    else:
        model, pretrained = _split(name)
        path, entry = _local(model, pretrained)
    if path is None:
        path = find_on_hub(*_source(name, entry))
    size = path.stat().st_size if path else 0
    return _licence(entry), path is not None, size, ABOUT


def open_clip_encoder(name: str, device: str | torch.device) -> PatchEncoder:
    """Open the image side of a CLIP."""
    chosen = select(device)
    opened = open_whole_clip(name, patches=True)
    visual = opened.network.visual.to(chosen)
    patch = visual.patch_size[0]
    return PatchEncoder(
        name,
        _patches(visual),
        patch=patch,
        dimension=visual.proj.shape[1] if visual.proj is not None else visual.conv1.out_channels,
        input_size=opened.side // patch * patch,
        mean=opened.mean,
        deviation=opened.deviation,
        device=chosen,
        licence=opened.licence,
        sha256=opened.sha256,
    )


def load_clip(model: str, path: Path, *, quick_gelu: bool = False) -> Any:
    """Load a CLIP of open_clip from a file, tensors only."""
    load_triton_apart()
    import open_clip

    try:
        return open_clip.create_model(
            model, pretrained=str(path), force_quick_gelu=quick_gelu, weights_only=True
        )
    except Exception as error:
        raise WeightsError(
            f"{path.name} holds no weights of CLIP {model!r}, or is damaged; get it again."
        ) from error


def _repository(name: str) -> str:
    """Return the hub's repository that a name means; empty for other names."""
    name = name.removeprefix("clip:")
    if not name.startswith(HUB):
        return ""
    repository = name.removeprefix(HUB)
    if repository.count("/") != 1 or repository.startswith("/") or repository.endswith("/"):
        raise OptionError(
            f"{name!r} names no repository; write hf-hub:<owner>/<repository>, for example "
            "hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224."
        )
    return repository


def _hub_model(config: Path, repository: str, patches: bool) -> tuple[str, dict[str, Any]]:
    """Return open_clip's name of a repository's model, and what its description says of it."""
    _check_installed()
    try:
        facts = json.loads(config.read_text("utf-8"))
        vision = dict(facts["model_cfg"]["vision_cfg"])
        entry = {**facts.get("preprocess_cfg", {}), "hf_hub": f"{repository}/"}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{config.name} of {repository!r} describes no CLIP of open_clip; choose a repository "
            "that does."
        ) from error
    _check_patches(HUB + repository, vision, patches)
    return f"local-dir:{config.parent}", entry


def _check_installed() -> None:
    load_triton_apart()
    try:
        import open_clip  # noqa: F401
    except ImportError as error:
        raise WeightsError(
            "CLIP needs the package open_clip_torch: pip install 'napari-kindred[encoders]'."
        ) from error


def _check_patches(model: str, vision: dict[str, Any], patches: bool) -> None:
    """Raise OptionError if a model should have a token per patch and has not."""
    # ResNets give a list of layers; towers of timm and attention pools have no projected patches.
    plain = isinstance(vision.get("layers"), int) and "timm_model_name" not in vision
    if patches and (not plain or vision.get("attentional_pool")):
        raise OptionError(
            f"CLIP {model!r} has no token per patch; use a plain vision transformer, for example "
            "ViT-B-16."
        )


def _split(name: str, patches: bool = True) -> tuple[str, str]:
    """Split ``clip:<model>/<pretrained>``; checks for a token per patch if ``patches``."""
    _check_installed()
    import open_clip

    model, _, pretrained = name.removeprefix("clip:").partition("/")
    models = open_clip.list_models()
    if model not in models and Path(name).suffix in (".safetensors", ".pt", ".pth", ".bin"):
        raise WeightsError(f"There is no file {name!r}; check the path.")
    if not pretrained:
        raise OptionError(
            f"{name!r} names no weights; write clip:<model>/<pretrained>, for example "
            "clip:ViT-B-16/openai."
        )
    if model not in models:
        raise OptionError(
            f"open_clip has no model {model!r}; open_clip.list_models() lists its models."
        )
    _check_patches(model, open_clip.get_model_config(model)["vision_cfg"], patches)
    return model, pretrained


def _local(model: str, pretrained: str) -> tuple[Path | None, dict[str, Any]]:
    """Return the file that ``pretrained`` is, if any, or else open_clip's entry of that tag."""
    import open_clip

    entry = open_clip.get_pretrained_cfg(model, pretrained)
    if entry:
        return None, dict(entry)
    path = there(pretrained)
    if path is not None:
        return path, {}
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
    raise OptionError(
        f"CLIP {model!r} has no weights {pretrained!r}; use one of its tags ({tags}) or the path "
        "of a checkpoint."
    )


def _source(name: str, entry: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Return the hub's repository with the weights, and their names there."""
    if not entry.get("hf_hub"):
        raise WeightsError(
            f"The weights of {name!r} are at {entry.get('url')} only; get that file and write its "
            "path in place of the tag."
        )
    repository, file = os.path.split(entry["hf_hub"])
    if not file:
        return repository, DEFAULT_FILES
    return repository, (str(Path(file).with_suffix(".safetensors")), file)


def _licence(entry: dict[str, Any]) -> str:
    hub_page = entry.get("hf_hub", "").rpartition("/")[0]
    return f"as stated at huggingface.co/{hub_page}" if hub_page else "as its source states"


def _patches(visual: Any) -> Callable[[Tensor], Tensor]:
    """Return the function from images to patch tokens in the space of texts, (B, D, h, w).

    Every patch gets what pooling applies to the class token (the last norm, the projection); the
    table of positions is stretched to the image's grid.
    """
    classes, places = visual.positional_embedding.split([1, len(visual.positional_embedding) - 1])
    table = places.reshape(1, *visual.grid_size, -1).permute(0, 3, 1, 2)

    def patches(batch: Tensor) -> Tensor:
        grid = visual.conv1(batch)
        stretched = table
        if grid.shape[2:] != table.shape[2:]:
            stretched = F.interpolate(table, grid.shape[2:], mode="bicubic", antialias=True)
        tokens = (grid + stretched).flatten(2).transpose(1, 2)
        first = (visual.class_embedding + classes).expand(len(batch), 1, -1)
        x = visual.transformer(visual.ln_pre(torch.cat([first, tokens], 1)))[:, 1:]
        x = visual.ln_post(x)
        if visual.proj is not None:
            x = x @ visual.proj
        dense: Tensor = x.transpose(1, 2).unflatten(2, grid.shape[2:])
        return dense

    return patches
