"""Examples drawn by Stable Diffusion: "a photo of a {name}" (U-SAM, section 3.4).

Needs the package's extra ``synth`` and a model on this machine; nothing is downloaded.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compute.device import select
from ..core.errors import OptionError, WeightsError
from ..core.events import Progress, finish
from .names import check_names
from .vocabulary.examples import Example

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import torch

PROMPT = "a photo of a {}"
"""What is asked for, as in the paper."""

IMAGES = 200
"""Pictures of each class in the paper."""


def iter_synthetic_examples(
    names: Sequence[str] | str,
    model: str | Path,
    *,
    images: int = IMAGES,
    steps: int = 30,
    side: int | None = None,
    prompt: str = PROMPT,
    seed: int = 0,
    device: str | torch.device = "auto",
) -> Generator[Progress, None, list[Example]]:
    """Draw pictures of classes, telling the progress; see :func:`synthetic_examples`."""
    names = check_names(names)
    if images < 1 or steps < 1:
        raise OptionError(f"images={images} and steps={steps} must be at least 1.")
    if "{}" not in prompt:
        raise OptionError(f"The prompt {prompt!r} lacks the place for the name, {{}}.")
    yield Progress(0, images * len(names), "loading the model")
    pipeline = open_pipeline(model, device)
    import torch

    examples = []
    for number, name in enumerate(names):
        for index in range(images):
            done = number * images + index
            yield Progress(done, images * len(names), f"drawing {name}")
            # Each picture has a seed of its own, so that more of them begin with the same.
            own = (seed * 1_000_003 + number) * 1_000_003 + index
            chance = torch.Generator().manual_seed(own)
            size = {} if side is None else {"height": side, "width": side}
            drawn = pipeline(
                prompt.format(name), num_inference_steps=steps, generator=chance,
                output_type="np", **size,
            )  # fmt: skip
            pixels = (255 * np.clip(np.nan_to_num(drawn.images[0]), 0, 1)).round().astype(np.uint8)
            examples.append(Example(pixels, "YXS", (name,), source=f"drawn: {name} {index}"))
    return examples


def synthetic_examples(
    names: Sequence[str] | str, model: str | Path, **options: Any
) -> list[Example]:
    """Draw pictures of classes with Stable Diffusion, to teach the classes with.

    Parameters
    ----------
    names : sequence of str, or str
        Classes.
    model : str or Path
        Folder of a text-to-image model in the layout of ``diffusers``.
    images : int
        Pictures of each class; 200 in the paper.
    steps : int
        Steps of the diffusion.
    side : int, optional
        Side of the pictures in pixels, a multiple of 8; that of the model when left out.
    prompt : str
        With ``{}`` where the name goes.
    seed : int
        The same seed draws the same pictures.
    device : str or torch.device

    Returns
    -------
    list of Example
        Each named as a whole, for :func:`.teach_classes`.

    Raises
    ------
    OptionError
        When the extra ``synth`` is not installed, or an option has a value that it cannot take.
    WeightsError
        When there is no model in the folder.
    """
    return finish(iter_synthetic_examples(names, model, **options))


def open_pipeline(model: str | Path, device: str | torch.device = "auto") -> Any:
    """Open a text-to-image model on this machine; only safetensors are read.

    Raises
    ------
    OptionError
        When the extra ``synth`` is not installed.
    WeightsError
        When there is no model in the folder.
    """
    missing = [name for name in ("diffusers", "transformers") if find_spec(name) is None]
    if missing:
        raise OptionError(
            f"Drawing examples needs the package {missing[0]!r}; install it with "
            "pip install 'napari-kindred[synth]'."
        )
    folder = Path(model).expanduser()
    if not (folder / "model_index.json").is_file():
        raise WeightsError(
            f"There is no text-to-image model in {str(model)!r}; give a folder that holds "
            "model_index.json, as diffusers saves it."
        )
    try:
        pipeline = import_module("diffusers").DiffusionPipeline.from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        text = " ".join(str(error).split())[:120]
        raise WeightsError(
            f"The model in {str(model)!r} is incomplete or cannot be read here ({text}); get it "
            "again, in safetensors."
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(select(device))
