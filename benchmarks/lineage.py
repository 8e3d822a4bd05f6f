"""Every network learns: its scaled-down twin trains for 150 steps on made scenes of 96x96.

    python -m benchmarks.lineage                 the rows that are missing
    python -m benchmarks.lineage pspnet fcn8s    these, again

One row a model: loss of the first five and of the last ten steps, mean IoU on held-out scenes after training, that of
answering the commonest class everywhere, seconds and peak memory of the training. A row passes when the loss is at most
half and the mean IoU above the commonest class's. Rows are kept as they finish, so that a stopped run goes on.
"""

import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import RESULTS, machine

CACHE = Path(__file__).parent / ".cache"
ROWS = RESULTS / "lineage.json"
STEPS, SIZE, SCENES = 150, 96, 80


def scenes() -> Path:
    """Made scenes, kept from run to run."""
    folder = CACHE / f"scenes{SIZE}"
    if not folder.exists():
        from atrous.made import make_scenes

        make_scenes(folder, count=SCENES, size=SIZE, seed=0)
    return folder


def learn(name: str) -> dict[str, object]:
    """Train the twin of one model in this process and measure."""
    import atrous
    from atrous.analysis import parameters
    from atrous.bundle import load_bundle

    steps = [f"training.max_steps={STEPS}", f"training.validate_every={STEPS}", "training.log_every=1"]
    sizes = [f"data.crop={SIZE}", "data.workers=0"]
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        start = time.perf_counter()
        atrous.train(scenes(), recipe=f"{name}_small", out=run, overrides=steps + sizes, evaluate=False)
        seconds = time.perf_counter() - start
        with (run / "log.csv").open() as file:
            losses = [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]
        count = parameters(load_bundle(run / "bundle").model)
        evaluation = atrous.evaluate(run / "bundle", scenes(), split="val")
    matrix = np.array(evaluation.matrix)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "name": name,
        "parameters": count,
        "first_loss": float(np.mean(losses[:5])),
        "last_loss": float(np.mean(losses[-10:])),
        "mean_iou": evaluation.summary["mean_iou"],
        "majority_mean_iou": float(matrix.sum(1).max() / matrix.sum() / len(matrix)),
        "seconds": round(seconds, 1),
        "memory_mb": round(int(status["VmHWM"].split()[0]) / 1024),
    }


def passes(row: dict[str, object]) -> bool:
    """Whether the twin learnt."""
    return row["last_loss"] <= row["first_loss"] / 2 and row["mean_iou"] > row["majority_mean_iou"]


def table(rows: dict[str, dict[str, object]]) -> str:
    """A Markdown table in alphabetical order."""
    lines = [
        "| twin of | parameters | loss: first -> last | mean IoU | commonest class | seconds | peak MB | learns |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in sorted(rows):
        row = rows[name]
        lines.append(
            f"| {name} | {row['parameters']:,} | {row['first_loss']:.3f} -> {row['last_loss']:.3f} | "
            f"{row['mean_iou']:.3f} | {row['majority_mean_iou']:.3f} | {row['seconds']} | {row['memory_mb']} | "
            f"{'yes' if passes(row) else 'NO'} |"
        )
    return "\n".join(lines)


def main(names: list[str]) -> None:
    """Train what is asked for, or what is missing, each in a process of its own."""
    from atrous.models import list_models

    rows = json.loads(ROWS.read_text())["rows"] if ROWS.exists() else {}
    for name in names or [name for name in list_models() if name not in rows]:
        command = [sys.executable, "-m", "benchmarks.lineage", "--one", name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        if done.returncode:
            print(f"{name}: failed\n{done.stderr[-2000:]}")
            continue
        row = json.loads(done.stdout.splitlines()[-1])
        # Read again: another run may have added rows meanwhile.
        rows = (json.loads(ROWS.read_text())["rows"] if ROWS.exists() else {}) | {name: row}
        ROWS.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
        print(table({name: row}).splitlines()[-1], flush=True)
    text = f"# lineage\n\n`python -m benchmarks.lineage`\n\n{', '.join(f'{k} {v}' for k, v in machine().items())}\n\n"
    (RESULTS / "lineage.md").write_text(text + table(rows) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(learn(sys.argv[2])))
    else:
        main(sys.argv[1:])
