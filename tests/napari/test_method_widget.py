"""What every dock widget asks for: an image, its axes and channel, and options that can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_kindred.images.samples import SAMPLES

if TYPE_CHECKING:
    from napari_kindred._napari.entities.widget import EntitiesWidget

WIDGET = "entities_widget"


def test_without_an_image_it_offers_the_samples_and_a_click_opens_one(
    viewer: Any, widget: EntitiesWidget, qtbot: Any
) -> None:
    viewer.window._qt_window.show()
    assert "Open an image" in widget.about.value
    assert not widget.run.enabled
    assert not widget.axes.native.isVisible()
    offered = {button.name: button for button in widget.chosen.samples}
    assert list(offered) == list(SAMPLES)
    qtbot.waitUntil(offered["phase"].native.isVisible)
    offered["phase"].native.click()
    assert widget.image.value.name == "phase"
    assert widget.axes.value == "TYX"
    assert widget.run.enabled
    qtbot.waitUntil(widget.axes.native.isVisible)
    assert not offered["phase"].native.isVisible()


def test_an_image_that_is_opened_is_taken_and_its_axes_are_shown(
    viewer: Any, widget: EntitiesWidget, opened_movie: Any
) -> None:
    assert widget.image.value is opened_movie
    assert widget.axes.value == "TYX"
    assert "4 frames of 96 × 128 pixels" in widget.about.value
    assert widget.run.enabled
    viewer.layers.remove(opened_movie)
    assert not widget.run.enabled
    assert "Open an image" in widget.about.value


def test_axes_that_do_not_fit_turn_red_with_a_sentence_and_run_is_off(
    widget: EntitiesWidget, opened_movie: Any
) -> None:
    for axes, fault in (
        ("TYXX", "4 axes"),
        ("QYX", "'Q'"),
        ("TTX", "twice"),
        ("", "Enter the axes"),
    ):
        widget.axes.value = axes
        assert "background-color" in widget.axes.native.styleSheet()
        assert fault in widget.about.value
        assert not widget.run.enabled
    widget.axes.value = "zyx"
    assert widget.axes.native.styleSheet() == ""
    assert widget.run.enabled


def test_an_option_that_does_not_fit_turns_red_and_run_is_off(
    viewer: Any, widget: EntitiesWidget, discs: tuple[np.ndarray, np.ndarray]
) -> None:
    viewer.add_image(discs[0])
    scale = widget.form.inputs["scale"]
    for text in ("big", "-1", "1000"):
        scale.value = text
        assert "background-color" in scale.native.styleSheet()
        assert "Scale: " in widget.about.value
        assert not widget.run.enabled
    scale.value = "0.5"
    assert scale.native.styleSheet() == ""
    assert widget.run.enabled
    assert widget.check().scale == 0.5


def test_the_message_of_a_run_goes_when_another_image_is_chosen(
    viewer: Any, widget: EntitiesWidget, run: Any, discs: tuple[np.ndarray, np.ndarray]
) -> None:
    viewer.add_image(discs[0], name="first")
    run()
    assert "Found" in widget.status.value
    widget.image.value = viewer.add_image(discs[0], name="second")
    assert widget.status.value == ""


def test_an_unsafe_guess_asks_to_be_checked(viewer: Any, widget: EntitiesWidget) -> None:
    viewer.add_image(np.zeros((3, 64, 64)))
    assert widget.axes.value == "CYX"
    assert "check the axes" in widget.about.value


def test_channels_follow_the_axes(viewer: Any, widget: EntitiesWidget) -> None:
    viewer.add_image(np.zeros((3, 64, 64)))
    assert widget.channel.enabled
    assert list(widget.channel.choices) == [0, 1, 2]
    widget.axes.value = "TYX"
    assert not widget.channel.enabled
    assert widget.check().channel is None
    viewer.add_image(np.zeros((64, 64, 3), np.uint8), name="colour", rgb=True)
    widget.image.value = viewer.layers["colour"]
    assert widget.axes.value == "YXS"
    assert list(widget.channel.choices) == [None, 0, 1, 2]


def test_several_channels_are_chosen_one_after_the_other(
    viewer: Any, widget: EntitiesWidget
) -> None:
    viewer.window._qt_window.show()
    pixels = np.random.default_rng(0).integers(0, 99, (4, 64, 64))
    layer = viewer.add_image(pixels)
    widget.axes.value = "CYX"
    second, third = widget.chosen.others
    assert second.native.isVisible()
    assert not third.native.isVisible()
    widget.channel.value, second.value = 2, 0
    assert list(second.choices) == [None, 0, 1, 3]
    assert list(third.choices) == [None, 1, 3]
    assert widget.check().channel == "2+0"
    third.value = 3
    assert widget.check().channel == "2+0+3"
    widget.channel.value = 0  # what is taken as the first is none of the others
    assert widget.check().channel == "0+3"
    widget.axes.value = "TYX"
    assert not second.native.isVisible()
    assert widget.check().channel is None
    viewer.layers.remove(layer)
    assert not second.native.isVisible()
    viewer.add_image(np.zeros((64, 64, 3), np.uint8), rgb=True)
    assert not second.native.isVisible()  # all colours
    widget.channel.value = 2
    second.value = 0
    assert widget.check().channel == "2+0"


def test_more_options_are_folded_away_and_every_option_is_explained(
    viewer: Any, widget: EntitiesWidget, qtbot: Any
) -> None:
    viewer.window._qt_window.show()
    memory = widget.form.inputs["memory"].native
    assert not memory.isVisible()
    widget.form.more.native.click()
    qtbot.waitUntil(memory.isVisible)
    widget.form.more.native.click()
    qtbot.waitUntil(lambda: not memory.isVisible())
    for entry in (*widget.form.inputs.values(), widget.axes, widget.channel, widget.image):
        assert entry.tooltip


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (np.zeros((1, 64)), "too small"),
        (np.zeros((9, 64, 1)), "too small"),
        (np.zeros((2, 2, 2, 2, 32, 32)), "2 to 5 axes"),
    ],
)
def test_an_image_that_cannot_be_segmented_gets_one_sentence_and_no_layer(
    viewer: Any, labels_layers: Any, widget: EntitiesWidget, data: np.ndarray, fault: str
) -> None:
    viewer.add_image(data)
    assert fault in widget.about.value
    widget.start()
    assert not widget.run.enabled
    assert labels_layers() == []
