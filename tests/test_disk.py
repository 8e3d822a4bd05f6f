"""Whole or not at all: failures, kills, rivals, full disks, and what the user is told."""

import ast
import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from atrous import disk
from atrous.disk import (
    final_name,
    leftovers,
    name_beside,
    restore,
    write_bytes,
    write_errors,
    write_text,
    writing,
    writing_folder,
)
from atrous.errors import AtrousError, BundleError, DataError, UsageError

posix = pytest.mark.skipif(os.name != "posix", reason="asks a POSIX system")


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def start(code, *arguments):
    """A Python of its own that can be waited for, or killed."""
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def dead_process():
    """The number of a process that runs no more."""
    process = start("pass")
    process.communicate(timeout=60)
    return process.pid


def fail_half_way(beside, failure):
    beside.write_text("half")
    raise failure


# ---------- files


def test_a_file_comes_whole_with_the_folders_above_it(tmp_path):
    path = write_text(tmp_path / "a/b/text.txt", "café\r\n")
    assert path.read_bytes() == "café\r\n".encode()
    assert names(path.parent) == ["text.txt"]
    assert write_bytes(str(path), b"\x00") == path
    assert path.read_bytes() == b"\x00"


def test_the_file_stands_beside_until_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with writing(path) as first, writing(path) as second:
        assert first != second
        assert {first.parent, second.parent} == {tmp_path}
        assert first.name.startswith(".a.txt.")
        assert first.suffix == ".part"
        assert final_name(first) == path
        first.write_text("first")
        second.write_text("second")
        assert path.read_text() == "old"
    assert path.read_text() == "first"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "full"), ValueError("no"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(tmp_path, failure):
    path = tmp_path / "a.txt"
    path.write_text("old")
    expected = UsageError if isinstance(failure, OSError) else type(failure)
    with pytest.raises(expected), writing(path) as beside:
        fail_half_way(beside, failure)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@posix
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077, 0o002])
def test_files_have_the_rights_of_any_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        with writing(tmp_path / "a") as beside:
            private = tmp_path / "private"
            private.touch(0o600)
            private.replace(beside)  # as the library of safetensors does
        with writing_folder(tmp_path / "folder") as building:
            (building / "b").touch()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~umask
    assert stat.S_IMODE((tmp_path / "folder/b").stat().st_mode) == 0o666 & ~umask


@posix
def test_a_device_and_a_pipe_are_written_to_and_stay(tmp_path):
    write_bytes("/dev/null", b"gone")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = start("import sys; print(open(sys.argv[1]).read())", pipe)
    write_text(pipe, "through")
    assert reader.communicate(timeout=60)[0] == "through\n"
    assert names(tmp_path) == ["pipe"]


@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_name_as_long_as_the_system_takes(tmp_path, letter):
    name = letter * (250 // len(letter.encode()))
    path = write_text(tmp_path / name, "a")
    assert write_text(path, "b").read_text() == "b"
    assert names(tmp_path) == [name]


def test_what_is_pushed_to_the_disk(tmp_path, monkeypatch):
    pushed = []
    monkeypatch.setattr(disk.os, "fsync", lambda handle: pushed.append(stat.S_ISDIR(os.fstat(handle).st_mode)))
    write_text(tmp_path / "a", "", durable=False)
    assert pushed == []
    write_text(tmp_path / "a", "")
    assert pushed == [False, True]  # the file before it gets its name, then the name
    pushed.clear()
    with writing_folder(tmp_path / "b", durable=True) as building:
        (building / "inner").mkdir()
        (building / "inner/c").touch()
    assert sorted(pushed) == [False, True, True, True]


# ---------- what is told


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "free space there, or go elsewhere"),
        (errno.EDQUOT, "free space there, or go elsewhere"),
        (errno.EROFS, "make it writable, or go elsewhere"),
        (errno.EACCES, "make it writable, or go elsewhere"),
        (errno.ENAMETOOLONG, "choose a shorter name, or go elsewhere"),
        (errno.EIO, "go elsewhere"),
    ],
)
@pytest.mark.parametrize("error", [UsageError, DataError, BundleError])
def test_every_refusal_is_one_line_with_the_final_name(tmp_path, number, cure, error):
    path = tmp_path / "a.png"
    with pytest.raises(AtrousError) as caught, writing(path, error=error, instead="go elsewhere"):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is error
    assert str(caught.value) == f"{path}: cannot be written ({os.strerror(number)}); {cure}."


def test_the_final_name_is_told_inside_of_a_folder_too(tmp_path):
    with pytest.raises(UsageError) as caught, writing_folder(tmp_path / "out") as building:
        (building / "no" / "such.txt").write_text("")
    assert str(caught.value).startswith(f"{tmp_path / 'out'}: cannot be written (")
    with pytest.raises(DataError) as caught, writing_folder(tmp_path / "out") as building:
        write_bytes(write_bytes(building / "masks", b"") / "a.png", b"", error=DataError)
    assert str(caught.value).startswith(f"{tmp_path / 'out/masks/a.png'}: cannot be written (")
    assert names(tmp_path) == []


def test_a_source_that_cannot_be_read_is_told_by_its_own_name(tmp_path):
    source = tmp_path / "source.png"
    with pytest.raises(UsageError) as caught, writing_folder(tmp_path / "out"):
        source.read_bytes()
    assert str(caught.value) == (
        f"{source}: No such file or directory; it is needed to write {tmp_path / 'out'}, which was left as it was."
    )


@posix
def test_a_disk_that_a_copy_fills_is_not_blamed_on_its_source(tmp_path):
    source = tmp_path / "source.png"
    source.write_bytes(bytes(200_000))
    with small_disk(tmp_path / "disk") as folder:
        with pytest.raises(UsageError) as caught, writing_folder(folder / "out") as building:
            shutil.copyfile(source, building / "a.png")
        assert names(folder) == []
    assert str(caught.value).startswith(f"{folder / 'out'}: cannot be written (No space left on device); free space")


def test_the_words_of_a_library_in_rust_are_understood(tmp_path):
    text = "Error while serializing: I/O error: No space left on device (os error 28)"
    told = r"cannot be written \(No space left on device\); free space"
    with pytest.raises(UsageError, match=told), write_errors(tmp_path / "a"):
        raise RuntimeError(text)


def test_other_errors_pass_as_they_are(tmp_path):
    told = DataError("of the data")
    with pytest.raises(DataError) as caught, writing(tmp_path / "a"):
        raise told from OSError(errno.ENOENT, "gone")
    assert caught.value is told
    with pytest.raises(KeyError), writing(tmp_path / "a"):
        raise KeyError("a bug")


def test_places_that_cannot_be_are_refused_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path, why in [
        (tmp_path / "file" / "a", "Not a directory"),
        (tmp_path / "folder", "Is a directory"),
        (tmp_path / ("x" * 300), "File name too long"),
    ]:
        with pytest.raises(UsageError, match=why), writing(path):
            pytest.fail("the block was begun")
    with pytest.raises(UsageError, match="No such file"), writing(tmp_path / "no" / "a", parents=False):
        pytest.fail("the block was begun")
    assert names(tmp_path) == ["file", "folder"]


@contextmanager
def small_disk(folder):
    """A file system of 64 KB, where the tests may make one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def short_files(folder):
    """No file may grow beyond 16 KB: a full disk for those who may not make one."""
    resource = pytest.importorskip("resource")
    folder.mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16384, before[1]))
    try:
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def write_a_png(folder):
    from atrous.images.writing import write_image

    write_image(folder / "a.png", np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8))


def write_a_palette(folder):
    from atrous.images.writing import write_image

    noise = np.random.default_rng(0).integers(0, 256, (400, 400), np.uint8)
    write_image(folder / "a.png", noise, palette=[(k, 0, 0) for k in range(256)])


def write_a_tiff(folder):
    from atrous.images.writing import write_image

    write_image(folder / "a.tif", np.random.default_rng(0).random((300, 300)))


def write_made_data(folder):
    from atrous.made import make_cells

    make_cells(folder / "cells", count=20, size=128)


def write_a_bundle(folder):
    from atrous import create_model, save_bundle

    save_bundle(folder / "x.bundle", create_model("unet", num_classes=2, encoder="test_resnet"), class_names=["a", "b"])


def write_a_checkpoint(folder):
    import torch

    from atrous.training.files import write_checkpoint

    write_checkpoint(folder / "last.ckpt", {"weights": torch.randn(100_000)})


def write_a_log(folder):
    from atrous.training.files import Log

    log = Log(folder / "log.csv")
    try:
        for step in range(20_000):
            log.write({"step": step, "loss": 0.123456})
    finally:
        os.truncate(log.path, 0)  # room for what Python still holds
        log.close()
        log.path.unlink()


@posix
@pytest.mark.parametrize("place", [small_disk, short_files])
@pytest.mark.parametrize(
    "write",
    [
        lambda folder: write_bytes(folder / "a", bytes(100_000)),
        write_a_png,
        write_a_palette,
        write_a_tiff,
        write_a_bundle,
        write_a_checkpoint,
        write_a_log,
        write_made_data,
    ],
)
def test_a_full_disk_is_told_and_nothing_is_left(tmp_path, place, write):
    with place(tmp_path / "disk") as folder:
        if write is write_made_data and place is short_files:
            pytest.skip("its files are all short")
        with pytest.raises(AtrousError) as caught:
            write(folder)
        left = names(folder)
    assert left == []
    text = str(caught.value)
    assert text.startswith(str(folder))
    assert "cannot be written (" in text
    assert "No space left on device" in text or "File too large" in text
    assert ".part" not in text
    assert "\n" not in text


@posix
def test_a_full_device(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("has no /dev/full")
    with pytest.raises(UsageError, match=r"/dev/full: cannot be written \(No space left on device\); free space there"):
        write_bytes("/dev/full", b"x")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


# ---------- killed processes

HALF = """
import sys, time
from pathlib import Path
from atrous.disk import writing, writing_folder
way = writing_folder if sys.argv[2] == "folder" else writing
with way(sys.argv[1]) as beside:
    (beside / "a" if sys.argv[2] == "folder" else beside).write_bytes(b"half")
    print("half", flush=True)
    time.sleep(600)
"""


@posix
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_kill_leaves_nothing_under_the_name_and_the_next_write_cleans(tmp_path, kind):
    path = tmp_path / "out"
    other = start(HALF, tmp_path / "outer", kind)  # a name that begins alike, and a process that lives
    killed = start(HALF, path, kind)
    try:
        assert other.stdout.readline() == killed.stdout.readline() == "half\n"
        killed.send_signal(signal.SIGKILL)
        killed.wait(timeout=60)
        assert not path.exists()
        assert [found.name.split(".")[1] for found in leftovers(path)] == ["out"]
        assert leftovers(tmp_path / "outer") == leftovers(path)  # whatever is written next into the folder
        if kind == "file":
            write_text(path, "whole")
        else:
            with writing_folder(path) as building:
                (building / "a").write_text("whole")
        assert leftovers(path) == []
        alive = [name for name in names(tmp_path) if name != "out"]
        assert [name.split(".")[1] for name in alive] == ["outer"]
    finally:
        for process in (other, killed):
            process.kill()
            process.communicate(timeout=60)


@posix
def test_only_the_dead_of_this_machine_are_cleaned(tmp_path):
    path = tmp_path / "a.txt"
    host = name_beside(path).name.split(".")[3].split("-")[0]
    elsewhere = "00000000" if host != "00000000" else "11111111"
    dead = dead_process()
    kept = [
        f".a.txt.{host}-{os.getpid()}-00000000.part",
        f".a.txt.{host}-1-00000000.part",
        f".a.txt.{elsewhere}-{dead}-00000000.part",
        ".b.txt.part",
        "a.txt.part",
        ".a.txt.mine.part",
    ]
    gone = [f".a.txt.{host}-{dead}-00000000.part", f".b.txt.{host}-{dead}-00000000.part", ".a.txt.part"]
    for name in kept + gone:
        (tmp_path / name).touch()
    assert sorted(found.name for found in leftovers(path)) == sorted(gone)
    write_text(path, "")
    assert names(tmp_path) == sorted([*kept, "a.txt"])


@posix
def test_what_a_killed_command_left_in_a_large_folder_is_cleaned_by_the_next(tmp_path):
    """Every name was searched for in its own turn, and most turns were left out."""
    host, dead = name_beside(tmp_path / "a").name.split(".")[2].split("-")[0], dead_process()
    for number in range(4 * disk.LOOKED_AT):
        (tmp_path / f"{number}.png").touch()
    (tmp_path / f".77.png.{host}-{dead}-00000000.part").touch()
    write_text(tmp_path / "1.png", "")
    assert not [name for name in names(tmp_path) if name.endswith(".part")]


def test_a_folder_of_very_many_files_is_not_searched_at_every_write(tmp_path, monkeypatch):
    searched, really = [], os.scandir
    monkeypatch.setattr(disk.os, "scandir", lambda path: searched.append(path) or really(path))
    for number in range(disk.LOOKED_AT * 3 + 2):
        (tmp_path / f"{number}").touch()
    for _ in range(8):
        write_text(tmp_path / "a", "", durable=False)
    assert len(searched) == 2  # the first, and after three more the fifth
    searched.clear()
    for _ in range(4):
        write_text(tmp_path / "few" / "a", "", durable=False)
    assert len(searched) == 4


# ---------- folders


def fill(building, text):
    for name in ("weights", "recipe"):
        (building / name).write_text(text)


OWNS = ("weights", "recipe")


def test_a_folder_comes_whole_into_a_free_place(tmp_path):
    out = tmp_path / "a" / "out"
    with writing_folder(out) as building:
        fill(building, "1")
        assert names(out.parent) == [building.name]
    assert names(out.parent) == ["out"]
    assert names(out) == sorted(OWNS)
    empty = tmp_path / "empty"
    empty.mkdir()
    with writing_folder(empty) as building:
        fill(building, "1")
    assert names(empty) == sorted(OWNS)


def test_a_place_that_is_not_free_stays(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").touch()
    told = r"out: cannot be written \(Directory not empty\); choose another place\."
    with pytest.raises(DataError, match=told), writing_folder(out, error=DataError) as building:
        fill(building, "1")
    assert names(tmp_path) == ["out"]
    assert names(out) == ["mine"]


def test_an_older_folder_is_exchanged_and_what_is_not_its_own_stays(tmp_path):
    out = tmp_path / "out"
    for text in "12":
        with writing_folder(out, owns=OWNS) as building:
            fill(building, text)
        (out / "mine").write_text("mine")
        (out / "mine too").mkdir(exist_ok=True)
    assert names(tmp_path) == ["out"]
    assert [(out / name).read_text() for name in OWNS] == ["2", "2"]
    assert names(out) == ["mine", "mine too", "recipe", "weights"]


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    link = tmp_path / "link"
    (tmp_path / "real").mkdir()
    link.symlink_to(tmp_path / "real", target_is_directory=True)
    with writing_folder(link, owns=OWNS) as building:
        fill(building, "1")
    assert link.is_symlink()
    assert names(tmp_path / "real") == sorted(OWNS)
    assert names(tmp_path) == ["link", "real"]


KILLED_BETWEEN = """
import os, signal, sys
from pathlib import Path
from atrous.disk import writing_folder
really, calls = Path.rename, []
def rename(self, target):
    calls.append(target)
    if len(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return really(self, target)
Path.rename = rename
with writing_folder(sys.argv[1], owns=("weights", "recipe")) as building:
    for name in ("weights", "recipe"):
        (building / name).write_text("new")
"""


@posix
@pytest.mark.parametrize("rename", [1, 2])
@pytest.mark.parametrize("by", ["reader", "writer"])
def test_a_kill_at_either_rename_loses_nothing(tmp_path, rename, by):
    out = tmp_path / "out"
    with writing_folder(out, owns=OWNS) as building:
        fill(building, "old")
    (out / "mine").write_text("mine")
    process = start(KILLED_BETWEEN, out, rename)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert out.exists() == (rename == 1)
    if by == "reader":
        restore(out)
    else:
        with writing_folder(out, owns=OWNS) as building:
            fill(building, "newer")
        assert names(tmp_path) == ["out"]
    assert {(out / name).read_text() for name in OWNS} == {"old" if by == "reader" else "newer"}
    assert (out / "mine").read_text() == "mine"


def test_restore_leaves_alone_what_stands(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / ".out.old").mkdir()
    restore(tmp_path / "out")
    restore("/")
    assert names(tmp_path) == [".out.old", "out"]


# ---------- rivals

RIVAL = """
import sys
from pathlib import Path
from atrous.disk import write_bytes, writing_folder
folder, letter = Path(sys.argv[1]), sys.argv[2]
for number in range(60):
    write_bytes(folder / "file", letter.encode() * 100_000, durable=False)
    with writing_folder(folder / "out", owns=("weights", "recipe")) as building:
        for name in ("weights", "recipe"):
            (building / name).write_text(letter * 1000)
"""


@posix
@pytest.mark.slow
def test_rivals_for_one_name_never_mix_nor_fail(tmp_path):
    rivals = [start(RIVAL, tmp_path, letter) for letter in "abc"]
    seen = set()
    while any(rival.poll() is None for rival in rivals):
        if (tmp_path / "file").exists():
            content = (tmp_path / "file").read_bytes()
            assert content in {letter.encode() * 100_000 for letter in "abc"}
            seen.add(content[:1])
    assert [rival.communicate(timeout=60) and rival.returncode for rival in rivals] == [0, 0, 0]
    assert seen
    assert names(tmp_path) == ["file", "out"]
    assert names(tmp_path / "out") == sorted(OWNS)
    assert len({(tmp_path / "out" / name).read_text() for name in OWNS}) == 1


# ---------- one way


def test_no_other_module_renames() -> None:
    package, found = Path(disk.__file__).parent, set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            of_path = node.func.attr == "replace" and len(node.args) == 1 and not node.keywords  # text takes two
            if of_path or node.func.attr in ("rename", "renames", "mkdtemp", "mkstemp", "NamedTemporaryFile"):
                found.add(path.relative_to(package).as_posix())
    # The conversion moves folders within one that is being built.
    assert found == {"disk.py", "fetch.py", "data/convert/folder.py"}


def test_names_of_files_that_are_no_utf_8_are_written_as_their_bytes(tmp_path):
    import os

    from atrous.inference.counting import ClassCount, CountsFile

    name = os.fsdecode(b"caf\xe9.png")
    assert write_text(tmp_path / "a.txt", f"{name}\n").read_bytes() == b"caf\xe9.png\n"
    for _ in range(2):
        counts = CountsFile(tmp_path / "counts.csv")
        counts.begin([name])
        counts.add([ClassCount(name, "", "cell", 1, 4, 0.5, 1)])
    # A table is UTF-8 throughout: a name that is not stands there as messages show it, and is found again.
    assert (tmp_path / "counts.csv").read_bytes().count(rb"caf\xe9.png,") == 1
