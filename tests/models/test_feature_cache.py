"""The cache gives back what was put in, or nothing; it never breaks a run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr
from zarr.storage import ZipStore

from napari_kindred.core.errors import OptionError
from napari_kindred.models.feature_cache import FeatureCache, content_of, key_of

if TYPE_CHECKING:
    from collections.abc import Callable

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


def test_an_entry_damaged_in_any_byte_is_deleted(cache: FeatureCache) -> None:
    cache.put("key", KILOBYTE)
    file = only_file(cache)
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert cache.get("key") is None, place
        assert not file.exists()
    file.write_bytes(whole)
    assert cache.get("key") is not None


def test_an_entry_is_a_zarr_group_that_others_can_read(cache: FeatureCache) -> None:
    cache.put("key", KILOBYTE)
    with ZipStore(only_file(cache), mode="r") as store:
        values = zarr.open_group(store, mode="r")["values"]
        np.testing.assert_array_equal(values[:], KILOBYTE["values"])


def size_of_one(folder: Path) -> int:
    """Bytes of an entry of a kilobyte on disk."""
    cache = FeatureCache(folder)
    cache.put("one", KILOBYTE)
    size = cache.size()
    cache.clear()
    return size


def grow_old(cache: FeatureCache, key: str, seconds: float) -> None:
    (file,) = cache.folder.glob(f"{key}.*")
    used = file.stat().st_mtime - seconds
    os.utime(file, (used, used))


def test_what_was_used_least_recently_goes_first(tmp_path: Path) -> None:
    limit = int(3.5 * size_of_one(tmp_path))
    before = FeatureCache(tmp_path, limit)
    for age, key in ((30, "first"), (20, "second"), (10, "third")):
        before.put(key, KILOBYTE)
        grow_old(before, key, age)
    cache = FeatureCache(tmp_path, limit)
    assert cache.get("first") is not None  # now it is the one used last
    cache.put("fourth", KILOBYTE)
    assert [cache.get(key) is not None for key in ("first", "second", "third", "fourth")] == [
        True, False, True, True,
    ]  # fmt: skip
    assert cache.size() <= limit


def test_a_run_with_more_than_fits_keeps_its_first_entries_for_the_next(tmp_path: Path) -> None:
    limit = int(3.5 * size_of_one(tmp_path))
    FeatureCache(tmp_path, limit).put("older", KILOBYTE)
    for _ in range(2):
        cache = FeatureCache(tmp_path, limit)
        known = [cache.get(f"frame{number}") is not None for number in range(200)]
        for number in range(200):
            cache.put(f"frame{number}", KILOBYTE)
        assert cache.get("older") is None
        assert cache.size() <= limit
    assert known == [number < 3 for number in range(200)]


def test_a_limit_of_nothing_neither_keeps_nor_finds(tmp_path: Path) -> None:
    FeatureCache(tmp_path).put("key", KILOBYTE)
    cache = FeatureCache(tmp_path, limit=0)
    assert cache.get("key") is None
    cache.put("other", KILOBYTE)
    assert len(list(tmp_path.iterdir())) == 1


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
    gone = cache.folder / "x.zarr.zip"
    monkeypatch.setattr(Path, "iterdir", lambda _: iter([*listed, gone]))
    assert cache.size() == listed[0].stat().st_size


def test_two_processes_fill_one_folder_at_once(cache: FeatureCache) -> None:
    program = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from napari_kindred.models.feature_cache import FeatureCache\n"
        "cache = FeatureCache(Path(sys.argv[1]))\n"
        "for turn in range(3):\n"
        "    for number in range(20):\n"
        "        arrays = {'values': np.full((50, 50), number)}\n"
        "        cache.put(f'frame{number}', arrays)\n"
        "        known = cache.get(f'frame{number}')\n"
        "        assert known is None or (known['values'] == number).all()\n"
    )
    command = [sys.executable, "-c", program, str(cache.folder)]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert all(cache.get(f"frame{number}") is not None for number in range(20))
    assert len(list(cache.folder.iterdir())) == 20


def test_clearing_leaves_nothing_but_what_others_put_there(cache: FeatureCache) -> None:
    cache.put("key", KILOBYTE)
    (cache.folder / "dead.part").write_bytes(bytes(5))
    (cache.folder / "notes.txt").write_text("mine")
    taken = cache.size()
    assert cache.clear() == taken > 5
    assert [path.name for path in cache.folder.iterdir()] == ["notes.txt"]


def test_unfinished_entries_of_dead_processes_are_deleted(cache: FeatureCache) -> None:
    cache.folder.mkdir()
    (cache.folder / "dead.part").write_bytes(bytes(5))
    (cache.folder / "living.part").write_bytes(bytes(5))
    grow_old(cache, "dead", 7200)
    cache.put("key", KILOBYTE)
    names = {path.name.split(".")[0] for path in cache.folder.iterdir()}
    assert names == {"key", "living"}


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


def test_the_limit_is_the_environment_s_or_a_tenth_of_the_free_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "not" / "there" / "yet"
    for free, limit in ((50_000_000_000, 5_000_000_000), (900_000_000_000, 10_000_000_000)):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        assert FeatureCache(folder).limit == limit
    monkeypatch.setenv("NAPARI_KINDRED_CACHE_LIMIT", "0.5")
    assert FeatureCache(folder).limit == 500_000_000
    for wrong in ("many", "-1", "nan", "inf"):
        monkeypatch.setenv("NAPARI_KINDRED_CACHE_LIMIT", wrong)
        with pytest.raises(OptionError, match=f"'{wrong}' is not a number of gigabytes"):
            FeatureCache(folder)


def test_a_preferred_folder_and_limit_count_below_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preferring: Callable[..., None]
) -> None:
    monkeypatch.delenv("NAPARI_KINDRED_CACHE")
    preferring(cache_folder=str(tmp_path / "mine"), cache_limit=0.25)
    cache = FeatureCache()
    assert (cache.folder, cache.limit) == (tmp_path / "mine" / "features", 250_000_000)
    preferring(cache_limit=0.0)
    assert FeatureCache(tmp_path).limit == 0
    monkeypatch.setenv("NAPARI_KINDRED_CACHE", str(tmp_path / "other"))
    monkeypatch.setenv("NAPARI_KINDRED_CACHE_LIMIT", "0.5")
    preferring(cache_folder=str(tmp_path / "mine"), cache_limit=0.25)
    cache = FeatureCache()
    assert (cache.folder, cache.limit) == (tmp_path / "other" / "features", 500_000_000)


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


def test_a_key_is_the_same_from_a_picture_and_from_what_is_known_of_its_content() -> None:
    one, two = np.zeros((4, 6, 1), np.float32), np.ones((4, 6, 1), np.float32)
    assert key_of([content_of(one)], {"a": 1}) == key_of(one, {"a": 1})
    contents = [content_of(one), content_of(two)]
    assert key_of(contents, {}) != key_of(contents[::-1], {})
