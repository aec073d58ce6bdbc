from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_kindred import __version__
from napari_kindred.cli import main as cli
from napari_kindred.entities.config import EntityConfig
from napari_kindred.images.samples import open_sample
from napari_kindred.load import load_segmentation
from napari_kindred.models.weights import WEIGHTS
from napari_kindred.results.metrics import average_precision

if TYPE_CHECKING:
    from pathlib import Path


# -- exit codes and sentences -----------------------------------------------------------------


def test_a_file_is_segmented_with_the_flags_given(
    tmp_path: Path,
    picture: Path,
    bright_things: list[EntityConfig],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.ome.zarr"
    arguments = ["entities", str(picture), "--out", str(out), "--threshold", "0.3", "--axes", "YX"]
    assert cli.main(arguments) == 0
    assert bright_things == [EntityConfig(threshold=0.3, axes="YX")]
    assert load_segmentation(out).labels.max() == 6
    assert "6 entities" in capsys.readouterr().out


def test_a_folder_is_segmented_image_by_image(
    tmp_path: Path,
    picture: Path,
    bright_things: list[EntityConfig],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (folder / name).write_bytes(picture.read_bytes())
    (folder / "d.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    assert cli.main(["entities", str(folder), "--out", str(out)]) == 1
    told = capsys.readouterr()
    assert "18 entities in 3 images" in told.out
    assert "d.png" in told.err
    assert [path.name for path in sorted(out.glob("*.tif"))] == ["a.tif", "b.tif", "c.tif"]
    (folder / "d.png").unlink()
    assert cli.main(["entities", str(folder), "--out", str(out), "--resume"]) == 0
    assert "3 images were done before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["none.png", "--out", "{tmp}/a.tif"], "check the path"),
        (["{picture}", "--out", "{tmp}/a.mp4"], "name it .ome.zarr or .tif"),
        (["{picture}", "--out", "{picture}/a.tif"], "choose another"),
        (
            ["{picture}", "--out", "{tmp}/a.tif", "--threshold", "7"],
            "threshold=7.0 must be at most",
        ),
        (["{picture}", "--out", "{tmp}/a.tif", "--axes", "TYX"], "name 3 axes"),
        (["{picture}", "--out", "{tmp}/a.tif", "--channel", "4"], "only 0"),
        (["{tmp}", "--out", "{tmp}"], "input folder"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_and_nothing_is_written(
    arguments: list[str],
    complaint: str,
    tmp_path: Path,
    picture: Path,
    bright_things: list[EntityConfig],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sorted(tmp_path.rglob("*"))
    filled = [text.format(picture=picture, tmp=tmp_path) for text in arguments]
    assert cli.main(["entities", *filled]) == 1
    told = capsys.readouterr().err
    assert complaint in told
    assert told.startswith("napari-kindred: ")
    assert told.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_an_existing_result_is_only_replaced_when_asked(
    tmp_path: Path, picture: Path, bright_things: list[EntityConfig]
) -> None:
    arguments = ["entities", str(picture), "--out", str(tmp_path / "a.tif")]
    assert [cli.main(arguments), cli.main(arguments)] == [0, 1]
    assert cli.main([*arguments, "--overwrite"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [[], ["entities"], ["nonsense"], ["entities", "a.png", "--out", "b", "--min-area", "x"]],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2


def test_notices_reach_the_user_once(
    tmp_path: Path, bright_things: list[EntityConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(tmp_path / "flat.tif", np.full((20, 30), 9, np.uint8))
    out = str(tmp_path / "out.tif")
    assert cli.main(["entities", str(tmp_path / "flat.tif"), "--out", out]) == 0
    assert capsys.readouterr().err.count("same value (9)") == 1


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_terminating_keeps_what_is_done_and_exits_with_130(terminated: Any, name: str) -> None:
    """As on a cluster, or where a terminal is closed: a real process gets a real signal."""
    result = terminated(
        "entities",
        """
import time, numpy as np
from napari_kindred.core.events import Partial
from napari_kindred.cli.tasks import EntityTask
from napari_kindred.entities.assembly import EntityAssembly
from napari_kindred.images.stack import ImageStack
from napari_kindred.results.segmentation import measure
def slow(task, image, metadata_axes):
    labels = np.ones((20, 30), np.int32)
    assembly = EntityAssembly(ImageStack.open(image, "TYX"))
    for t in range(50):
        yield assembly.add(Partial((t,), labels, measure(labels, labels, frame=t)))
        print(t, flush=True)
        time.sleep(0.1)
EntityTask.iterate = slow
""",
        getattr(signal, name),
    )
    assert result.provenance["frames_done"] == len(result.table) >= 3


def test_a_second_cancel_prints_no_traceback(
    tmp_path: Path,
    picture: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As of a torch that is interrupted while a checkpoint is written because of the first."""

    def cancelled(*_: object) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("[enforce fail at inline_container.cc:603] unexpected pos")

    monkeypatch.setattr("napari_kindred.cli.batch.process_file", cancelled)
    assert cli.main(["entities", str(picture), "--out", str(tmp_path / "out.tif")]) == 130
    assert capsys.readouterr().err == "napari-kindred: cancelled; what was done is kept.\n"


def test_a_cancel_while_the_package_is_imported_prints_no_traceback(tmp_path: Path) -> None:
    program = "import sys, napari_kindred.__main__ as m\n"
    program += "class Stop:\n def find_spec(self, *a): raise KeyboardInterrupt\n"
    program += "sys.meta_path.insert(0, Stop())\nm.run()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert (done.returncode, done.stderr) == (130, b"")


# -- the other commands -----------------------------------------------------------------------


def test_the_demo_writes_labels_table_provenance_and_a_picture(
    tmp_path: Path, bright_things: list[EntityConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert cli.main(["demo", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    for name in ("labels.tif", "labels.csv", "labels.json", "overview.png"):
        assert str(out / name) in told
        assert (out / name).exists()
    picture = iio.imread(out / "overview.png")
    assert picture.ndim == 3
    assert picture.std() > 10
    assert cli.main(["demo", "--out", str(out)]) == 1
    assert "there already" in capsys.readouterr().err


def test_a_demo_without_a_name_finds_a_free_one(
    tmp_path: Path, bright_things: list[EntityConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert [cli.main(["demo"]), cli.main(["demo"])] == [0, 0]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["napari-kindred-demo", "napari-kindred-demo-2"]


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    """As with ``napari-kindred info … | head``."""
    facts = tmp_path / "facts.json"
    facts.write_text("x\n" * 100_000)  # more than a pipe holds
    command = [sys.executable, "-m", "napari_kindred", "info", str(facts)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stdout.readline() == b"x\n"
    running.stdout.close()
    _, told = running.communicate()
    assert (running.returncode, told) == (0, b"")


def test_training_without_data_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "entities", str(tmp_path / "none"), "--out", str(tmp_path / "run")]
    assert cli.main(arguments) == 1
    assert "check the path" in capsys.readouterr().err


def test_the_package_is_run_as_the_command() -> None:
    command = [sys.executable, "-m", "napari_kindred", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"napari-kindred {__version__}"


def test_help_comes_at_once_and_names_the_commands() -> None:
    start = time.monotonic()
    command = [sys.executable, "-m", "napari_kindred", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all(name in told for name in ("demo", "entities", "train", "info"))
    assert time.monotonic() - start < 5  # importing torch alone would take most of this


def test_the_shipped_weights_segment_the_shipped_movie_without_display_or_network(
    tmp_path: Path,
) -> None:
    """The whole way, as a user of a fresh installation goes it."""
    out = tmp_path / "demo"
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    environment = {key: value for key, value in os.environ.items() if key != "DISPLAY"} | nowhere
    command = [sys.executable, "-m", "napari_kindred", "demo", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    result = load_segmentation(out / "labels.tif")
    truth = open_sample("nuclei").truth
    assert truth is not None
    scores = average_precision(zip(truth.astype(np.int64), result.labels, strict=True))
    assert scores["AP50"] > 0.85
    assert result.provenance["weights"]["sha256"] == WEIGHTS["kindred-entities"].sha256
    assert len(result.table) == sum(len(np.unique(frame)) - 1 for frame in result.labels)
