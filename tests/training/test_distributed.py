import csv
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from atrous.errors import UsageError
from atrous.training.distributed import World, world
from atrous.training.engine import carry_out
from atrous.training.identity import identify, must_be_same_run
from atrous.training.stream import Stream

SCRIPT = Path(__file__).parent / "two_processes.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("two_processes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Every scenario, in two processes that talk by gloo."""
    out = tmp_path_factory.mktemp("together")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", "127.0.0.1:0", str(SCRIPT), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.fixture(scope="module")
def single(script, tmp_path_factory):
    """One process with the doubled batch."""
    out = tmp_path_factory.mktemp("single")
    plan = script.make_plan(4)
    carry_out(plan, out, progress=False)
    return out, plan.model.state_dict()


def test_the_threads_of_the_processes_group_end_before_the_interpreter(together):
    """Left to run, one of them now and then aborts a process that has finished."""
    for rank in (0, 1):
        during, after = map(int, (together / f"threads{rank}.txt").read_text().split())
        assert after < during or during == -1


def rows(out):
    with (out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def column(out, name):
    return torch.tensor([float(row[name]) for row in rows(out) if row[name]])


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_two_processes_give_the_curve_of_one_with_the_doubled_batch(together, single, name):
    out, weights = single
    for values in ("loss", "lr", "val_loss", "val_mean_iou", "val_pixel_accuracy"):
        torch.testing.assert_close(column(together / name, values), column(out, values), rtol=2e-5, atol=1e-5)
    found = torch.load(together / f"{name}.pt", weights_only=True)
    for key, value in weights.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-4)


def test_accumulated_batches_of_two_processes_are_not_far(together, single):
    # The normalisation sees two images at a time and not four, so the curve is near and not equal.
    difference = (column(together / "accumulated", "loss") - column(single[0], "loss")).abs()
    assert 0 < difference.max() < 0.2


def test_without_joint_normalisation_the_curve_is_another(together, single):
    difference = (column(together / "alone", "loss") - column(single[0], "loss")).abs()
    assert difference.max() > 2e-4


@pytest.mark.parametrize("name", ["ddp", "accumulated", "averaged", "fsdp"])
def test_a_resumed_run_ends_with_the_same_bits(together, name):
    first, second = (torch.load(together / f"{name}{end}.pt", weights_only=True) for end in ("", "-resumed"))
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert column(together / f"{name}-resumed", "loss").tolist() == column(together / name, "loss").tolist()[6:]


def test_checkpoints_hold_whole_weights(together, single):
    saved = torch.load(together / "fsdp" / "checkpoints" / "best.ckpt", weights_only=True)
    assert {key: value.shape for key, value in saved["model"].items()} == {
        key: value.shape for key, value in single[1].items()
    }


def test_the_draws_of_a_step_are_shared_out():
    def stream(batch_size, **options):
        return Stream(7, batch_size, 3, lambda: range(5), **options)

    for step in range(5):
        whole = stream(8).batch(step)
        parts = [stream(4, rank=rank, processes=2).batch(step) for rank in (0, 1)]
        assert parts[0] + parts[1] == whole
        twice = [stream(2, rank=rank, processes=2, accumulate=2).batch(step) for rank in (0, 1)]
        assert twice[0][:2] + twice[1][:2] + twice[0][2:] + twice[1][2:] == whole


def test_without_torchrun_there_is_one_process(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "7")
    assert world() == World(0, 1, 1)


def test_a_run_is_resumed_by_as_many_processes():
    saved, now = (identify({}, {"train": ["a"]}, ["x"], processes=count) for count in (2, 1))
    with pytest.raises(UsageError, match=r"was trained by 2 process\(es\) together, and now there are 1"):
        must_be_same_run(saved, now, place="runs/a")
