"""What a machine lacks: shared memory for loader processes, and memory for a step."""

import logging
import shutil
from collections import namedtuple

import pytest
import torch

from atrous.errors import DataError, UsageError
from atrous.training import shortage
from atrous.training.fitting import follow_plan
from atrous.training.shortage import explaining_lack_of_memory, limit_workers

Usage = namedtuple("Usage", "total used free")


class Samples(torch.utils.data.Dataset):
    """Samples of a million bytes."""

    def __getitem__(self, draw):
        return {"image": torch.zeros(1, 500, 500), "index": 0, "mask": torch.zeros(0)}


@pytest.fixture
def free(monkeypatch, tmp_path):
    """Sets the bytes that are free in shared memory."""
    monkeypatch.setattr(shortage, "SHARED", tmp_path)

    def give(count: float) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, int(count)))

    return give


def test_loader_processes_need_room_for_their_batches(free, caplog, tmp_path):
    draws = [(0, 0)] * 10
    free(51e6)  # five batches of 10 MB: two ready for each process, and one in use
    assert limit_workers(2, Samples(), draws) == 2
    free(49e6)
    with caplog.at_level(logging.WARNING):
        assert limit_workers(2, Samples(), draws) == 0
    assert caplog.messages == [
        f"{tmp_path} has 49 MB free, and the batches of 2 loader processes take 50 MB, so images are loaded without; "
        "give a container more by --shm-size=1g, or set data.workers=0"
    ]
    assert limit_workers(1, Samples(), draws) == 1
    free(0)
    assert limit_workers(0, Samples(), draws) == 0


def test_what_cannot_be_measured_is_left_to_the_loader(free, monkeypatch, tmp_path):
    free(0)
    assert limit_workers(2, {(0, 0): DataError("unreadable")}, [(0, 0)]) == 2
    monkeypatch.setattr(shortage, "SHARED", tmp_path / "nothing")  # not on every system
    assert limit_workers(2, Samples(), [(0, 0)]) == 2


def test_a_run_loads_without_processes_where_they_have_no_room(make_plan, free, tmp_path, caplog, weights):
    free(100)
    whole = make_plan()
    follow_plan(whole, tmp_path / "whole", progress=False)
    plan = make_plan(workers=2)
    with caplog.at_level(logging.WARNING):
        follow_plan(plan, tmp_path / "run", progress=False)
    assert "images are loaded without" in caplog.text
    first, second = weights(whole), weights(plan)
    assert all(torch.equal(first[name], second[name]) for name in first)


def crowd(sample, rng):
    torch.empty(1 << 46)
    return sample


@pytest.mark.parametrize("workers", [0, 1])
def test_memory_that_a_step_cannot_have_is_told_with_the_cure(make_plan, tmp_path, workers):
    plan = make_plan(transform=crowd, workers=workers)
    with pytest.raises(UsageError, match=r"more memory than there is: set a smaller data\.batch_size.*--resume"):
        follow_plan(plan, tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory"),
     RuntimeError("numpy: Unable to allocate 7 GiB"), Exception("OpenCV: Failed to allocate 9 bytes")],
)  # fmt: skip
def test_all_libraries_words_for_it_are_known(error):
    with pytest.raises(UsageError, match="more memory than there is"), explaining_lack_of_memory():
        raise error


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), explaining_lack_of_memory():
        raise ZeroDivisionError("the memory of it")
