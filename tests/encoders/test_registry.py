"""Names of latent spaces: listed, described without loading anything, refused in one sentence."""

from __future__ import annotations

import subprocess
import sys

import pytest

from napari_kindred.core.errors import OptionError, WeightsError
from napari_kindred.encoders.registry import describe_encoder, list_encoders, open_encoder
from napari_kindred.models import download


def test_the_offline_ones_are_here_and_the_others_say_that_they_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv(download.CACHE_VARIABLE, str(tmp_path))
    here = {info.name: info.here for info in list_encoders()}
    offline = ["kindred", "efficientnet", "kindred-sam"]
    assert [name for name, is_here in here.items() if is_here] == offline
    assert {"sam_vit_b", "sam_vit_l", "sam_vit_h", "micro_sam_vit_b_lm"} < set(here)
    assert {"timm:<model>", "clip:<model>/<pretrained>"} < set(here)


def test_every_one_has_a_licence_and_says_what_it_is_for():
    for info in list_encoders():
        assert info.licence
        assert info.about


def test_a_file_of_another_size_under_the_name_is_not_here(tmp_path, monkeypatch):
    monkeypatch.setenv(download.CACHE_VARIABLE, str(tmp_path))
    (tmp_path / "sam_vit_b_01ec64.pth").write_bytes(b"too short")
    assert not describe_encoder("sam_vit_b").here


def test_a_sam_file_is_described_by_its_path(tmp_path):
    path = tmp_path / "mine.pth"
    path.write_bytes(b"12345")
    about = describe_encoder(str(path))
    assert (about.here, about.size) == (True, 5)
    with pytest.raises(WeightsError, match="no file"):
        describe_encoder(str(tmp_path / "none.pth"))


@pytest.mark.parametrize("name", ["", "no-such-encoder", "dinov2", "sam_vit_x"])
def test_an_unknown_name_is_refused_naming_the_known_ones(name):
    for ask in (describe_encoder, open_encoder):
        with pytest.raises(OptionError, match=r"use one of kindred, efficientnet.*timm:<model>"):
            ask(name)


def test_looking_them_up_loads_no_torch():
    program = (
        "import sys; from napari_kindred.encoders.registry import list_encoders; "
        "list_encoders(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
