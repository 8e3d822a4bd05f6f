"""What each of several processes does in `test_distributed.py`: every scenario, one run after the other.

torchrun --nproc-per-node 2 two_processes.py OUT
"""

import atexit
import shutil
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from conftest import Network, Squares, Task, flip

from atrous.training import callbacks
from atrous.training.distributed import world
from atrous.training.engine import TrainingPlan, carry_out
from atrous.training.files import read_checkpoint
from atrous.training.options import TrainingOptions
from atrous.training.state import RunState

STEPS, VALIDATE, KEPT = 8, 4, 6
SCENARIOS = {
    "ddp": {},
    "alone": {"sync_batchnorm": False},
    "accumulated": {"accumulate": 2},
    "averaged": {"ema": 0.8},
    "fsdp": {"strategy": "fsdp"},
}


def make_plan(batch_size: int, **options) -> TrainingPlan:
    """Without dropout, whose masks are each process's own."""
    torch.manual_seed(0)
    model = Network()
    model.body[3] = torch.nn.Identity()
    train = Squares(7, seed=0)
    train.masks[::2, 2:] = 255  # the processes have labels of different numbers of pixels
    given = {"max_steps": STEPS, "validate_every": VALIDATE, "checkpoint_every": 2, "log_every": 1} | options
    return TrainingPlan(
        model=model,
        task=Task(),
        # Adam would turn the rounding errors of a bias before a normalisation into whole steps.
        optimizer=torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9),
        schedule=lambda total: lambda step: 1 - step / total,
        train=train,
        names=[f"image{index}.png" for index in range(7)],
        options=TrainingOptions(**given, device="cpu", precision="float32"),
        state=RunState(max_steps=STEPS, validate_every=VALIDATE),
        batch_size=batch_size,
        transform=flip,
        val=Squares(3, seed=1),
        val_size=3,
        workers=0,
        seed=3,
    )


def talking() -> int:
    """Threads that carry out what gloo was asked for; -1 where the system does not tell."""
    tasks = Path("/proc/self/task")
    names = [(task / "comm").read_text().strip() for task in tasks.iterdir()] if tasks.is_dir() else None
    return -1 if names is None else names.count("pt_gloo_runloop")


def main(out: Path) -> None:
    # Registered before the processes meet, and so called after they have left one another.
    count = {}
    atexit.register(lambda: (out / f"threads{world().rank}.txt").write_text(f"{count['during']} {talking()}"))
    write = callbacks.write_checkpoint

    def write_and_keep(path, content):
        write(path, content)
        if path.name == "last.ckpt" and content["state"]["step"] == KEPT:
            shutil.copy(path, path.with_name("kept.ckpt"))

    callbacks.write_checkpoint = write_and_keep
    for name, options in SCENARIOS.items():
        batch_size = 2 // options.get("accumulate", 1)
        for again in ("", "-resumed"):
            plan = make_plan(batch_size, **options)
            saved = read_checkpoint(out / name / "checkpoints" / "kept.ckpt") if again else None
            carry_out(plan, out / f"{name}{again}", saved=saved, progress=False)
            if world().is_main:
                torch.save(plan.model.state_dict(), out / f"{name}{again}.pt")
    count["during"] = talking()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
