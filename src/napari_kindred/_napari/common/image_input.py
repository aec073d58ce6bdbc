"""Input for an image layer, its axes and channel, or for a sample if there is no layer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, LineEdit, PushButton
from napari.layers import Image

from ...core.errors import InputError, KindredError
from ...images.axes import fault_in_axes
from ...images.channels import MOST, as_option
from ...images.image_file import sentences
from ...images.samples import SAMPLES
from ...images.stack import ImageStack
from .form import column, front_label, in_two_lines, labelled, mark, narrow, row, sentence
from .layers import LayerImage, calibrate, describe, read_layer

if TYPE_CHECKING:
    from collections.abc import Callable

    from magicgui.widgets.bases import Widget

PLUGIN = "napari-kindred"

ABOUT_LINES = 3
"""Lines kept for what is said of the image, so that it does not move the form."""

NO_IMAGE = "Open an image first: File ▸ Open File(s), or drag it into the window. Or try a sample:"

TOGETHER = (
    "Further channels that are looked at together with the first, each in its own range of "
    "intensities: nuclei and cell bodies, for example. If each channel is a layer, select them and "
    "choose Merge to Stack in the menu of the right mouse button, then enter C for the new axis."
)


class ImageInput:
    """Input for the image to be segmented, with a description of it."""

    def __init__(
        self, viewer: Any, on_change: Callable[[], Any], on_other_image: Callable[[Any], Any]
    ) -> None:
        self._viewer, self._on_change = viewer, on_change
        self._on_other_image = on_other_image
        self._chosen: Any = None
        self.image: LayerImage | None = None
        self._note = ""
        self.layer = ComboBox(
            label="Image", choices=self._layers, tooltip="The image layer to segment."
        )
        self.axes = LineEdit(
            label="Axes",
            tooltip="One letter per axis: T time, C channel, Z depth, Y, X, and S for colour. "
            "Guessed from the image; correct it if it is wrong.",
        )
        self.channel = ComboBox(
            label="Channel", choices=[], tooltip="Channel to segment, counted from 0."
        )
        self.others = [ComboBox(choices=[], tooltip=TOGETHER) for _ in range(MOST - 1)]
        self.about = sentence(ABOUT_LINES)
        self.samples = column(*(self._sample(name) for name in SAMPLES))
        self._fields = [labelled(widget) for widget in (self.layer, self.axes, self.channel)]
        self._together = row(front_label("together with", TOGETHER), *self.others)
        narrow(self.layer)
        for choice in (self.channel, *self.others):
            narrow(choice)
            choice.changed.connect(self.take_channels)
        self.layer.changed.connect(self.take_layer)
        self.axes.changed.connect(self.take_axes)

    def rows(self) -> list[Widget]:
        """Return what is shown, from top to bottom."""
        return [*self._fields, self._together, self.about, self.samples]

    def _sample(self, name: str) -> PushButton:
        sample = SAMPLES[name]
        button = PushButton(
            text=in_two_lines(sample.title), name=name, tooltip=f"Open this sample: {sample.about}"
        )
        button.changed.connect(partial(self._open, name))
        return button

    def _open(self, name: str, *_: Any) -> None:
        try:
            self._viewer.open_sample(PLUGIN, name)
        except KindredError as error:
            self._say(str(error))

    def _say(self, text: str) -> None:
        self.about.value = self.about.tooltip = text

    def _layers(self, *_: Any) -> list[tuple[str, Image]]:
        return [(layer.name, layer) for layer in self._viewer.layers if isinstance(layer, Image)]

    def reset_choices(self) -> None:
        """Follow the layer list."""
        with self.layer.changed.blocked():
            self.layer.reset_choices()
            # A choice is known by its name, so one that was renamed has to be chosen again.
            for layer in self.layer.choices:
                if layer.unique_id == self._chosen:
                    self.layer.value = layer
        self.take_layer()

    # -- from layer to frames --------------------------------------------------------------

    def take_layer(self, *_: Any) -> None:
        """Show what is guessed about the layer, if another one than before is chosen."""
        # Plugins see layers through proxies, which are new each time: only ids compare.
        layer = self.layer.value
        chosen = None if layer is None else layer.unique_id
        for field in self._fields:
            field.visible = layer is not None
        self.samples.visible = layer is None
        if chosen == self._chosen:
            self._on_change()
            return
        self._chosen = chosen
        self._note = ""
        self._on_other_image(chosen)
        self._read()
        with self.axes.changed.blocked():
            self.axes.value = self.image.guess.axes if self.image else ""
        self.take_axes()

    def _read(self) -> None:
        """Update from the layer: its data or name may have changed."""
        self.image, layer = None, self.layer.value
        if layer is None:
            self._say(NO_IMAGE)
            return
        try:
            if len(self._viewer.layers) == 1:  # others would no longer lie on it
                self._note = calibrate(layer) or self._note
            self.image = read_layer(layer, self._viewer.dims.axis_labels)
        except KindredError as error:
            self._say(str(error))

    def take_axes(self, *_: Any) -> None:
        """Offer the channels that the axes leave to choose from."""
        with self.channel.changed.blocked():
            self.channel.choices = self._channels()
        self.channel.enabled = len(self.channel.choices) > 1
        self.take_channels()

    def take_channels(self, *_: Any) -> None:
        """Offer the other channels to be looked at together with the first."""
        taken = [self.channel.value]
        offered = [(name, number) for name, number in self._channels() if number is not None]
        for choice in self.others:
            left = [(name, number) for name, number in offered if number not in taken]
            before = choice.value if choice.value not in taken else None
            with choice.changed.blocked():
                choice.choices = []  # else those that stay keep their places
                choice.choices = [("–", None), *left]
                choice.value = before if before in choice.choices else None
            choice.visible = bool(left) and None not in taken
            taken.append(choice.value)
        # A widget in a hidden row says of itself that it is hidden, so what is offered decides.
        single = self.channel.value is not None and len(offered) > 1
        self._together.visible = self.layer.value is not None and single
        self._on_change()

    @property
    def channels(self) -> int | str | None:
        """The channel chosen, or several as the option ``channel`` has them."""
        chosen = [choice.value for choice in (self.channel, *self.others)]
        return as_option([number for number in chosen if number is not None] or None)

    def _channels(self) -> list[tuple[str, int | None]]:
        axes = self.letters
        if self.image is None or self._fault(self.image):
            return [("–", None)]
        if "S" in axes:
            return [("colour", None), ("red", 0), ("green", 1), ("blue", 2)]
        if "C" in axes:
            count = int(self.image.data.shape[axes.index("C")])
            names = self.image.file.channels
            named = names if len(names) == count else ("",) * count
            return [(f"{number} {named[number]}".strip(), number) for number in range(count)]
        return [("–", None)]

    def check(self, config: Callable[[], Any]) -> Any:
        """Return a config if the image and it can be used; else say what is wrong."""
        mark(self.axes, wrong=False)
        self._read()
        if self.image is None:
            return None
        try:
            frames, made = self.frames(self.image), config()
        except KindredError as error:
            mark(self.axes, wrong=self._fault(self.image) is not None)
            self._say(str(error))
            return None
        self._say(sentences(describe(self.image, frames), self._note, self.image.file.note))
        return made

    @property
    def letters(self) -> str:
        """The axes that are entered, one letter each."""
        return str(self.axes.value).strip().upper()

    def frames(self, image: LayerImage) -> ImageStack:
        """Open an image with the axes and channel entered; no pixels are read."""
        if not self.letters:
            raise InputError(f"Enter the axes, one letter each: {image.guess.why}.")
        return ImageStack.open(image.file, self.letters, self.channels)

    def _fault(self, image: LayerImage) -> str | None:
        """Return what is wrong with the axes entered, as the end of a sentence, or None."""
        letters = self.letters
        return fault_in_axes(letters, tuple(image.data.shape)) if letters else "are missing"
