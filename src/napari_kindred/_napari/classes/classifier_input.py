"""Input for what defines the classes: a vocabulary, examples, or CLIP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox

from ...core.errors import OptionError
from ...encoders.registry import EncoderInfo, describe_encoder
from ...models.weights import there
from ..common.encoder_input import EncoderInput
from ..common.form import column, labelled, narrow
from .examples_input import ExamplesInput
from .layer import ClassNameSource
from .vocabulary_input import SHIPPED, VocabularyInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from magicgui.widgets.bases import Widget

    from ...classes.config import ClassesConfig
    from .annotations import Target

CLIPS = (
    "ViT-B-16/laion2b_s34b_b88k",
    "ViT-B-16/openai",
    "ViT-L-14-336/openai",
)
"""Models that are offered; others can be typed."""

CLIP_TOOLTIP = (
    "CLIP model that classifies by name. Choose one, or type MODEL/PRETRAINED as open_clip "
    "knows them, MODEL/PATH of a checkpoint, or the path of an ESC-Net that you trained."
)


class ClassifierInput:
    """A choice of vocabulary, examples or CLIP, with the inputs that the chosen one needs."""

    def __init__(
        self,
        viewer: Any,
        target: Callable[[], Target],
        on_change: Callable[[], Any],
        on_name: Callable[[str], Any],
    ) -> None:
        self.kind = ComboBox(
            label="Classes defined by",
            choices=[("a vocabulary", "vocabulary"), ("my examples", "examples"), ("CLIP", "clip")],
            value="vocabulary",
            tooltip="How names are recognised: by a trained vocabulary, by examples that you "
            "annotate, or by CLIP, which was trained on images with captions.",
        )
        narrow(self.kind)
        self.vocabulary = VocabularyInput(on_change, on_name)
        self.examples = ExamplesInput(viewer, target, on_change)
        self.clip = EncoderInput(on_change, "CLIP", CLIP_TOOLTIP, CLIPS, describe_clip)
        self._on_change = on_change
        self._pages = {
            "vocabulary": column(*self.vocabulary.rows()),
            "examples": column(*self.examples.rows()),
            "clip": column(*self.clip.rows()),
        }
        self.kind.changed.connect(self.show_page)

    def rows(self) -> list[Widget]:
        """Return what is shown, from top to bottom."""
        return [labelled(self.kind), *self._pages.values()]

    def show_page(self, *_: Any) -> None:
        """Show the inputs of the choice; to be called once after the rows are laid out."""
        for kind, page in self._pages.items():
            page.visible = kind == self.kind.value
        if self.kind.value == "vocabulary":
            self.vocabulary.read()
        elif self.kind.value == "clip":
            self.clip.describe()
        else:
            self.examples.show_message("")
        self._on_change()

    def name_source(self, config: ClassesConfig) -> ClassNameSource:
        """Return what is chosen."""
        if self.kind.value == "vocabulary":
            return self.vocabulary.name_source()
        if self.kind.value == "examples":
            return self.examples.name_source(config)
        if not self.clip.usable:
            raise OptionError("Choose a CLIP model that can be used; see the line below it.")
        return ClassNameSource("clip", str(self.clip.choice.value))

    def entries(self) -> dict[str, str]:
        """Return the choice as text, from which :meth:`choose` restores it."""
        kind = str(self.kind.value)
        names = {"vocabulary": self.vocabulary.name, "clip": str(self.clip.choice.value)}
        name = names.get(kind, "")
        files = [] if name in SHIPPED else [name, name.partition("/")[2]]
        file = next((str(Path(part).absolute()) for part in files if part and there(part)), "")
        return {"classifier": kind, "name": name, "file": file}

    def choose(self, entries: Mapping[str, Any]) -> str:
        """Restore what :meth:`entries` returned; returns a sentence if something is missing."""
        kind, name, file = (entries.get(key) for key in ("classifier", "name", "file"))
        missing = ""
        if isinstance(file, str) and file and there(file) is None:
            missing = f"{Path(file).name!r}, the vocabulary of your last run, is missing."
        elif kind == "examples" and not self.examples.annotations:
            missing = "The examples of your last run are gone: they last until napari is closed."
        name = name if isinstance(name, str) and not missing else ""
        known = not missing and kind in list(self._pages) and bool(name or kind == "examples")
        self.vocabulary.choose(name if known and kind == "vocabulary" else SHIPPED[0])
        self.clip.choose(name if known and kind == "clip" else CLIPS[0])
        self.kind.value = kind if known else "vocabulary"
        return missing

    def abandon(self) -> None:
        """Discard what is being checked."""
        self.vocabulary.abandon()
        self.clip.abandon()


def describe_clip(name: str) -> EncoderInfo:
    """Return facts about a CLIP, or about an ESC-Net, or raise a KindredError."""
    from ...classes.open import is_network

    path = Path(name)
    if is_network(path):
        return EncoderInfo(
            name,
            "that of its training data",
            True,
            path.stat().st_size,
            "classifying pixels by name",
        )
    return describe_encoder(f"clip:{name}")
