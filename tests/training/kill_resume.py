"""Kill -9 a short run at random moments, resume each, and compare every bit with the uninterrupted run.

    python tests/training/kill_resume.py --count 20 --fresh

The moments are uniform over the whole time of the run: imports (with --fresh), the first checks, steps, validations,
checkpoint writes, the bundle. Without --fresh the runs are forked from a process that has imported everything already,
which is quicker. Prints a table; exits with 1 if a bit differs.
"""

import argparse
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

OVERRIDES = [
    "model.width=4",
    "data={crop: 32, batch_size: 4, workers: 1, augment: [{name: elastic}, {name: horizontal_flip}]}",
    "training={max_steps: 40, validate_every: 10, checkpoint_every: 3, log_every: 2}",
    "schedule={name: one_cycle}",
]


def work(data: Path, out: Path) -> None:
    """One run, from wherever it stands."""
    from atrous.workflows.training import train

    begun = (out / "run.json").is_file()
    train(data, recipe="unet2015", out=out, overrides=OVERRIDES, resume=begun, evaluate=False)


def start(data: Path, out: Path, *, fresh: bool, log: Path) -> int:
    """Begin a run in a process of its own."""
    if fresh:
        command = [sys.executable, __file__, "--child", str(data), str(out)]
        with log.open("ab") as file:
            return subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True).pid
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        import torch

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        work(data, out)
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def finish(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_after(pid: int, seconds: float) -> bool:
    """Whether the process was still alive to be killed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return False
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    return True


def contents(out: Path) -> dict[str, Any]:
    """Everything that must be the same, flattened."""
    import torch
    from safetensors.torch import load_file

    flat: dict[str, Any] = {}

    def add(key: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                add(f"{key}/{name}", inner)
        elif isinstance(value, list | tuple):
            for index, inner in enumerate(value):
                add(f"{key}/{index}", inner)
        elif not key.endswith("seconds"):
            flat[key] = value

    for name in ("last", "best"):
        add(name, torch.load(out / "checkpoints" / f"{name}.ckpt", weights_only=True))
    add("bundle", load_file(out / "bundle" / "model.safetensors"))
    with (out / "log.csv").open(newline="") as file:
        add("log", list(csv.DictReader(file)))
    return flat


def differing(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    import torch

    def same(a: Any, b: Any) -> bool:
        if isinstance(a, torch.Tensor):
            return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
        return a == b

    return [
        key
        for key in sorted({*first, *second})
        if key not in first or key not in second or not same(first[key], second[key])
    ]


def state_of(out: Path) -> str:
    """What a kill left."""
    from atrous.training.files import read_checkpoint

    if not out.exists():
        return "no folder"
    saved = read_checkpoint(out / "checkpoints" / "last.ckpt")
    step = "no checkpoint" if saved is None else f"step {saved['state']['step']}"
    parts = [path.name for path in out.rglob("*.part")]
    bundle = ", bundle" if (out / "bundle").exists() else ""
    return step + bundle + (f", half-written {parts[0]}" if parts else "")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--child", nargs=2, type=Path)
    options = parser.parse_args()
    if options.child:
        work(*options.child)
        return 0
    if not options.fresh:
        import torch

        import atrous.training.fitting
        import atrous.workflows.training  # noqa: F401

        torch.set_num_threads(1)  # a pool of threads in this process would be missing in what is forked from it

    moments, bad = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        log = root / "log.txt"
        data = root / "cells"
        make = "import sys; from atrous.made import make_cells; make_cells(sys.argv[1], count=16, size=48)"
        subprocess.run([sys.executable, "-c", make, str(data)], check=True)
        began = time.monotonic()
        if finish(start(data, root / "whole", fresh=options.fresh, log=log)):
            print(log.read_text())
            return 1
        whole = time.monotonic() - began
        wanted = contents(root / "whole")
        print(f"uninterrupted: {whole:.1f} s, {len(wanted)} values and tensors to compare", flush=True)
        for number in range(options.count):
            out = root / f"run{number}"
            while True:
                moment = moments.uniform(0, whole)
                began = time.monotonic()
                pid = start(data, out, fresh=options.fresh, log=log)
                killed = kill_after(pid, moment)
                finish(pid)
                if killed:
                    break
                whole = time.monotonic() - began  # the machine is less busy than it was: draw again
                shutil.rmtree(out)
            left = state_of(out)
            code = finish(start(data, out, fresh=options.fresh, log=log))
            wrong = differing(wanted, contents(out)) if code == 0 else [f"exit code {code}"]
            bad += bool(wrong)
            verdict = "equal" if not wrong else f"DIFFERS: {', '.join(wrong[:5])}"
            print(f"{number + 1:3d}  killed at {moment:6.2f} s  {left:45s}  {verdict}", flush=True)
            shutil.rmtree(out)
        if bad:
            print(log.read_text()[-5000:])
        print(f"{options.count - bad} of {options.count} equal, bit for bit")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
