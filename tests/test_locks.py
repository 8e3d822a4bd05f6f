"""A folder belongs to one process at a time; a killed one is recognised, and another machine's is told apart."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from atrous import locks
from atrous.errors import UsageError
from atrous.locks import LOCK, locked, refuse_locked
from atrous.processes import began, is_dead, machine

HOLD = """
import sys
from pathlib import Path
from atrous.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that keeps the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def change(folder: Path, **entries: object) -> None:
    said = json.loads((folder / LOCK).read_text())
    (folder / LOCK).write_text(json.dumps(said | entries))


def test_a_lock_lasts_as_long_as_its_block(tmp_path):
    with locked(tmp_path):
        said = json.loads((tmp_path / LOCK).read_text())
        assert said["process"] == os.getpid()
        assert said["host"] == os.uname().nodename
        with pytest.raises(UsageError, match=f"process {os.getpid()} has been working"), locked(tmp_path):
            pass
        assert (tmp_path / LOCK).exists()
    assert not list(tmp_path.iterdir())


def test_another_process_is_named(tmp_path, holder):
    since = json.loads((tmp_path / LOCK).read_text())["since"]
    with pytest.raises(UsageError) as told, locked(tmp_path):
        pass
    assert str(told.value) == (
        f"{tmp_path}: process {holder.pid} has been working in this folder since {since}; wait until it ends, or name "
        "another folder."
    )


def test_a_killed_process_leaves_a_lock_that_the_next_takes_over(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / LOCK).exists()
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_a_number_that_was_given_anew_is_not_taken_for_the_process_before(tmp_path, holder):
    change(tmp_path, began="1 since 00000000")
    refuse_locked(tmp_path)
    with locked(tmp_path):
        pass


def test_of_another_machine_nobody_can_tell(tmp_path, holder):
    change(tmp_path, host="node7", machine="00000000")
    with pytest.raises(UsageError, match=r"process \d+ on node7 .* if it does not, delete .*run\.lock\.$"):
        refuse_locked(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "\0" * 40, '{"process": "x"}', "[" * 50_000])
def test_a_damaged_lock_says_what_to_do(tmp_path, text):
    (tmp_path / LOCK).write_text(text)
    with (
        pytest.raises(UsageError, match=r"run\.lock: does not say which process .* delete the file\.$"),
        locked(tmp_path),
    ):
        pass


def test_one_of_two_is_faster(tmp_path, monkeypatch):
    def slower(path: Path, text: str) -> bool:
        path.write_text(text.replace(machine(), "00000000"))
        return False

    monkeypatch.setattr(locks, "_create", slower)
    with pytest.raises(UsageError, match="nobody can tell"), locked(tmp_path):
        pass


def test_a_disk_without_hard_links_will_do(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "no links")))
    with locked(tmp_path):
        with pytest.raises(UsageError, match="has been working"), locked(tmp_path):
            pass
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
    assert not list(tmp_path.iterdir())


def test_a_lock_that_another_took_over_is_left_to_it(tmp_path):
    with locked(tmp_path):
        change(tmp_path, token="another")
    assert (tmp_path / LOCK).exists()


def test_processes_are_told_apart(holder):
    assert not is_dead(machine(), os.getpid(), began(os.getpid()))
    assert began(holder.pid) != began(os.getpid())
    assert not is_dead("00000000", 1 << 22)
    assert is_dead(machine(), (1 << 31) - 2)
