"""Examples: what they may hold, and how folders of them are laid out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pytest

from napari_kindred.classes.vocabulary.examples import (
    Example,
    check_marks,
    class_names,
    read_examples,
)
from napari_kindred.core.errors import InputError, OptionError

if TYPE_CHECKING:
    from pathlib import Path

PICTURE = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30)


def write(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        iio.imwrite(folder / f"{name}.png", (PICTURE / 4).astype(np.uint8))
    return folder


# -- names --------------------------------------------------------------------------------------


def test_classes_come_in_the_order_in_which_they_are_first_named() -> None:
    examples = [
        Example(PICTURE, names=("White cell",)),
        Example(PICTURE, points={"red cell": [(1, 1)], "background": [(2, 2)]}),
        Example(PICTURE, boxes={"WHITE  cell": [(0, 0, 2, 2)]}),
        Example(PICTURE, labels=PICTURE * 0, label_names={1: "platelet", 2: "nothing"}),
    ]
    assert class_names(examples) == ("White cell", "red cell", "platelet")
    assert [example.marked for example in examples] == [False, True, True, True]


def test_no_examples_no_class_and_no_name_are_each_said() -> None:
    with pytest.raises(InputError, match="no examples; give"):
        class_names([])
    with pytest.raises(InputError, match="name no class"):
        class_names([Example(PICTURE), Example(PICTURE, names=("background",))])
    with pytest.raises(OptionError, match="cannot be shown"):
        class_names([Example(PICTURE, names=("a\x00b",))])


# -- marks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marks", "complaint"),
    [
        ({"points": {"a": [(3, 4), (20, 4)]}}, r"point of 'a' at y=20, x=4 lies outside .*20 × 30"),
        ({"points": {"a": [(3, -2)]}}, "lies outside"),
        ({"points": {"a": [(3, np.nan)]}}, "no numbers; points are pairs"),
        ({"points": {"a": [(3, 4, 5)]}}, "points are pairs y, x"),
        ({"points": {"a": "here"}}, "points are pairs y, x"),
        ({"boxes": {"a": [(5, 5, 5, 9)]}}, "is empty"),
        ({"boxes": {"a": [(25, 0, 40, 9)]}}, "box of 'a' from y=25, x=0 to y=40, x=9 lies outside"),
        ({"labels": np.zeros((20, 31), int)}, r"shape \(20, 31\).*20 × 30"),
        ({"labels": np.zeros((20, 30))}, "labels of 'slide' are float64"),
    ],
)
def test_marks_outside_the_picture_or_of_another_sort_are_refused(
    marks: dict, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        check_marks(Example(PICTURE, source="slide", **marks), (20, 30))


def test_marks_at_the_very_edge_are_inside() -> None:
    marks = {
        "points": {"a": [(0, 0), (19.4, 29.4), (-0.4, 0)], "b": []},
        "boxes": {"a": [(-3, -3, 2, 2), (19, 29, 25, 35)]},
    }
    check_marks(Example(PICTURE, labels=PICTURE, **marks), (20, 30))


# -- folders ------------------------------------------------------------------------------------


def test_a_folder_per_class_names_its_pictures(tmp_path: Path) -> None:
    write(tmp_path / "red_cell", "one", "two")
    write(tmp_path / "background", "three")
    (tmp_path / ".hidden").mkdir()
    examples = read_examples(tmp_path)
    assert [(e.names, e.source) for e in examples] == [
        (("background",), "background/three.png"),
        (("red cell",), "red_cell/one.png"),
        (("red cell",), "red_cell/two.png"),
    ]
    assert np.asarray(examples[0].image.data).shape == PICTURE.shape
    assert class_names(examples) == ("red cell",)


def test_tables_name_and_mark_pictures(tmp_path: Path) -> None:
    write(tmp_path / "images", "one", "two", "unused")
    (tmp_path / "index.csv").write_text("name,classes\none.png,red cell; white cell\n", "utf-8")
    (tmp_path / "points.csv").write_text("name,class,y,x\none,red cell,3,4\none,red cell,5,6\n")
    (tmp_path / "boxes.csv").write_text(
        "name,width,height,class,xmin,ymin,xmax,ymax\ntwo,30,20,white cell,1,2,11,12\n"
    )
    one, two = read_examples(tmp_path)
    assert one.names == ("red cell", "white cell")
    assert one.points == {"red cell": [(3, 4), (5, 6)]}
    assert two.boxes == {"white cell": [(2, 1, 12, 11)]}
    assert two.names == ()


def test_label_images_with_names_are_complete(tmp_path: Path) -> None:
    write(tmp_path / "images", "one")
    (tmp_path / "labels").mkdir()
    iio.imwrite(tmp_path / "labels" / "one.tif", np.full((20, 30), 2, np.uint8))
    (tmp_path / "classes.csv").write_text("id,name\n0,void\n1,road\n2,tree\n3,background\n")
    (example,) = read_examples(tmp_path)
    assert example.complete
    assert example.label_names == {1: "road", 2: "tree"}
    assert example.labels is not None
    assert (example.labels == 2).all()


@pytest.mark.parametrize(
    ("table", "text", "complaint"),
    [
        ("points", "name,class,row,column\none,a,1,2\n", "lacks the column 'y'"),
        ("points", "name,class,y,x\none,a,1,far\n", "'far' in points.csv is no number"),
        ("points", "name,class,y,x\none,a,1,inf\n", "is no number"),
        ("points", "name,class,y,x\none,a\n", "Line 2 of points.csv is cut short"),
        ("index", "name,classes\nseven,a\n", "names 'seven', but there is no such image"),
        ("boxes", b"\xff\xfe\x00", "boxes.csv cannot be read"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_a_sentence(
    tmp_path: Path, table: str, text: str | bytes, complaint: str
) -> None:
    write(tmp_path, "one")
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / f"{table}.csv").write_bytes(content)
    with pytest.raises(InputError, match=complaint):
        read_examples(tmp_path)


def test_a_folder_without_examples_is_told_how_to_lay_them_out(tmp_path: Path) -> None:
    write(tmp_path / "pictures", "one").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="no folder"):
        read_examples(tmp_path / "nowhere")
    with pytest.raises(InputError, match="a folder per class, or"):
        read_examples(tmp_path / "elsewhere")
    (tmp_path / "labels").mkdir()
    (tmp_path / "classes.csv").write_text("id,name\n1,a\n")
    write(tmp_path / "images", "one")
    write(tmp_path / "labels", "two")
    with pytest.raises(InputError, match="no label image named 'one'"):
        read_examples(tmp_path)
