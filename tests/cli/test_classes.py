"""``classes``, ``teach`` and ``info`` of vocabularies, as they are typed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_kindred.classes.resolve import Resolved
from napari_kindred.classes.result import (
    ClassAssembly,
    sum_classes,
)
from napari_kindred.classes.vocabulary.vocabulary import Vocabulary
from napari_kindred.cli import main as cli
from napari_kindred.cli.class_tasks import ClassTask
from napari_kindred.core.events import Progress
from napari_kindred.images.stack import ImageStack
from napari_kindred.load import load_segmentation
from napari_kindred.results.segmentation import provenance

if TYPE_CHECKING:
    from pathlib import Path

CENTRES = ((20, 22, "red"), (22, 70, "green"), (68, 24, "green"), (72, 74, "red"))


def blobs() -> np.ndarray:
    """Grey, with two red and two green discs; (96, 96, 3)."""
    y, x = np.mgrid[:96, :96]
    pixels = np.full((96, 96, 3), 110.0) + np.random.default_rng(0).normal(0, 6, (96, 96, 3))
    for cy, cx, name in CENTRES:
        disc = (y - cy) ** 2 + (x - cx) ** 2 < 14**2
        pixels[disc] = (200, 30, 30) if name == "red" else (30, 190, 30)
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_KINDRED_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the picture, twice, and a table of points on its discs and beside them."""
    folder = tmp_path_factory.mktemp("examples")
    rows = ["name,class,y,x"]
    for name in ("a", "b"):
        iio.imwrite(folder / f"{name}.png", blobs())
        rows += [f"{name},{kind},{y},{x}" for y, x, kind in CENTRES]
        rows += [f"{name},background,46,46", f"{name},background,4,46"]
    (folder / "points.csv").write_text("\n".join(rows))
    return folder


REGIONS = ("--proposals", "regions", "--region-size", "8")


@pytest.fixture(scope="module")
def taught(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A vocabulary that the command wrote, and what it said."""
    out = tmp_path_factory.mktemp("taught") / "colours.kindred"
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(words)))
        assert cli.main(["teach", str(examples), "--out", str(out), *REGIONS]) == 0
    return out, "\n".join(lines)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    iio.imwrite(tmp_path / "blobs.png", blobs())
    return tmp_path / "blobs.png"


# -- the real thing -----------------------------------------------------------------------------


def test_teaching_tells_names_quality_and_what_it_looks_at(taught: tuple[Path, str]) -> None:
    out, told = taught
    assert Vocabulary.load(out).names == ("red", "green")
    for text in (str(out), "2 classes", "red: #", "green: #", "left out in 2 turns", "regions"):
        assert text in told


def test_names_typed_become_labels_of_a_picture(
    taught: tuple[Path, str], picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.tif"
    arguments = ["classes", str(picture), "--out", str(out), "--vocabulary", str(taught[0])]
    assert cli.main([*arguments, "--names", "green, red", "--axes", "YXS"]) == 0
    result = load_segmentation(out)
    assert [result.labels[y, x] for y, x, _ in CENTRES] == [2, 1, 1, 2]
    assert result.labels[46, 46] == 0
    assert result.table["name"].tolist() == ["green", "red"]
    facts = result.provenance
    assert (facts["names"], len(facts["colours"])) == (["green", "red"], 2)
    share = result.table["share"][0]
    assert f"green: {share:.1%} of the pixels" in capsys.readouterr().out
    assert cli.main([*arguments, "--names", "red"]) == 1, "there already"


def test_examples_may_be_learnt_on_the_spot(examples: Path, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.ome.zarr"
    arguments = ["classes", str(picture), "--out", str(out), "--names", "red"]
    assert cli.main([*arguments, "--examples", str(examples), *REGIONS]) == 0
    labels = load_segmentation(out).labels
    assert [labels[y, x] for y, x, _ in CENTRES] == [1, 0, 0, 1]


def test_info_prints_what_a_vocabulary_knows(
    taught: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    vocabulary = Vocabulary.load(taught[0])
    entry = vocabulary.entries[0]
    known = vocabulary.with_entries(
        [type(entry)("red", ("crimson",), "#ff0000", 0.4), *vocabulary.entries[1:]]
    )
    path = known.save(taught[0].with_name("named.kindred"), overwrite=True)
    assert cli.main(["info", str(path)]) == 0
    told = capsys.readouterr().out
    assert "red (crimson): #ff0000, threshold 0.4" in told
    for text in (vocabulary.spec.encoder, vocabulary.spec.sha256, vocabulary.origin):
        assert text in told
    right = round(100 * vocabulary.quality["masks"])
    assert f"{right}% of the marked masks" in told


# -- folders and stacks, with a meaning that sees colours at once ---------------------------------


class Colours:
    """Names the brightest channel of a pixel."""

    def check(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"#{number:06x}" for number in range(len(names)))

    def provenance(self) -> dict[str, Any]:
        return {"classifier": "brightest channel", "proposer": {"kind": "entities"}}


def name_brightest(task: ClassTask, image: Any, metadata_axes: str | None) -> Any:
    """Stand in for the job of a method: a frame is named in no time."""
    task._classifier = Colours()  # type: ignore[assignment]
    frames = ImageStack.open(image, task.config.axes, task.config.channel, metadata_axes)
    colours = Colours().check(task.names)
    assembly = ClassAssembly(frames.output_shape, frames.output_axes, task.names, colours)

    assembly.facts = lambda: provenance(
        method="classes",
        config=task.config,
        frames=frames,
        names=task.names,
        colours=colours,
        notes=["frames are fine"],
        **Colours().provenance(),
    )
    for number, index in enumerate(frames.indices()):
        pixels = frames.read(index).pixels
        labels = np.where(pixels[..., 0] > 150, 1, 0).astype(np.int32)
        found = Resolved(labels, labels, np.array([1]), np.array([0.5], np.float32))
        yield assembly.add(number, index, found)
        yield Progress(number + 1, len(frames), "naming", number + 1, len(frames))
    return assembly.result()


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClassTask, "iter_prepare", lambda task: (event for event in ()))
    monkeypatch.setattr(ClassTask, "iterate", name_brightest)
    monkeypatch.setattr(ClassTask, "weights", lambda task: {})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    for name in ("a", "b", "c"):
        iio.imwrite(path / f"{name}.png", blobs())
    return path


@pytest.mark.usefixtures("instant")
def test_a_folder_gives_labels_and_tables_per_image_and_goes_on_where_it_stopped(
    taught: tuple[Path, str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    start = ["classes", str(folder), "--out", str(out), "--vocabulary", str(taught[0])]
    (folder / "d.png").write_bytes(b"no picture")
    assert cli.main([*start, "--names", "red, green"]) == 1
    told = capsys.readouterr()
    assert "d.png" in told.err
    labels = tifffile.imread(out / "b.tif")
    assert f"red: 3 found, {(labels == 1).mean():.1%} of the pixels" in told.out
    assert "green: 0 found, 0.0%" in told.out
    names = {f"{image}.{end}" for image in "abc" for end in ("tif", "csv", "entities.csv")}
    assert {path.name for path in out.iterdir()} == {*names, "provenance.json", "summary.csv"}
    facts = json.loads((out / "provenance.json").read_text())
    assert facts["names"] == ["red", "green"]
    assert facts["images"]["a"]["colours"] == ["#000000", "#000001"]

    (folder / "d.png").unlink()
    assert cli.main([*start, "--names", "red", "--resume"]) == 1
    assert "begun with other options" in capsys.readouterr().err
    (out / "c.tif").unlink()
    assert cli.main([*start, "--names", "red, green", "--resume"]) == 0
    assert "2 images were done before" in capsys.readouterr().out
    assert (out / "c.tif").exists()


@pytest.mark.usefixtures("instant")
def test_frames_of_a_stack_that_are_done_before_a_cancel_are_kept(
    taught: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    movie, out = tmp_path / "movie.tif", tmp_path / "out.tif"
    tifffile.imwrite(movie, np.stack([blobs()] * 4), metadata={"axes": "TYXS"})
    whole = name_brightest

    def cancelled(*arguments: Any) -> Any:
        job = whole(*arguments)
        for _ in range(4):  # a frame and its progress, twice
            yield next(job)
        raise KeyboardInterrupt

    monkeypatch.setattr(ClassTask, "iterate", cancelled)
    arguments = ["classes", str(movie), "--out", str(out), "--names", "red,green"]
    assert cli.main([*arguments, "--vocabulary", str(taught[0])]) == 130
    result = load_segmentation(out)
    assert result.labels.any(axis=(1, 2)).tolist() == [True, True, False, False]
    table = result.table.set_index("name")
    assert table.loc["red", "area"] == (result.labels == 1).sum()
    assert table.loc["red", "share"] == pytest.approx((result.labels[0] == 1).mean())
    assert table["count"].tolist() == [2, 0]
    facts = result.provenance
    assert (facts["complete"], facts["frames_done"]) == (False, 2)
    assert facts["notes"] == ["frames are fine", "stopped: cancelled"]
    things = pd.read_csv(tmp_path / "out.entities.csv")
    assert things[["frame", "name"]].to_numpy().tolist() == [[0, "red"], [1, "red"]]
    assert (facts["names"], facts["colours"]) == (["red", "green"], ["#000000", "#000001"])


def test_means_over_frames_are_means_over_things() -> None:
    """Three things of 0.9 in one frame and one of 0.5 in another."""
    one = ClassAssembly((8, 8), "YX", ("a", "b"), ("#000000", "#ffffff"))
    labels = np.zeros((8, 8), np.int32)
    labels[0, :3] = 1
    rows = []
    for count, score in ((3, 0.9), (1, 0.5)):
        things = np.zeros((8, 8), np.int32)
        things[0, :count] = np.arange(1, count + 1)
        found = Resolved(labels, things, np.ones(count, int), np.full(count, score, np.float32))
        rows.append(one.add(0, (), found).table)
    table = sum_classes(rows, ["#000000", "#ffffff"], 128)
    assert table["mean_score"][0] == pytest.approx(0.8)
    assert np.isnan(table["mean_score"][1])
    assert table["area"].tolist() == [6, 0]
    assert table["share"].tolist() == [6 / 128, 0]


# -- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--names", ","], "write at least one name"),
        (["--names", "red,Red"], "'Red' is named twice"),
        (["--names", "red\u200b\u202e"], "characters that cannot be shown"),
        (["--names", "blue"], "does not know 'blue'; it knows red, green"),
        (["--names", "red", "--threshold", "2"], "threshold=2.0 must be at most"),
        (["--names", "red", "--axes", "YX"], "name 2 axes"),
        (["--names", "red", "--vocabulary", "none.kindred"], "no vocabulary 'none.kindred'"),
        (["--names", "red", "--vocabulary", "{picture}"], "damaged or cut short"),
        (["--names", "red", "--examples", "nowhere"], "no folder 'nowhere'"),
        (["--names", "red", "--examples", "{tmp}/empty"], "holds no examples"),
        (["--names", "red", "--clip", "ViT-B-32/none"], "ViT-B-32"),
        (["--names", "red", "--encoder", "efficientnet"], "was trained with"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_and_nothing_is_written(
    arguments: list[str],
    complaint: str,
    taught: tuple[Path, str],
    picture: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    given = [text.format(picture=picture, tmp=tmp_path) for text in arguments]
    if not {"--vocabulary", "--examples", "--clip"} & set(given):
        given += ["--vocabulary", str(taught[0])]
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["classes", str(picture), "--out", str(tmp_path / "out.tif"), *given]) == 1
    told = [line for line in capsys.readouterr().err.splitlines() if "guessed" not in line]
    assert len(told) == 1
    assert told[0].startswith("napari-kindred: ")
    assert complaint in told[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_that_lies_where_one_beside_the_labels_would_go_is_said_before_the_work(
    taught: tuple[Path, str], picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.entities.csv").write_text("precious")
    arguments = ["classes", str(picture), "--out", str(tmp_path / "out.tif"), "--names", "red"]
    assert cli.main([*arguments, "--vocabulary", str(taught[0])]) == 1
    assert "out.entities.csv' is there already" in capsys.readouterr().err
    assert not (tmp_path / "out.tif").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere", "--out", "{tmp}/a.kindred"], "no folder 'nowhere'"),
        (["{tmp}/empty", "--out", "{tmp}/a.kindred"], "holds no examples"),
        (["{examples}", "--out", "{tmp}/a.txt"], "end it in .kindred"),
        (["{examples}", "--out", "{tmp}/there.kindred"], "there already"),
        (["{examples}", "--out", "{tmp}/a.kindred", "--steps", "0"], "steps=0 must be at least 1"),
        (["{outside}", "--out", "{tmp}/a.kindred"], "lies outside the image"),
    ],
)
def test_teaching_that_cannot_be_is_refused_in_one_sentence(
    arguments: list[str],
    complaint: str,
    examples: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "there.kindred").write_text("precious")
    (tmp_path / "empty").mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    iio.imwrite(outside / "a.png", blobs())
    (outside / "points.csv").write_text("name,class,y,x\na,red,500,20\n")
    given = [text.format(tmp=tmp_path, examples=examples, outside=outside) for text in arguments]
    assert cli.main(["teach", *given]) == 1
    told = capsys.readouterr().err
    assert complaint in told
    assert told.count("\n") == 1
    assert not (tmp_path / "a.kindred").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["classes", "a.png", "--out", "b.tif"],
        ["classes", "a.png", "--out", "b.tif", "--names", "x", "--clip", "m", "--examples", "e"],
        ["teach", "examples"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
