"""Options, names, arguments and examples as people may write them: taken as meant, or refused."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import napari_kindred as nk
from fuzz.made import ANYTHING, cases, of_interest
from napari_kindred.classes.config import ClassesConfig, TeachConfig
from napari_kindred.classes.escnet.config import EscTrainConfig
from napari_kindred.classes.names import check_names, key
from napari_kindred.classes.sam.config import SamTrainConfig
from napari_kindred.classes.vocabulary.examples import check_marks, class_names
from napari_kindred.cli import main as cli
from napari_kindred.clusters.config import ClusterConfig
from napari_kindred.core.errors import KindredError
from napari_kindred.core.options import changed, with_options
from napari_kindred.entities.config import EntityConfig, TrainConfig
from napari_kindred.results.atomic import plain

CONFIGS = (EntityConfig, ClusterConfig, ClassesConfig, TeachConfig, TrainConfig, SamTrainConfig,
           EscTrainConfig)  # fmt: skip
FIELDS = [(config, item.name) for config in CONFIGS for item in dataclasses.fields(config)]


@cases(2)
@given(st.sampled_from(FIELDS), ANYTHING)
@example((EntityConfig, "axes"), np.str_("YX"))  # written down as np.str_('YX')
@example((EntityConfig, "axes"), 5)  # AttributeError in a later run
@example((ClusterConfig, "seed"), 2**40)  # ValueError of scikit-learn in a later run
@example((EntityConfig, "min_area"), 10**30)  # OverflowError in a later run
def test_an_option_is_kept_as_given_or_refused(field: tuple[Any, str], value: Any) -> None:
    kind, name = field
    config = of_interest(lambda: kind(**{name: value}))
    if config is None:
        return
    told = changed(config)
    assert set(told) <= {name}
    assert kind(**told) == config == with_options(kind, config, {})
    assert kind(**plain(dataclasses.asdict(config))) == config
    assert eval(repr(config), vars(nk) | {k.__name__: k for k in CONFIGS}) == config  # noqa: S307
    assert isinstance(getattr(config, name), bool | int | float | str | None)


@cases(1)
@given(st.sampled_from(CONFIGS), st.dictionaries(st.text(max_size=5), ANYTHING, max_size=2))
def test_options_that_there_are_not_are_refused(kind: Any, options: dict[str, Any]) -> None:
    known = {item.name for item in dataclasses.fields(kind)}
    if set(options) - known:
        with pytest.raises(KindredError):
            with_options(kind, None, options)


@cases(1)
@given(st.one_of(st.text(max_size=20), st.lists(st.one_of(st.text(max_size=6), ANYTHING))))
def test_names_are_made_tidy_or_refused(names: Any) -> None:
    clean = of_interest(lambda: check_names(names))
    if clean is not None:
        assert check_names(clean) == clean
        assert len({key(name) for name in clean}) == len(clean) > 0


WORDS = st.one_of(
    st.sampled_from(["demo", "entities", "clusters", "classes", "teach", "train", "info", "sam"]),
    st.sampled_from(["--out", "--names", "--axes", "--levels", "--scheduler", "--vocabulary",
                     "--overwrite", "--resume", "--model", "--clear-cache", "--scale", "--seed"]),
    st.sampled_from(sorted({f"--{name.replace('_', '-')}" for _, name in FIELDS})),
    st.sampled_from(["nowhere.tif", "nowhere", "a.ome.zarr", "x.kindred", "b.safetensors", "2,6"]),
    st.integers().map(str),
    st.floats().map(str),
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=4),
)  # fmt: skip


@cases(2)
@given(st.lists(WORDS, max_size=9))
def test_the_command_line_ends_with_a_sentence_whatever_is_typed(words: list[str]) -> None:
    if (
        words[:1] == ["demo"]
        or (words[:1] == ["info"] and len(words) < 2)
        or "--clear-cache" in words
    ):
        return  # these do something
    out, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):
        try:
            code: Any = cli.main(words)
        except SystemExit as stop:
            code = stop.code
    help_asked = code == 0
    assert code in (0, 1, 2), (code, words)
    assert "Traceback" not in told.getvalue()
    if not help_asked:
        assert told.getvalue().strip()


def test_nothing_was_written_by_what_was_typed(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["entities", "nowhere.tif", "--out", "out.tif"]) == 1
    assert list(tmp_path.iterdir()) == []


MARKS = st.one_of(
    st.lists(st.lists(st.floats(-5, 25), min_size=2, max_size=2), max_size=3),
    st.lists(st.lists(st.floats(-5, 25), min_size=4, max_size=4), max_size=3),
    ANYTHING,
)
TABLE = st.dictionaries(
    st.one_of(st.sampled_from(["cell", "background", "Cell "]), st.text(max_size=4)), MARKS,
    max_size=2,
)  # fmt: skip


PARTS = st.fixed_dictionaries(
    {},
    optional={
        "names": st.one_of(ANYTHING, st.lists(st.text(max_size=4)).map(tuple), st.just("cell")),
        "points": st.one_of(TABLE, ANYTHING),
        "boxes": st.one_of(TABLE, ANYTHING),
        "labels": st.one_of(ANYTHING, st.integers(1, 20).map(lambda n: np.eye(20, n, dtype=int))),
        "label_names": st.one_of(ANYTHING, st.dictionaries(st.integers(0, 2), st.text(max_size=3))),
        "complete": st.booleans(),
        "source": st.text(max_size=3),
    },
)


@cases(2)
@given(PARTS)
@example({"names": None})  # TypeError: Value after * must be an iterable
@example({"names": "cell"})  # taken for four classes of one letter each
@example({"points": {"cell": [[1.0, 2.0]]}, "labels": [[1, 2], [3]]})  # ValueError: inhomogeneous
def test_an_example_is_understood_or_refused(parts: dict[str, Any]) -> None:
    made = of_interest(lambda: nk.Example(np.zeros((20, 20)), **parts))
    if made is None:
        return
    names = of_interest(lambda: class_names([made]))
    if names is None:
        return
    assert check_names(names) == names
    of_interest(lambda: check_marks(made, (20, 20)))
