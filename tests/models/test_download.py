"""Downloads over HTTP that go wrong in every way: resumed or refused, and nothing bad is kept."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from filelock import FileLock
from safetensors.numpy import save

from napari_kindred.core.background import reporting
from napari_kindred.core.errors import WeightsError
from napari_kindred.models import download
from napari_kindred.models.weights import WEIGHTS, Weights, resolve

if TYPE_CHECKING:
    from collections.abc import Generator

CONTENT = save({"a": np.arange(5000, dtype="float32")})
NAME = "net.safetensors"


class Server:
    """Serves one file, as badly as it is told to.

    Attributes
    ----------
    content : bytes
    kind : str
        Content type.
    status : int
        200, or an error.
    sent : int or None
        Bytes after which the connection ends.
    ranges : {"given", "ignored", "refused", "shifted"}
        What becomes of the wish for a part.
    told : bool
        Whether it says how long the file is.
    raw : bytes or None
        Sent instead of an answer; empty resets the connection.
    asked : list of (str or None)
        The part that each request wished for.
    """

    def __init__(self) -> None:
        self.content, self.kind, self.status = CONTENT, "application/octet-stream", 200
        self.sent: int | None = None
        self.ranges, self.told = "given", True
        self.raw: bytes | None = None
        self.asked: list[str | None] = []
        self.gate = threading.Event()
        self.gate.set()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wish = handler.headers.get("Range")
        self.asked.append(wish)
        self.gate.wait(20)
        if self.raw is not None:
            if not self.raw:
                once = struct.pack("ii", 1, 0)
                handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, once)
            handler.wfile.write(self.raw)
            handler.close_connection = True
            return
        begin = int(wish[len("bytes=") : -1]) if wish and self.ranges != "ignored" else 0
        status = self.status if not begin else 416 if self.ranges == "refused" else 206
        body = self.content[begin:] if status < 300 else b"refused"
        handler.send_response(status)
        handler.send_header("Content-Type", self.kind)
        if self.told:
            handler.send_header("Content-Length", str(len(body)))
        if status == 206:
            told = 0 if self.ranges == "shifted" else begin
            last = len(self.content) - 1
            handler.send_header("Content-Range", f"bytes {told}-{last}/{len(self.content)}")
        handler.end_headers()
        with suppress(ConnectionError):  # who asked has seen enough
            handler.wfile.write(body[: self.sent])
        handler.close_connection = True

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Generator[Server]:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    server = Server()
    yield server
    server.close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(download.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def known_at(address: str) -> Weights:
    digest = hashlib.sha256(CONTENT).hexdigest()
    return Weights(f"{address}/{NAME}", digest, len(CONTENT), "CC0-1.0", "a test")


@pytest.fixture
def far(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of weights that the server has."""
    monkeypatch.setitem(WEIGHTS, "far", known_at(server.address))
    return "far"


def left(cache: Path) -> set[str]:
    """Names of what is in the folder."""
    return {path.name for path in cache.iterdir()} if cache.exists() else set()


def refusal(name: str) -> str:
    """The sentence with which weights are refused."""
    with pytest.raises(WeightsError) as caught:
        resolve(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def begin(cache: Path, content: bytes) -> Path:
    """Lay down what an earlier try left of the file."""
    cache.mkdir()
    part = cache / f"{NAME}.part"
    part.write_bytes(content)
    return part


# -- interrupted and resumed --------------------------------------------------------------------


def test_a_download_gives_the_file_alone_and_reports_its_progress(
    far: str, cache: Path, server: Server
) -> None:
    told: list[tuple[int, int]] = []
    with reporting(lambda *done: told.append(done)):
        assert resolve(far).read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert left(cache) == {NAME}
    resolve(far)
    assert server.asked == [None], "it happens once"


def test_an_interrupted_download_goes_on_where_it_stopped(
    far: str, server: Server, cache: Path
) -> None:
    server.sent = 7000
    assert "ended early" in refusal(far)
    server.sent = None
    assert resolve(far).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=7000-"]
    assert left(cache) == {NAME}


def test_a_download_that_is_cancelled_goes_on_where_it_stopped(
    far: str, server: Server, cache: Path
) -> None:
    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    server.sent = 7000
    with pytest.raises(KeyboardInterrupt), reporting(stop):
        resolve(far)
    assert left(cache) == {f"{NAME}.part"}
    server.sent = None
    assert resolve(far).read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", ["given", "ignored", "refused", "shifted"])
@pytest.mark.parametrize("there", [b"of something else", b"x" * len(CONTENT), CONTENT + b"more"])
def test_what_an_earlier_try_left_does_no_harm(
    far: str, server: Server, cache: Path, ranges: str, there: bytes
) -> None:
    begin(cache, there)
    server.ranges = ranges
    assert resolve(far).read_bytes() == CONTENT
    assert left(cache) == {NAME}


def test_a_file_that_is_whole_but_for_its_name_is_not_downloaded_again(
    far: str, server: Server, cache: Path
) -> None:
    begin(cache, CONTENT)
    assert resolve(far).read_bytes() == CONTENT
    assert server.asked == []


# -- something else comes -----------------------------------------------------------------------


def test_a_web_page_instead_of_weights_is_not_kept(far: str, server: Server, cache: Path) -> None:
    server.content, server.kind = b"<html>Please log in</html>", "text/html; charset=utf-8"
    assert "web page" in refusal(far)
    assert left(cache) == set()


def test_a_web_page_does_not_spoil_what_was_downloaded_before(
    far: str, server: Server, cache: Path
) -> None:
    begin(cache, CONTENT[:7000])
    server.content, server.kind, server.ranges = b"<html></html>", "text/html", "ignored"
    assert "web page" in refusal(far)
    server.content, server.kind, server.ranges = CONTENT, "application/octet-stream", "given"
    assert resolve(far).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=7000-"


@pytest.mark.parametrize("length", [100, 30000])
def test_a_file_of_another_size_is_refused_before_it_is_downloaded(
    far: str, server: Server, cache: Path, length: int
) -> None:
    server.content = bytes(length)
    text = refusal(far)
    assert f"{length} bytes" in text
    assert str(len(CONTENT)) in text
    assert left(cache) == set()


def test_a_file_of_untold_size_is_not_read_beyond_what_it_should_be(
    far: str, server: Server, cache: Path
) -> None:
    server.content, server.told = bytes(20 << 20), False
    assert "larger than it should be" in refusal(far)
    assert (cache / f"{NAME}.part").stat().st_size < 2 << 20


def test_a_file_of_another_content_is_not_kept(far: str, server: Server, cache: Path) -> None:
    server.content = CONTENT[:-1] + b"?"
    assert "is not the weights 'far'" in refusal(far)
    assert left(cache) == set()


@pytest.mark.parametrize("status", [403, 404, 429, 502, 503])
def test_an_answer_that_is_an_error_is_told_with_its_number(
    far: str, server: Server, cache: Path, status: int
) -> None:
    server.status = status
    text = refusal(far)
    assert f"HTTP {status}" in text
    assert f"get {server.address}/{NAME} on another machine" in text
    assert str(cache / NAME) in text
    assert left(cache) == set()


@pytest.mark.parametrize("status", [407, 502])
def test_a_proxy_that_refuses_is_told_with_its_number(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setitem(WEIGHTS, "far", known_at("http://weights.example"))
    monkeypatch.setenv("http_proxy", server.address)
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr("urllib.request._opener", None)  # which has asked for proxies before
    server.status = status
    assert f"HTTP {status}" in refusal("far")
    assert left(cache) == set()


@pytest.mark.parametrize("raw", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 what?\r\n\r\n"])
def test_a_connection_that_is_reset_or_speaks_no_http_is_one_sentence(
    far: str, server: Server, cache: Path, raw: bytes
) -> None:
    server.raw = raw
    assert "could not be downloaded" in refusal(far)
    assert left(cache) == set()


# -- no place for it ----------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_as_such_and_nothing_half_written_is_left(
    far: str, cache: Path
) -> None:
    cache.mkdir()
    (cache / f"{NAME}.part").symlink_to("/dev/full")
    text = refusal(far)
    assert os.strerror(errno.ENOSPC) in text
    assert download.CACHE_VARIABLE in text
    assert left(cache) == set()
    assert resolve(far).read_bytes() == CONTENT


def test_a_cache_that_cannot_be_made_is_told_with_the_way_to_another(
    far: str, cache: Path, server: Server
) -> None:
    cache.write_text("a file in the way")
    assert download.CACHE_VARIABLE in refusal(far)
    assert server.asked == []


@pytest.mark.parametrize("call", ["mkdir", "open", "replace"])
def test_a_read_only_cache_is_told_with_the_way_to_another(
    far: str, cache: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(Path, call, refuse)
        text = refusal(far)
    assert "Read-only" in text
    assert download.CACHE_VARIABLE in text
    assert resolve(far).read_bytes() == CONTENT


def test_a_file_that_may_not_be_read_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    path = tmp_path / NAME
    path.write_bytes(CONTENT)
    monkeypatch.setattr(Path, "open", refuse)
    assert "cannot be read (Permission denied)" in refusal(str(path))


# -- several at once ----------------------------------------------------------------------------


def test_two_processes_at_once_download_once(server: Server, cache: Path) -> None:
    entry = known_at(server.address)
    program = (
        "from napari_kindred.core.background import reporting\n"
        "from napari_kindred.models.weights import WEIGHTS, Weights, resolve\n"
        f"WEIGHTS['far'] = Weights({entry.source!r}, {entry.sha256!r}, {entry.size}, '', '')\n"
        "with reporting(lambda *_: print('.', flush=True)):\n"
        "    resolve('far')\n"
    )
    server.gate.clear()
    both = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(2)
    ]
    reports = [process.stdout for process in both]
    threading.Timer(1.0, server.gate.set).start()
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    for report in reports:
        assert report is not None
        report.close()
    assert server.asked == [None]
    assert left(cache) == {NAME}


def test_who_waits_for_another_process_can_stop(far: str, cache: Path) -> None:
    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    part = begin(cache, CONTENT[:7000])
    with FileLock(cache / f"{NAME}.lock"), pytest.raises(KeyboardInterrupt), reporting(stop):
        resolve(far)
    assert part.read_bytes() == CONTENT[:7000]
