"""The form is drawn from a config, whatever the config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest
from magicgui.widgets import Container, PushButton
from qtpy.QtWidgets import QScrollArea

from napari_kindred._napari.common.form import Form, scrolled
from napari_kindred.core.errors import OptionError
from napari_kindred.core.options import check, option, visible
from napari_kindred.entities.config import EntityConfig


@dataclass(frozen=True, slots=True)
class Cake:
    layers: int = option(3, "Layers", "How many.", minimum=1, maximum=9)
    sugar: float = option(0.25, "Sugar", "In kilograms.", minimum=0.0, maximum=1.0, step=0.05)
    icing: bool = option(True, "Icing", "Whether.", advanced=True)
    oven: str = option("gas", "Oven", "Which.", choices=("gas", "electric"), advanced=True)
    heat: float | Literal["auto"] = option("auto", "Heat", "In degrees.", minimum=50.0)
    note: str = option("", "Note", "Free text.")

    def __post_init__(self) -> None:
        check(self)


@pytest.mark.parametrize("config", [Cake, EntityConfig])
def test_an_untouched_form_gives_the_defaults(qapp: Any, config: type) -> None:
    assert Form(config).config() == config()


def test_what_is_entered_arrives_with_its_type(qapp: Any) -> None:
    form = Form(Cake)
    entered = {"layers": 5, "sugar": 0.5, "icing": False, "oven": "electric", "note": "nuts"}
    for name, value in entered.items():
        form.inputs[name].value = value
    form.inputs["heat"].value = " 180 "
    assert form.config() == Cake(**entered, heat=180.0)


def test_ranges_and_explanations_come_from_the_config(qapp: Any) -> None:
    form = Form(EntityConfig)
    for item in visible(EntityConfig):
        assert form.inputs[item.name].tooltip == item.metadata["help"]
    assert (Form(Cake).inputs["layers"].min, Form(Cake).inputs["layers"].max) == (1, 9)


def test_an_entry_out_of_range_is_red_until_it_is_mended(qapp: Any) -> None:
    form = Form(Cake)
    form.inputs["heat"].value = "20"
    with pytest.raises(OptionError, match=r"^Heat: 20\.0 must be at least 50"):
        form.config()
    assert "background" in form.inputs["heat"].native.styleSheet()
    assert form.inputs["note"].native.styleSheet() == ""
    form.inputs["heat"].value = ""
    assert form.config().heat == "auto"
    assert form.inputs["heat"].native.styleSheet() == ""


def test_fields_left_out_are_given_by_the_caller(qapp: Any) -> None:
    form = Form(EntityConfig, leave_out=("axes", "channel"))
    assert "axes" not in form.inputs
    assert form.config(axes="YX", channel=None) == EntityConfig(axes="YX")


def test_what_scrolls_becomes_as_wide_as_what_comes_into_it(qapp: Any, qtbot: Any) -> None:
    outer, button = Container(labels=False), PushButton(text="short")
    inner = scrolled(outer, [button])
    qtbot.addWidget(outer.native)
    outer.show()
    (area,) = outer.native.findChildren(QScrollArea)
    button.text = "a text that is much longer than the one before, " * 3
    qtbot.waitUntil(lambda: area.viewport().width() >= inner.native.minimumSizeHint().width() > 400)


@pytest.mark.parametrize("name", ["entities_widget", "clusters_widget", "classes_widget"])
def test_a_widget_fits_into_a_dock_of_300_pixels_and_run_stays_in_place(
    name: str, request: pytest.FixtureRequest, viewer: Any, qtbot: Any
) -> None:
    widget = request.getfixturevalue(name)
    widget.native.window().show()
    widget.form.unfold(True)
    qtbot.wait(1)
    assert widget.native.minimumSizeHint().width() <= 300  # with samples to choose from
    viewer.add_image(np.zeros((4, 40, 50), np.uint8))
    pages = getattr(widget, "classifier", None)
    for kind in ("vocabulary", "examples", "clip") if pages is not None else ("",):
        if kind:
            pages.kind.value = kind
        qtbot.wait(50)  # until a page lies as it will
        assert widget.native.minimumSizeHint().width() <= 300
    # A longer sentence moves neither the form nor Run.
    run, first = widget.run.native, widget.form.more.native
    before = [one.mapTo(widget.native, one.rect().topLeft()).y() for one in (run, first)]
    widget.about.value = "A sentence that is longer than the one before it. " * 2
    widget.controls.show_message("Nothing was found here; drag a box around the object. " * 2)
    qtbot.wait(1)
    assert [one.mapTo(widget.native, one.rect().topLeft()).y() for one in (run, first)] == before
