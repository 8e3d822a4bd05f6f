"""The command under `torchrun`: one process writes, both train."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from atrous.made import make_cells

STAGES = "[{name: first}, {name: second, optimizer: {lr: 1.0e-3}}]"
OVERRIDES = ["model.width=4", "data={crop: 32, batch_size: 2, workers: 0}", f"stages={STAGES}"]
OVERRIDES += ["training={max_steps: 4, validate_every: 2, log_every: 1, device: cpu}"]


def train(data: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", "127.0.0.1:0", "-m", "atrous.cli", "train", str(data), "--recipe", "unet2015_small"]
    return subprocess.run(
        [*command, "-o", str(out), *OVERRIDES, *more], capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_two_processes_leave_one_run_and_go_on_with_it(tmp_path: Path) -> None:
    data, out = make_cells(tmp_path / "cells", count=10, size=48), tmp_path / "run"
    done = train(data, out)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("bundle: ") == 1
    for folder in (out / "stages" / "1-first", out):
        with (folder / "log.csv").open(newline="") as file:
            assert [int(row["step"]) for row in csv.DictReader(file)] == [1, 2, 3, 4]
    evaluation = json.loads((out / "evaluation.json").read_text())
    assert sum(map(sum, evaluation["matrix"])) == 2 * 48 * 48  # each of the two validation images once
    assert (out / "report.html").is_file()

    before = load_file(out / "bundle" / "model.safetensors")
    again = train(data, out, "--resume")
    assert again.returncode == 0, again.stderr[-3000:]
    assert "was finished before" in again.stdout
    after = load_file(out / "bundle" / "model.safetensors")
    assert all(bool((value == after[name]).all()) for name, value in before.items())

    refused = train(data, out)
    assert refused.returncode != 0
    assert "holds a run already" in refused.stderr
