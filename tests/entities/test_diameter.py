"""A diameter in place of a scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import napari_kindred as nk
from napari_kindred.core.errors import InputError, OptionError
from napari_kindred.entities.auto_scale import LARGEST, TARGET
from napari_kindred.entities.config import EntityConfig
from napari_kindred.entities.diameter import at_diameter, in_words, pixel_size
from napari_kindred.images.image_file import ImageFile
from napari_kindred.images.samples import open_sample

MICRO = ((0.5, 0.5), ("micrometer", "micrometer"))


@pytest.mark.parametrize(
    ("entered", "kept", "pixels"),
    [
        (64, 64.0, 64),
        ("64", 64.0, 64),
        ("64 px", 64.0, 64),
        ("32 um", "32 um", 64),
        ("32µm", "32 µm", 64),
        ("32000 nm", "32000 nm", 64),
        ("0,032 mm", "0.032 mm", 64),
    ],
)
def test_a_diameter_becomes_a_scale(entered: Any, kept: Any, pixels: float) -> None:
    config = EntityConfig(diameter=entered)
    assert config.diameter == kept
    found = at_diameter(config, *MICRO)
    assert found.diameter is None
    assert found.scale == pytest.approx(TARGET / pixels, rel=0.01)


def test_an_image_is_not_enlarged_without_end() -> None:
    assert at_diameter(EntityConfig(diameter=1), None, None).scale == LARGEST


@pytest.mark.parametrize("wrong", ["wide", "-3", "0", "8 feet", "inf", "um"])
def test_what_is_no_diameter_is_refused_in_one_sentence(wrong: str) -> None:
    with pytest.raises(OptionError, match="must be a number above 0"):
        EntityConfig(diameter=wrong)


def test_scale_and_diameter_together_are_refused() -> None:
    with pytest.raises(OptionError, match="say the same"):
        EntityConfig(diameter=8, scale=0.5)


@pytest.mark.parametrize("units", [None, ("pixel", "pixel"), ("second", "micrometer")])
def test_a_length_needs_the_size_of_a_pixel(units: Any) -> None:
    with pytest.raises(InputError, match="give the diameter in pixels"):
        nk.segment_entities(
            ImageFile(np.zeros((40, 40), np.uint8), "YX", (0.5, 0.5), units), diameter="8 um"
        )


def test_a_run_by_diameter_is_that_of_its_scale_and_keeps_what_was_entered() -> None:
    picture = np.asarray(open_sample("nuclei").data[0])[:96, :96]
    image = ImageFile(picture, "YX", *MICRO)
    given = nk.segment_entities(image, diameter="10 um")
    scaled = nk.segment_entities(image, scale=TARGET / 20)
    assert given.labels.any()
    np.testing.assert_array_equal(given.labels, scaled.labels)
    assert given.provenance["config"]["diameter"] == "10 um"
    assert given.provenance["scale_used"] == TARGET / 20


def test_a_measured_diameter_is_said_in_micrometres_too() -> None:
    assert pixel_size(*MICRO) == 0.5
    assert in_words(21, 0.5) == "21 pixels (10.5 µm)"
    assert in_words(21, pixel_size((1, 1), ("pixel", "pixel"))) == "21 pixels"
