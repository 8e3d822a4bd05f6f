"""Fetching from a server of the test's own: resumed, checked, told in one line; and archives."""

import hashlib
import io
import tarfile
import threading
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from atrous.data import download as module
from atrous.data.datasets import DATASETS
from atrous.data.download import SOURCES, Archive, Origin, download, fetch_file, unpack
from atrous.errors import DataError

CONTENT = np.random.default_rng(0).integers(0, 256, 700_000, np.uint8).tobytes()
MD5, SHA256 = (f"{kind}:{hashlib.new(kind, CONTENT).hexdigest()}" for kind in ("md5", "sha256"))


class Handler(BaseHTTPRequestHandler):
    """Serves files with ranges, and breaks off after so many bytes of the first few answers."""

    def __init__(self, state, *arguments):
        self.state = state
        super().__init__(*arguments)

    def do_GET(self):
        body = self.state["files"].get(self.path)
        self.state["asked"].append(self.headers.get("Range"))
        if body is None:
            self.send_error(404)
            return
        start = 0
        if self.headers.get("Range") and self.state["ranges"]:
            start = int(self.headers["Range"].removeprefix("bytes=").split("-")[0])
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        cut = self.state["cuts"].pop(0) if self.state["cuts"] else len(body)
        self.wfile.write(body[start : start + cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    state = {"files": {"/a.bin": CONTENT}, "asked": [], "cuts": [], "ranges": True}
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, state))
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", state
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.mark.parametrize("digest", [MD5, SHA256, SHA256.upper().replace("SHA", "sha"), ""])
def test_a_whole_file(server, tmp_path, digest):
    address, state = server
    told = []
    path = fetch_file(
        f"{address}/a.bin", tmp_path, digest=digest, progress=lambda done, total: told.append((done, total))
    )
    assert path.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    fetch_file(f"{address}/a.bin", tmp_path, digest=digest)
    assert len(state["asked"]) == 1  # it is there


def test_a_transfer_that_breaks_off_goes_on_where_it_was(server, tmp_path):
    address, state = server
    state["cuts"] = [300_000, 100_000]
    path = fetch_file(f"{address}/a.bin", tmp_path, digest=MD5)
    assert path.read_bytes() == CONTENT
    assert state["asked"] == [None, "bytes=300000-", "bytes=400000-"]


def test_a_later_call_goes_on_too(server, tmp_path):
    address, state = server
    (tmp_path / ".a.bin.part").write_bytes(CONTENT[:500_000])
    assert fetch_file(f"{address}/a.bin", tmp_path, digest=SHA256).read_bytes() == CONTENT
    assert state["asked"] == ["bytes=500000-"]


def test_without_a_hash_or_without_ranges_it_begins_anew(server, tmp_path):
    address, state = server
    (tmp_path / ".a.bin.part").write_bytes(b"of another file")
    assert fetch_file(f"{address}/a.bin", tmp_path).read_bytes() == CONTENT
    assert state["asked"] == [None]
    state["ranges"] = False
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".a.bin.part").write_bytes(CONTENT[:500_000])
    assert fetch_file(f"{address}/a.bin", tmp_path / "b", digest=MD5).read_bytes() == CONTENT


def test_a_wrong_hash(server, tmp_path):
    address, _ = server
    with pytest.raises(DataError) as caught:
        fetch_file(f"{address}/a.bin", tmp_path, digest="md5:" + 32 * "0")
    text = f"{address}/a.bin: is not the file that was meant: its MD5 is {MD5[4:]}, and {32 * '0'} is needed. It was"
    assert text in str(caught.value)
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.bin").write_bytes(b"old")
    with pytest.raises(DataError, match="is not the file that was meant"):
        fetch_file(f"{address}/a.bin", tmp_path, digest=MD5)


def test_what_cannot_be_fetched_or_written(server, tmp_path):
    address, _ = server
    with pytest.raises(DataError, match=r"b\.bin: could not be fetched \(HTTP 404\); check the connection"):
        fetch_file(f"{address}/b.bin", tmp_path)
    with pytest.raises(DataError, match=r"could not be fetched \("):
        fetch_file("http://127.0.0.1:9/a.bin", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"a\.bin: cannot be written \(.*\); choose another folder"):
        fetch_file(f"{address}/a.bin", tmp_path / "file")


def zipped(**files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return stream.getvalue()


def test_a_data_set(server, tmp_path, monkeypatch):
    address, state = server
    state["files"] = {"/x.zip": zipped(images__a="1", masks__a="2"), "/y.zip": zipped(images__b="3")}
    origin = Origin("a page", (Archive(f"{address}/x.zip"), Archive(f"{address}/y.zip")))
    monkeypatch.setitem(module.SOURCES, "made", origin)
    assert download("made", tmp_path / "set") == tmp_path / "set"
    assert (tmp_path / "set/images/b").read_text() == "3"
    (tmp_path / "set/images/b").unlink()
    download("made", tmp_path / "set")
    assert not (tmp_path / "set/images/b").exists()  # unpacked already


def test_where_one_must_register(tmp_path):
    with pytest.raises(DataError) as caught:
        download("cityscapes", tmp_path)
    assert str(caught.value) == (
        "cityscapes: cannot be fetched without its makers' consent: log in there, download "
        "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip, and unpack both (https://www.cityscapes-dataset.com)."
    )
    with pytest.raises(DataError, match=r"there is no data set 'citiscapes' to fetch\. Did you mean 'cityscapes'\?"):
        download("citiscapes", tmp_path)
    assert set(SOURCES) <= set(DATASETS)
    assert all(bool(origin.archives) != bool(origin.steps) for origin in SOURCES.values())


def test_archives_that_are_damaged_or_reach_outside(tmp_path):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        member = tarfile.TarInfo("../outside")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))
    (tmp_path / "evil.tar").write_bytes(stream.getvalue())
    (tmp_path / "evil.zip").write_bytes(zipped(**{"..__outside": "abc"}))
    (tmp_path / "cut.tar.gz").write_bytes(b"\x1f\x8b\x08\0no archive")
    (tmp_path / "no.tar").write_bytes(b"no archive")
    for name in ("evil.tar", "evil.zip", "cut.tar.gz", "no.tar"):
        with pytest.raises(DataError, match=rf"{name}: cannot be unpacked"):
            unpack(tmp_path / name, tmp_path / "inner")
    assert not (tmp_path / "outside").exists()
