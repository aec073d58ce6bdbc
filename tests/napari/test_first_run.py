"""What somebody sees who opens a widget for the first time, on a small screen, in any theme."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from magicgui.widgets import Container, Label, ProgressBar
from qtpy.QtCore import QPoint, QRect
from qtpy.QtGui import QColor

from napari_kindred._napari.common.run_controls import _prepared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_kindred._napari.common.form import Form

WIDGETS = ("Cells and nuclei", "Consistent clusters", "Classes by name")
SMALL = (1366, 768)


@pytest.fixture(params=WIDGETS)
def widget(viewer: Any, request: pytest.FixtureRequest, until: Any) -> Any:
    """Each widget as napari's menu opens it, in a window as large as a small screen."""
    viewer.window.resize(*SMALL)
    viewer.window._qt_window.show()
    _, widget = viewer.window.add_plugin_dock_widget("napari-kindred", request.param)
    if request.param == "Classes by name":
        until(lambda: widget.classifier.vocabulary.vocabulary is not None, timeout=60000)
    return widget


def parts(container: Any) -> Iterator[Any]:
    """Everything that can be entered or pressed, wherever it is on the widget."""
    for part in container:
        if isinstance(part, Container):
            yield from parts(part)
        elif not isinstance(part, Label | ProgressBar):
            yield part


def in_sight(part: Any, window: Any) -> bool:
    """Whether a part is on the window's surface as a whole."""
    native = part.native
    place = QRect(native.mapTo(window, QPoint(0, 0)), native.size())
    seen = native.visibleRegion().boundingRect().size()
    return window.rect().contains(place) and seen == native.size()


def test_every_part_is_explained_in_a_sentence(widget: Any) -> None:
    found = [*parts(widget._rows), *parts(widget._pinned)]
    assert len(found) > 15
    for part in found:
        name = f"{part.widget_type} {part.name or part.label}"
        assert part.tooltip, name
        begins = tuple(map(str, getattr(part, "choices", ())))
        assert part.tooltip[0].isupper() or part.tooltip.startswith(begins), name
        assert part.tooltip.rstrip().endswith((".", ")")), name


def test_what_matters_is_in_sight_on_a_small_screen(viewer: Any, widget: Any, until: Any) -> None:
    viewer.open_sample("napari-kindred", "nuclei")
    window = viewer.window._qt_window
    form: Form = widget.form
    plain = [form.inputs[name] for name in form.inputs if name not in form._advanced]
    needed = [widget.image, widget.axes, *plain, form.more, widget.run, widget.cancel]
    until(lambda: all(in_sight(part, window) for part in needed))
    assert window.height() <= SMALL[1]


def test_run_and_cancel_stay_in_sight_however_much_is_unfolded_and_said(
    viewer: Any, widget: Any, until: Any
) -> None:
    viewer.open_sample("napari-kindred", "nuclei")
    widget.form.more.native.click()
    widget.controls.show_message("A sentence that is long enough to be wrapped. " * 4)
    window = viewer.window._qt_window
    until(lambda: all(in_sight(part, window) for part in (widget.run, widget.cancel)))
    assert window.height() <= SMALL[1]


def test_a_sample_can_be_opened_and_run_with_the_defaults_untouched(
    viewer: Any, widget: Any
) -> None:
    buttons = {button.name: button for button in widget.chosen.samples}
    buttons["nuclei"].native.click()
    if not widget.run.enabled:  # classes need to be told what to look for, and say so
        assert "name" in widget.about.value.lower()
        widget.names.add("nucleus")
    assert widget.run.enabled


def luminance(colour: QColor) -> float:
    """Relative luminance as WCAG 2 defines it."""
    shares = (colour.redF(), colour.greenF(), colour.blueF())
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_a_mistake_can_be_read_in_either_theme(viewer: Any, theme: str) -> None:
    from napari.utils.theme import get_theme

    viewer.theme = theme
    _, widget = viewer.window.add_plugin_dock_widget("napari-kindred", "Cells and nuclei")
    viewer.window._qt_window.show()
    widget.controls.show_message("Something went wrong.", wrong=True)
    (written,) = widget.status.native.styleSheet().removeprefix("color: ").split(";")[:1]
    ground = QColor(get_theme(theme).background.as_hex())
    lighter, darker = sorted((luminance(QColor(written)), luminance(ground)), reverse=True)
    assert (lighter + 0.05) / (darker + 0.05) > 4.5


OPENING = """
import sys
import napari.viewer
from napari.qt import get_qapp
get_qapp()
viewer = napari.viewer.Viewer(show=False)
import numpy
viewer.add_image(numpy.zeros((8, 8)))
from napari_kindred._napari.{name}.widget import {widget}
viewer.window.add_dock_widget({widget}(viewer))
print(*{{each.split(".")[0] for each in sys.modules}})
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "widget"), [("entities", "EntitiesWidget"), ("clusters", "ClustersWidget")]
)
def test_a_widget_opens_without_what_takes_long_to_load(name: str, widget: str) -> None:
    """Each of these takes a good part of a second, and is loaded beside the window when needed."""
    program = OPENING.format(name=name, widget=widget)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not {"torch", "sklearn", "timm", "matplotlib", "zarr"} & set(done.stdout.split())


def test_the_first_labels_are_prepared_in_another_thread(viewer: Any) -> None:
    """Patterns of dashed lines are drawn before there is a layer, not as it is added."""
    from vispy.visuals.line import dash_atlas

    dash_atlas._make_pattern.cache_clear()
    _prepared(lambda: iter(()))
    before = dash_atlas._make_pattern.cache_info().misses
    assert before > 0
    viewer.add_labels(np.zeros((8, 8), np.int32))
    assert dash_atlas._make_pattern.cache_info().misses == before
