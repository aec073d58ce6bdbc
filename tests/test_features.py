"""The cache gives back what was put in, or nothing; it never breaks a run."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from napari_kindred.errors import OptionError
from napari_kindred.features import FeatureCache, key_of

KILOBYTE = {"values": np.arange(250, dtype=np.float32)}


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "features")


def only_file(cache: FeatureCache) -> Path:
    (file,) = cache.folder.iterdir()
    return file


def test_what_is_put_comes_back_with_its_types_and_shapes(cache: FeatureCache) -> None:
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::-1],
        "b": np.array([True, False]),
        "none": np.zeros((0, 4), np.int32),
    }
    cache.put("key", arrays)
    known = cache.get("key")
    assert known is not None
    assert set(known) == set(arrays)
    for name, array in arrays.items():
        assert known[name].dtype == array.dtype
        np.testing.assert_array_equal(known[name], array)


def test_an_unknown_key_gives_nothing(cache: FeatureCache) -> None:
    assert cache.get("key") is None


@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_damaged_entry_is_deleted(cache: FeatureCache, place: int) -> None:
    cache.put("key", KILOBYTE)
    content = bytearray(only_file(cache).read_bytes())
    content[place] ^= 1
    only_file(cache).write_bytes(content)
    assert cache.get("key") is None
    assert not list(cache.folder.iterdir())


def test_an_entry_cut_short_is_deleted(cache: FeatureCache) -> None:
    cache.put("key", KILOBYTE)
    only_file(cache).write_bytes(only_file(cache).read_bytes()[:20])
    assert cache.get("key") is None
    assert cache.size() == 0


def test_what_was_used_least_recently_goes_first(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, limit=3500)
    for age, key in ((30, "first"), (20, "second"), (10, "third")):
        cache.put(key, KILOBYTE)
        used = (tmp_path / f"{key}.features").stat().st_mtime - age
        os.utime(tmp_path / f"{key}.features", (used, used))
    assert cache.get("first") is not None  # now it is the one used last
    cache.put("fourth", KILOBYTE)
    assert [cache.get(key) is not None for key in ("first", "second", "third", "fourth")] == [
        True, False, True, True,
    ]  # fmt: skip
    assert cache.size() <= 3500


def test_an_entry_larger_than_the_limit_is_not_kept(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, limit=500)
    cache.put("key", KILOBYTE)
    assert cache.get("key") is None


def test_putting_a_key_again_replaces_it(cache: FeatureCache) -> None:
    cache.put("key", KILOBYTE)
    before = cache.size()
    cache.put("key", {"values": KILOBYTE["values"] + 1})
    known = cache.get("key")
    assert known is not None
    assert known["values"][0] == 1
    assert cache.size() == before


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = FeatureCache(tmp_path / "file" / "features")
    cache.put("key", KILOBYTE)
    assert cache.get("key") is None
    assert cache.size() == 0
    cache.clear()


def test_a_full_disk_leaves_nothing_half_written(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    cache.put("key", KILOBYTE)
    assert not list(cache.folder.iterdir())


def test_an_entry_that_vanishes_while_it_is_looked_at_is_no_error(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.put("key", KILOBYTE)
    listed = list(cache.folder.iterdir())
    monkeypatch.setattr(Path, "iterdir", lambda _: iter([*listed, cache.folder / "x.features"]))
    assert cache.size() == listed[0].stat().st_size


def test_clearing_leaves_nothing_but_what_others_put_there(cache: FeatureCache) -> None:
    cache.put("key", KILOBYTE)
    (cache.folder / "notes.txt").write_text("mine")
    cache.clear()
    assert [path.name for path in cache.folder.iterdir()] == ["notes.txt"]


def test_entries_lie_beside_the_weights_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAPARI_KINDRED_CACHE", str(tmp_path))
    assert FeatureCache().folder == tmp_path / "features"


def test_a_key_is_no_way_out_of_the_folder(cache: FeatureCache) -> None:
    with pytest.raises(OptionError, match="key_of"):
        cache.get("../secret")


def test_a_negative_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="limit"):
        FeatureCache(tmp_path, limit=-1)


def test_keys_tell_apart_values_shapes_types_and_settings() -> None:
    pixels = np.zeros((4, 6, 1), np.float32)
    other = pixels.copy()
    other[0, 0] = 1
    keys = {
        key_of(pixels, {"a": 1}),
        key_of(other, {"a": 1}),
        key_of(pixels.reshape(6, 4, 1), {"a": 1}),
        key_of(pixels.view(np.int32), {"a": 1}),
        key_of(pixels, {"a": 2}),
    }
    assert len(keys) == 5


def test_keys_do_not_depend_on_memory_layout_or_the_settings_order() -> None:
    pixels = np.arange(24, dtype=np.float32).reshape(4, 6, 1)
    turned = np.asfortranarray(pixels)
    assert key_of(pixels, {"a": 1, "b": 2}) == key_of(turned, {"b": 2, "a": 1})
