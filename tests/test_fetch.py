"""Downloads against a server of our own: interrupted, resumed, wrong, absent."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
import torch

from atrous.disk import leftovers
from atrous.errors import DataError, ModelError
from atrous.fetch import cache_folder, fetch
from atrous.models import create_model
from atrous.surgery.weights import load_weights

CONTENT = bytes(range(256)) * 4000
DIGEST, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT under every name; the query says how badly."""

    seen: ClassVar[list[str | None]] = []
    content: ClassVar[bytes] = CONTENT
    break_after: ClassVar[list[int]] = []  # bytes after which each next connection breaks off
    hang_after: ClassVar[int | None] = None  # bytes after which the next connection says no more
    knows_ranges: ClassVar[bool] = True
    status: ClassVar[int] = 200

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        type(self).seen.append(asked)
        if self.status != 200:
            self.send_error(self.status)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.knows_ranges else 0
        if start >= len(self.content):
            self.send_error(416)
            return
        body = self.content[start:]
        self.send_response(206 if asked and self.knows_ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        self.end_headers()
        if (many := self.hang_after) is not None:
            type(self).hang_after = None
            self.wfile.write(body[:many])
            self.wfile.flush()
            time.sleep(20)
        self.wfile.write(body[: self.break_after.pop(0)] if self.break_after else body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server():
    """Address of a server on this machine, and its handler to change."""
    kind = type("Case", (Handler,), {"seen": [], "break_after": []})
    running = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}", kind
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_a_file_is_fetched_once(server, tmp_path):
    address, kind = server
    told = []
    path = fetch(f"{address}/net-{DIGEST[:8]}.pth", folder=tmp_path, progress=lambda *step: told.append(step))
    assert path == tmp_path / f"net-{DIGEST[:8]}.pth"
    assert path.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert fetch(f"{address}/net-{DIGEST[:8]}.pth", folder=tmp_path) == path
    assert kind.seen == [None]
    assert list(tmp_path.iterdir()) == [path]


def test_a_connection_that_breaks_off_is_taken_up_again(server, tmp_path):
    address, kind = server
    kind.break_after = [300_000, 0, 5]
    path = fetch(f"{address}/net-{DIGEST[:10]}.pth", folder=tmp_path)
    assert path.read_bytes() == CONTENT
    assert kind.seen == [None, "bytes=300000-", "bytes=300000-", "bytes=300005-"]


def test_a_download_of_an_earlier_day_is_gone_on_with(server, tmp_path):
    address, kind = server
    (tmp_path / ".net.pth.part").write_bytes(CONTENT[:1000])
    assert fetch(f"{address}/net.pth", folder=tmp_path, digest=DIGEST).read_bytes() == CONTENT
    assert kind.seen == ["bytes=1000-"]


def test_a_complete_part_needs_no_more_bytes(server, tmp_path):
    address, kind = server
    (tmp_path / ".net.pth.part").write_bytes(CONTENT)
    assert fetch(f"{address}/net.pth", folder=tmp_path, digest=DIGEST).read_bytes() == CONTENT
    assert kind.seen == [f"bytes={len(CONTENT)}-"]


def test_without_a_hash_an_old_part_is_not_trusted(server, tmp_path):
    address, kind = server
    (tmp_path / ".net.pth.part").write_bytes(b"of another file")
    assert fetch(f"{address}/net.pth", folder=tmp_path).read_bytes() == CONTENT
    assert kind.seen == [None]


def test_a_server_without_ranges_starts_again(server, tmp_path):
    address, kind = server
    kind.knows_ranges = False
    kind.break_after = [700]
    assert fetch(f"{address}/net.pth", folder=tmp_path).read_bytes() == CONTENT
    assert kind.seen == [None, "bytes=700-"]


@pytest.mark.parametrize("how", ["name", "argument"])
def test_a_wrong_hash_is_refused_and_leaves_nothing(how, server, tmp_path):
    address, _ = server
    name, given = ("net-00000000.pth", None) if how == "name" else ("net.pth", "0" * 64)
    with pytest.raises(ModelError, match=f"its SHA-256 is {DIGEST}, and .*00000000.* is needed"):
        fetch(f"{address}/{name}", folder=tmp_path, digest=given)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_of_the_cache_is_removed(server, tmp_path):
    address, _ = server
    path = tmp_path / f"net-{DIGEST[:8]}.pth"
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ModelError, match="was removed; try again"):
        fetch(f"{address}/{path.name}", folder=tmp_path)
    assert fetch(f"{address}/{path.name}", folder=tmp_path).read_bytes() == CONTENT


def test_a_server_that_always_breaks_off_is_given_up_and_the_part_kept(server, tmp_path):
    address, kind = server
    kind.break_after = [1000] + [0] * 20
    with pytest.raises(ModelError, match=r"could not be fetched \(the connection broke off\).*or copy the file"):
        fetch(f"{address}/net-{DIGEST[:8]}.pth", folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f".net-{DIGEST[:8]}.pth.part"]
    kind.break_after = []
    assert fetch(f"{address}/net-{DIGEST[:8]}.pth", folder=tmp_path).read_bytes() == CONTENT
    assert kind.seen[-1] == "bytes=1000-"


@pytest.mark.parametrize("status", [404, 503])
def test_an_answer_that_is_an_error_is_told(status, server, tmp_path):
    address, kind = server
    kind.status = status
    with pytest.raises(ModelError, match=rf"net\.pth: could not be fetched \(HTTP {status}\)"):
        fetch(f"{address}/net.pth", folder=tmp_path)
    assert kind.seen == [None] * (1 if status == 404 else 5)


def test_no_connection_is_told_with_where_to_put_the_file(server, tmp_path):
    address, kind = server
    port = int(address.rsplit(":", 1)[1])
    unused = f"http://127.0.0.1:{port}"
    del kind
    with pytest.raises(ModelError, match=rf"check the connection and try again, or copy .* to {tmp_path}/net\.pth"):
        fetch(f"{unused.replace('127.0.0.1', '127.0.0.1.invalid')}/net.pth", folder=tmp_path)


def test_an_address_without_a_file_and_a_folder_that_is_none(tmp_path, server):
    address, _ = server
    with pytest.raises(ModelError, match="names no file"):
        fetch(address)
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        fetch(f"{address}/net.pth", folder=tmp_path / "file")


@pytest.mark.parametrize("digest", [f"sha256:{DIGEST}", DIGEST[:12], DIGEST.upper(), f"md5:{MD5}", ""])
def test_hashes_are_given_in_several_ways(server, tmp_path, digest):
    address, _ = server
    assert fetch(f"{address}/net.pth", folder=tmp_path, digest=digest).read_bytes() == CONTENT


def test_a_hash_of_another_kind_is_refused(server, tmp_path):
    address, _ = server
    with pytest.raises(ModelError, match="crc32:00000000: a hash is given as md5:DIGITS or sha256:DIGITS"):
        fetch(f"{address}/net.pth", folder=tmp_path, digest="crc32:00000000")
    assert list(tmp_path.iterdir()) == []


def test_no_hash_is_checked_where_none_is_wanted(server, tmp_path):
    address, _ = server
    assert fetch(f"{address}/net-00000000.pth", folder=tmp_path, digest="").read_bytes() == CONTENT


def test_errors_are_of_the_class_and_give_the_advice_that_the_caller_names(server, tmp_path):
    address, _ = server
    with pytest.raises(DataError, match="is not the file that was meant"):
        fetch(f"{address}/net.pth", folder=tmp_path, digest="md5:" + 32 * "0", error=DataError)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file/net\.pth: cannot be written \(.*\); go elsewhere\."):
        fetch(f"{address}/net.pth", folder=tmp_path / "file", error=DataError, instead="go elsewhere")


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
def test_a_full_disk_is_told_and_the_part_kept_for_a_later_call(server, tmp_path):
    resource = pytest.importorskip("resource")
    address, kind = server
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    told = r"net\.pth: cannot be written \(File too large\).*set ATROUS_CACHE"
    try:
        with pytest.raises(ModelError, match=told) as caught:
            fetch(f"{address}/net.pth", folder=tmp_path, digest=DIGEST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert ".part" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [".net.pth.part"]
    assert fetch(f"{address}/net.pth", folder=tmp_path, digest=DIGEST).read_bytes() == CONTENT
    assert kind.seen == [None, "bytes=500000-"]


FETCH = "import sys; from atrous.fetch import fetch; fetch(sys.argv[1], folder=sys.argv[2], digest=sys.argv[3])"


def start(address, folder):
    return subprocess.Popen([sys.executable, "-c", FETCH, address, str(folder), DIGEST])


def test_processes_that_fetch_one_file_at_once_do_not_disturb_each_other(server, tmp_path):
    address, _ = server
    fetching = [start(f"{address}/net.pth", tmp_path) for _ in range(3)]
    assert [process.wait(timeout=60) for process in fetching] == [0, 0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]
    assert (tmp_path / "net.pth").read_bytes() == CONTENT


@pytest.mark.skipif(os.name != "posix", reason="asks for the life of a process")
def test_what_a_killed_process_fetched_is_gone_on_with_but_not_what_one_fetches_now(server, tmp_path):
    address, kind = server
    kind.hang_after = 600_000
    killed = start(f"{address}/net.pth", tmp_path)
    end = time.monotonic() + 60
    while not any(path.stat().st_size >= 262_144 for path in tmp_path.iterdir()) and time.monotonic() < end:
        time.sleep(0.01)
    assert leftovers(tmp_path / "net.pth") == []  # it is alive
    killed.kill()
    killed.wait(timeout=60)
    (left,) = leftovers(tmp_path / "net.pth")
    there = left.stat().st_size
    assert there >= 262_144
    assert fetch(f"{address}/net.pth", folder=tmp_path, digest=DIGEST).read_bytes() == CONTENT
    assert kind.seen == [None, f"bytes={there}-"]
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("ATROUS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "atrous"


def test_weights_come_by_address(server, tmp_path, monkeypatch):
    address, kind = server
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path / "cache"))
    source = create_model("segnet_basic", num_classes=2, width=4)
    torch.save(source.state_dict(), tmp_path / "net.pth")
    kind.content = (tmp_path / "net.pth").read_bytes()
    name = f"net-{hashlib.sha256(kind.content).hexdigest()[:8]}.pth"
    ours = create_model("segnet_basic", num_classes=2, width=4)
    assert load_weights(ours, f"{address}/{name}").fresh == ()
    assert torch.equal(ours.head.weight, source.head.weight)
    assert (tmp_path / "cache" / name).is_file()
