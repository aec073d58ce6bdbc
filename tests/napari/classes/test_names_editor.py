"""Names are typed one per line, and the squares before them are their colours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QColorDialog

from napari_kindred._napari.classes.names_editor import NamesEditor
from napari_kindred.core.colors import as_hex, hexadecimal, main_colours


@pytest.fixture
def changes() -> list[None]:
    return []


@pytest.fixture
def box(qtbot: Any, changes: list[None]) -> NamesEditor:
    box = NamesEditor(lambda: changes.append(None))
    qtbot.addWidget(box)
    box.resize(250, box.height())
    box.show()
    return box


def test_what_is_typed_is_a_name_per_line(
    box: NamesEditor, qtbot: Any, changes: list[None]
) -> None:
    qtbot.keyClicks(box, "red cell")
    qtbot.keyClick(box, Qt.Key.Key_Return)
    qtbot.keyClicks(box, "  white   cell ")
    assert box.names == ("red cell", "white cell")
    assert changes


def test_a_name_is_added_once_however_it_is_written(box: NamesEditor) -> None:
    for name in ("Red cell", "platelet", "red  CELL"):
        box.add(name)
    assert box.toPlainText() == "Red cell\nplatelet"


def test_every_name_has_a_colour_of_its_own_in_the_order_of_the_palette(box: NamesEditor) -> None:
    box.names = ("a", "b", "c")
    assert box.colours() == tuple(map(hexadecimal, range(3)))
    box.suggest({"B": hexadecimal(0)})
    assert box.colours() == (hexadecimal(1), hexadecimal(0), hexadecimal(2))


def test_a_colour_that_was_chosen_stays_with_its_name(
    box: NamesEditor, changes: list[None]
) -> None:
    box.names = ("a", "b")
    before = len(changes)
    box.set_colour("b", "#123456")
    box.suggest({"b": "#ffffff"})
    box.names = ("B", "a")
    assert box.colours() == ("#123456", hexadecimal(0))
    assert box.chosen() == {"b": "#123456"}
    assert len(changes) > before


def test_a_square_is_seen_beside_each_name_and_asks_for_another_colour(
    box: NamesEditor, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.names = ("a", "b")
    places = [place for _name, _colour, place in box.swatches()]
    picture = box.grab().toImage()
    frame = box.contentsRect().topLeft()
    for place, colour in zip(places, box.colours(), strict=True):
        assert picture.pixelColor(frame + place.center()).name() == colour

    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: QColor("#00ff7f"))
    qtbot.mouseClick(box._gutter, Qt.MouseButton.LeftButton, pos=places[1].center())
    assert box.colours() == (hexadecimal(0), "#00ff7f")
    qtbot.mouseClick(box._gutter, Qt.MouseButton.LeftButton, pos=QPoint(1, 60))
    assert box.chosen() == {"b": "#00ff7f"}


def test_a_dialog_that_is_closed_changes_nothing(
    box: NamesEditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: QColor())
    box.names = ("a",)
    box.ask_colour("a")
    assert box.chosen() == {}


def test_a_line_with_two_names_has_no_square(box: NamesEditor) -> None:
    box.setPlainText("a, b\n\nc")
    assert box.names == ("a", "b", "c")
    assert [name for name, _colour, _place in box.swatches()] == ["c"]


@pytest.mark.parametrize("shade", [(0.96, 0.93, 0.96), (0.6, 0.4, 0.7)], ids=["white", "purple"])
def test_colours_can_be_seen_on_the_image_and_stay_with_their_names(
    box: NamesEditor, shade: tuple[float, float, float]
) -> None:
    from skimage.color import rgb2lab

    box.names = ("nucleus", "plasma", "mine")
    box.suggest({"nucleus": as_hex(shade), "plasma": "#00a040"})
    box.set_colour("mine", as_hex(shade))
    image = np.tile(np.array(shade), (400, 1)) + np.random.default_rng(0).normal(0, 0.01, (400, 3))
    box.avoid(main_colours(image.clip(0, 1)))
    first, second, third = box.colours()
    assert second == "#00a040"
    assert third == as_hex(shade), "chosen by the user"
    seen = np.array([int(first[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    assert np.linalg.norm(rgb2lab(seen) - rgb2lab(np.array(shade))) > 25
    box.keep_colours()
    box.names = ("other", "nucleus")
    assert box.colours()[1] == first
