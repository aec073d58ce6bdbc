from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_kindred.cli import main as cli
from napari_kindred.cli.movies import cluster_file, level_path
from napari_kindred.clusters.config import ClusterConfig
from napari_kindred.core.errors import InputError, OptionError, OutputError
from napari_kindred.core.events import finish
from napari_kindred.load import load_segmentation

if TYPE_CHECKING:
    from pathlib import Path

THREE = ClusterConfig(n_clusters=3)


@pytest.fixture
def movie(tmp_path: Path, steps: np.ndarray) -> Path:
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, steps, metadata={"axes": "TYX"})
    return path


@pytest.fixture
def folder(tmp_path: Path, steps: np.ndarray) -> Path:
    path = tmp_path / "frames"
    path.mkdir()
    for number, frame in enumerate(steps):
        iio.imwrite(path / f"t{number + 8}.png", frame)
    return path


@pytest.fixture
def by_grey(greys: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stands in for the real job everywhere."""
    monkeypatch.setattr("napari_kindred.clusters.predict.iter_cluster_stack", greys)
    return greys


def nothing(event: Any) -> None:
    pass


# -- files -----------------------------------------------------------------------------------


def test_a_folder_is_one_movie_and_gives_the_labels_of_the_same_movie_in_a_file(
    tmp_path: Path, movie: Path, folder: Path, by_grey: Any
) -> None:
    config = THREE
    one = cluster_file(movie, tmp_path / "a.ome.zarr", config, nothing)
    two = cluster_file(folder, tmp_path / "out", config, nothing)
    assert two.out == tmp_path / "out" / "frames.tif"
    assert (one.clusters, one.frames) == (two.clusters, two.frames) == (3, 4)
    labels = [load_segmentation(outcome.out).labels for outcome in (one, two)]
    np.testing.assert_array_equal(*labels)


def test_further_levels_and_the_model_are_written_and_the_model_labels_another_movie(
    tmp_path: Path, movie: Path, folder: Path, by_grey: Any
) -> None:
    config = THREE
    kinds = tmp_path / "kinds.safetensors"
    out = tmp_path / "a.ome.tif"
    outcome = cluster_file(movie, out, config, nothing, save_model=kinds, levels=(2, 6))
    assert outcome.more == [kinds, level_path(out, 2), level_path(out, 6)]
    assert level_path(out, 6).name == "a.level6.ome.tif"
    numbers = [load_segmentation(path).labels.max() for path in (out, *outcome.more[1:])]
    assert numbers == [3, 2, 6]
    again = cluster_file(folder, tmp_path / "b.tif", config, nothing, model=kinds)
    np.testing.assert_array_equal(
        load_segmentation(again.out).labels, load_segmentation(out).labels
    )


def test_a_level_that_there_is_not_is_named_and_the_result_is_kept(
    tmp_path: Path, movie: Path, by_grey: Any
) -> None:
    out = tmp_path / "a.tif"
    with pytest.raises(OptionError, match=r"no 40 clusters .* between 2 and 9"):
        cluster_file(movie, out, THREE, nothing, levels=(40,))
    assert load_segmentation(out).labels.max() == 3


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"save_model": "kinds.txt"}, r"end it in .safetensors"),
        ({"save_model": "there.safetensors"}, "there already"),
        ({"levels": (3,)}, r"a.level3.tif.* there already"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_work(
    tmp_path: Path, movie: Path, by_grey: Any, more: dict[str, Any], complaint: str
) -> None:
    for name in ("there.safetensors", "a.level3.tif"):
        (tmp_path / name).write_text("")
    if "save_model" in more:
        more = {"save_model": tmp_path / more["save_model"]}
    with pytest.raises(OutputError, match=complaint):
        cluster_file(movie, tmp_path / "a.tif", THREE, nothing, **more)
    assert not (tmp_path / "a.tif").exists()


def test_a_failure_halfway_keeps_the_frames_before_it(
    tmp_path: Path, movie: Path, by_grey: Any
) -> None:
    by_grey.errors[6] = InputError("Frame T=2 cannot be read.")
    with pytest.raises(InputError, match="T=2"):
        cluster_file(movie, tmp_path / "a.tif", THREE, nothing)
    result = load_segmentation(tmp_path / "a.tif")
    assert result.provenance["complete"] is False
    assert result.provenance["frames_done"] == 4
    assert result.table["area"].sum() == result.labels.size


def test_a_cancelled_run_says_that_its_labels_are_provisional(
    tmp_path: Path, movie: Path, by_grey: Any
) -> None:
    for step, notes in ((2, 2), (6, 1)):  # while it encodes; while it labels for good
        by_grey.errors = {step: KeyboardInterrupt()}
        with pytest.raises(KeyboardInterrupt):
            cluster_file(movie, tmp_path / f"{step}.tif", THREE, nothing)
        told = load_segmentation(tmp_path / f"{step}.tif").provenance["notes"]
        assert told[0] == "stopped: cancelled"
        assert len(told) == notes
        assert ("provisional" in told[-1]) is (step == 2)


# -- the command -----------------------------------------------------------------------------


def test_the_command_takes_flags_levels_and_models(
    tmp_path: Path, folder: Path, by_grey: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    out, kinds = tmp_path / "a.tif", tmp_path / "kinds.safetensors"
    arguments = ["clusters", str(folder), "--out", str(out), "--n-clusters", "3"]
    assert cli.main([*arguments, "--levels", "2,6", "--save-model", str(kinds)]) == 0
    told = capsys.readouterr().out
    assert "3 clusters in 4 frames" in told
    for name in ("a.level2.tif", "a.level6.tif", "kinds.safetensors"):
        assert name in told
    assert load_segmentation(out).provenance["config"]["n_clusters"] == 3
    assert cli.main(arguments) == 1
    assert "there already" in capsys.readouterr().err
    arguments[3] = str(tmp_path / "b.tif")
    assert cli.main([*arguments, "--model", str(kinds)]) == 0
    assert cli.main([*arguments, "--overwrite", "--n-clusters", "auto"]) == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["none.tif", "--out", "{tmp}/a.tif"], "check the path"),
        (["{folder}", "--out", "{tmp}/a.tif", "--model", "none.safetensors"], "check the path"),
        (["{folder}", "--out", "{tmp}/a.tif", "--n-clusters", "many"], "n_clusters='many'"),
        (["{folder}", "--out", "{tmp}/a.mp4"], "name it .ome.zarr or .tif"),
        (["{tmp}", "--out", "{tmp}/a.tif"], "holds no image"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    tmp_path: Path,
    folder: Path,
    by_grey: Any,
    arguments: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [text.format(folder=folder, tmp=tmp_path) for text in arguments]
    assert cli.main(["clusters", *filled]) == 1
    told = capsys.readouterr().err
    assert complaint in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("levels", ["a", "3,", "3 4"])
def test_levels_that_are_no_numbers_are_wrong_usage(
    levels: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["clusters", "a", "--out", "b", "--levels", levels])
    assert caught.value.code == 2
    assert f"{levels!r} must be whole numbers separated by commas" in capsys.readouterr().err


def test_a_missing_frame_is_named_and_kept_in_mind(
    tmp_path: Path, folder: Path, by_grey: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "t9.png").unlink()
    out = tmp_path / "a.tif"
    assert cli.main(["clusters", str(folder), "--out", str(out), "--n-clusters", "3"]) == 0
    assert capsys.readouterr().err.count("between 't8.png' and 't10.png'") == 1
    result = load_segmentation(out)
    assert len(result.labels) == 3
    assert "One frame is missing" in result.provenance["notes"][0]


def test_terminating_keeps_what_is_done_and_exits_with_130(terminated: Any) -> None:
    """As on a cluster: a real process gets a real SIGTERM while it works."""
    result = terminated(
        "clusters",
        """
import time, numpy as np
from napari_kindred.cli.movies import ClusterTask
from napari_kindred.clusters.assembly import ClusterAssembly
from napari_kindred.images.stack import ImageStack
def slow(task, image, metadata_axes):
    assembly = ClusterAssembly(ImageStack.open(image, "TYX"))
    for t in range(50):
        yield assembly.add_provisional((t,), np.ones((20, 30), np.int32), None)
        print(t, flush=True)
        time.sleep(0.1)
ClusterTask.iterate = slow
""",
    )
    assert result.provenance["frames_done"] >= 3
    assert result.table["area"].tolist() == [600 * result.provenance["frames_done"]]


# -- another level, and clusters made background -----------------------------------------------


def test_a_level_and_clusters_to_hide_are_those_of_the_library(
    movie: Path, tmp_path: Path, by_grey: Any, steps: np.ndarray
) -> None:
    out = tmp_path / "five.ome.zarr"
    arguments = ["clusters", str(movie), "--out", str(out), "--n-clusters", "3"]
    assert cli.main([*arguments, "--at-level", "5", "--hide", "2,4"]) == 0
    result = finish(by_grey(steps, config=THREE, metadata_axes="TYX")).at_level(5)
    expected = np.where(np.isin(result.labels, (2, 4)), 0, result.labels)
    saved = load_segmentation(out)
    np.testing.assert_array_equal(saved.labels, expected)
    assert saved.table["index"].tolist() == [1, 3, 5]
    assert saved.provenance["background"] == [2, 4]
    assert saved.provenance["level"] == 5


def test_what_cannot_be_hidden_or_shown_is_said_and_the_result_kept_as_it_came(
    movie: Path, tmp_path: Path, by_grey: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for flag, value, sentence in (
        ("--at-level", "99", "no 99 clusters"),
        ("--hide", "77", "no cluster 77"),
    ):
        out = tmp_path / f"out{flag}.tif"
        arguments = ["clusters", str(movie), "--out", str(out), "--n-clusters", "3"]
        assert cli.main([*arguments, flag, value]) == 1
        assert sentence in capsys.readouterr().err
        assert load_segmentation(out).labels.max() == 3
