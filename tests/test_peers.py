"""What the comparisons with peers stand on: turns, ratios, and asking another process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

SCRIPT = f"""
import sys
sys.path.insert(0, {str(BENCHMARKS / "peer_scripts")!r})
from serving import serve
def double(values, add):
    print("libraries may print what they like")
    return {{"doubled": 2 * values + add, "count": len(values)}}
def fail():
    raise ValueError("the reason\\nand more")
def end():
    sys.exit("no way on")
serve({{"double": double, "fail": fail, "end": end}})
"""


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import peers

    return peers


@pytest.fixture
def peer(peers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    (tmp_path / "script.py").write_text(SCRIPT, "utf-8")
    monkeypatch.setattr(peers, "SCRIPTS", tmp_path)
    monkeypatch.setattr(peers, "install", lambda *_: (Path(sys.executable), {"thing": "1.2"}))
    with peers.Peer("name", tmp_path, 1, "script") as opened:
        yield opened


def test_arrays_and_numbers_go_to_a_peer_and_come_back(peer) -> None:
    told = peer.ask("double", values=np.arange(3), add=1)
    assert told["doubled"].tolist() == [1, 3, 5]
    assert told["count"] == 3


def test_what_goes_wrong_in_a_peer_is_told_in_one_line_and_it_can_be_asked_again(
    peers: ModuleType, peer
) -> None:
    with pytest.raises(peers.PeerError, match=r"^ValueError: the reason$"):
        peer.ask("fail")
    assert peer.ask("double", values=np.ones(2), add=0)["count"] == 2


def test_a_peer_that_ends_says_why(peers: ModuleType, peer) -> None:
    with pytest.raises(peers.PeerError, match="no way on"):
        peer.ask("end")


def test_a_peer_that_cannot_be_installed_says_why(
    peers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(peers.REQUIREMENTS, "odd", ("no-index-has-this",))

    def refuse(command: list[str]) -> str:
        return peers_call([sys.executable, "-c", "import sys; sys.exit('nothing of that name')"])

    peers_call = peers._call
    monkeypatch.setattr(peers, "_call", refuse)
    with pytest.raises(peers.PeerError, match="nothing of that name"):
        peers.install("odd", tmp_path)


def test_ways_take_turns_and_every_other_round_goes_backwards(peers: ModuleType) -> None:
    seen: list[str] = []

    def way(name: str) -> dict[str, float]:
        seen.append(name)
        return {"total": float(len(seen))}

    found = peers.in_turns({"a": lambda: way("a"), "b": lambda: way("b")}, 2)
    assert "".join(seen) == "ba" + "ab" + "ba"
    assert [run["total"] for run in found["a"]] == [3.0, 6.0]  # the first round is not counted


def test_a_way_that_fails_is_left_out_and_the_others_go_on(peers: ModuleType) -> None:
    def broken() -> dict[str, float]:
        raise peers.PeerError("not here")

    found = peers.in_turns({"good": lambda: {"total": 1.0}, "broken": broken}, 3)
    assert list(found) == ["good"]
    assert len(found["good"]) == 3


def test_ratios_are_taken_round_by_round(peers: ModuleType) -> None:
    # The machine slows down to a half between rounds; the ratio stays.
    theirs = [{"total": 6.0}, {"total": 12.0}, {"total": 18.0}]
    ours = [{"total": 2.0}, {"total": 4.0}, {"total": 3.0}]
    assert str(peers.ratios(theirs, ours, "total")) == "3.00 (3.00–6.00)"


def test_a_plot_of_the_same_numbers_is_the_same_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import plots

    written = []
    for name in ("one", "two"):
        figure, (left, right) = plots.new_figure(2)
        plots.lines(left, [1, 2, 4], {"ours": [1, 2, 5], "theirs": [3, None, 9]}, "frames", "s")
        plots.bars(right, {"ours": 1.0, "theirs": 3.0}, "a picture", "s")
        plots.legend(figure, left)
        written.append(plots.keep_plot("plot", figure, tmp_path / f"{name}.json").read_bytes())
    assert written[0] == written[1]
    assert b"theirs" in written[0]
    assert b"<dc:date>" not in written[0]
