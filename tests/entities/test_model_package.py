"""The network for other programs, run without this package."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_kindred as nk
from napari_kindred.cli.main import main
from napari_kindred.core.errors import OptionError, OutputError
from napari_kindred.entities.checkpoint import save_weights
from napari_kindred.entities.config import NetworkConfig
from napari_kindred.entities.model_package import TOLERANCE, export_model
from napari_kindred.entities.network import EntityNetwork
from napari_kindred.images.samples import open_sample
from napari_kindred.results.metrics import average_precision


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked package."""
    out = tmp_path_factory.mktemp("zoo") / "cells.zip"
    assert main(["export-model", "--out", str(out)]) == 0
    with zipfile.ZipFile(out) as file:
        file.extractall(out.with_suffix(""))
    return out.with_suffix("")


ELSEWHERE = """
import sys
for name in ("napari_kindred", "torch", "scipy", "skimage"):
    sys.modules[name] = None  # as where they are not installed
import numpy as np
import onnx, onnx.reference
sys.path.insert(0, "")
from decode import labels_of
image = np.load("test_input.npy")
session = onnx.reference.ReferenceEvaluator("weights.onnx")
maps = session.run(None, {"image": image})[0]
np.save("maps.npy", maps)
np.save("labels.npy", labels_of(maps[0]))
"""


def test_it_gives_labels_where_this_package_and_torch_do_not_exist(package: Path) -> None:
    command = [sys.executable, "-c", ELSEWHERE]
    done = subprocess.run(command, cwd=package, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = np.load(package / "test_output.npy")
    np.testing.assert_allclose(np.load(package / "maps.npy"), expected, atol=TOLERANCE)
    labels = np.load(package / "labels.npy").repeat(2, 0).repeat(2, 1)
    ours = nk.segment_entities(np.asarray(open_sample("nuclei").data[0])[:128, :128], scale=1.0)
    assert average_precision([(ours.labels, labels)])["AP50"] > 0.8


def test_the_test_tensors_are_those_of_a_fast_runtime(package: Path) -> None:
    openvino = pytest.importorskip("openvino")
    compiled = openvino.Core().compile_model(
        str(package / "weights.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    maps = compiled(np.load(package / "test_input.npy"))[0]
    np.testing.assert_allclose(maps, np.load(package / "test_output.npy"), atol=TOLERANCE)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its open files
def test_the_zoo_takes_the_package(package: Path) -> None:
    spec = pytest.importorskip("bioimageio.spec")
    found = spec.load_description(package / "rdf.yaml", perform_io_checks=True)
    assert type(found).__name__ == "ModelDescr", found.validation_summary.format()
    assert not found.validation_summary.errors
    about = json.loads((package / "rdf.yaml").read_text("utf-8"))
    assert (
        about["config"]["napari-kindred"]["sha256"]
        == nk.segment_entities(np.zeros((32, 32), np.uint8)).provenance["weights"]["sha256"]
    )


def test_decoding_with_numpy_finds_what_ours_finds(package: Path) -> None:
    space: dict[str, Any] = {}
    exec((package / "decode.py").read_text("utf-8"), space)  # noqa: S102 - as a user runs it
    truth = np.asarray(open_sample("nuclei").truth[0])[:128, :128]
    labels = space["labels_of"](np.load(package / "test_output.npy")[0])
    assert labels.dtype == np.int32
    scores = average_precision([(truth, labels.repeat(2, 0).repeat(2, 1))])
    assert scores["AP50"] > 0.9
    none = space["labels_of"](np.full((4, 8, 8), 9.0))
    assert none.shape == (8, 8)
    assert not none.any()


def test_the_network_alone_comes_with_its_decoder(tmp_path: Path) -> None:
    out = export_model(tmp_path / "cells.onnx")
    assert out.stat().st_size > 1e6
    assert "def labels_of" in (tmp_path / "decode.py").read_text("utf-8")
    with pytest.raises(OutputError, match="already"):
        export_model(out)


def test_what_cannot_be_exported_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export-model", "--out", str(tmp_path / "cells.pt")]) == 1
    assert "must end in .zip" in capsys.readouterr().err
    network = EntityNetwork(NetworkConfig(width=16, features="content", content_dim=8))
    weights = tmp_path / "content.safetensors"
    save_weights(network, weights, {"name": "content"})
    with pytest.raises(OptionError, match=r"decode\.py does not know"):
        export_model(tmp_path / "cells.zip", str(weights))
    assert not (tmp_path / "cells.zip").exists()
