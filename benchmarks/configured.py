"""Training without a recipe, at equal time: today's build, an earlier one, and a plain loop from the same weights.

    python -m benchmarks.configured ../shared/data                     the rows that are missing, seeds 0 and 1
    python -m benchmarks.configured ../shared/data --before ../base    with the rows of another checkout of this project
    python -m benchmarks.configured ../shared/data --seeds 0 --sets camvid --only ours
    python -m benchmarks.configured --table                            the table of what there is

Every row has the same wall-clock budget (--budget, 10m) for training and its validations, in a process of its own, and
nothing else should run. Each contender keeps the weights of its best validation and is then judged on the validation
images, whole, at their own size. Data are the sealed folds of `benchmarks.folds`, which no rule was chosen by. The peer
is `benchmarks.plain`. Rows are kept as they finish, so that a stopped run goes on.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.folds import SEALED, SETS, make_fold
from benchmarks.harness import keep_rows, machine, read_rows

PUBLISHED = ("camvid", "isbi", "cwfid", "dsb", "voc", "cells")
CONTENDERS = ("ours", "smp", "before")


def run_ours(folder: Path, *, seed: int, budget: str) -> dict[str, Any]:
    """`atrous train` without a recipe."""
    import atrous

    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "run"
        run = atrous.train(folder, out=out, overrides=[f"seed={seed}"], budget=budget, evaluate=False, progress=False)
        summary = atrous.evaluate(out / "bundle", folder, split="val").summary
        text = (out / "recipe.yaml").read_text().replace(f"{folder.resolve().parent}/", "")
    return {"mean_iou": summary["mean_iou"], "iou": summary["iou"], "steps": run.steps,
            "seconds": round(run.seconds, 1), "recipe": text, "seg": summary.get("seg")}  # fmt: skip


def run_one(contender: str, data: str, seed: int, source: Path, budget: str) -> dict[str, Any]:
    """One row, in this process."""
    from atrous.training.options import parse_budget
    from benchmarks.plain import train_plainly

    folder = make_fold(data, SEALED, source)
    if contender == "smp":
        found = train_plainly(folder, seed=seed, seconds=parse_budget(budget) or 600.0)
    else:
        found = run_ours(folder, seed=seed, budget=budget)
    found_on = machine()
    here = {"cpu": f"{found_on['cpu']}, {found_on['flags']}", "load": os.getloadavg()[0]}
    return {"contender": contender, "data": data, "seed": seed, "budget": budget, **here, **found}


def run_missing(source: Path, given: argparse.Namespace) -> None:
    """What is missing, one after the other."""
    for seed in given.seeds:
        for data in given.sets:
            for contender in CONTENDERS:
                key = f"{contender} / {data} / {seed} / {given.budget}"
                skipped = contender == "before" and given.before is None
                if skipped or not contender.startswith(given.only) or key in read_rows("configured"):
                    continue
                make_fold(data, SEALED, source)
                command = [sys.executable, "-m", "benchmarks.configured", str(source), "--one", contender]
                command += ["--sets", data, "--seeds", str(seed), "--budget", given.budget]
                code = (given.before if contender == "before" else Path.cwd()).resolve() / "src"
                environment = {**os.environ, "PYTHONPATH": f"{code}{os.pathsep}{Path.cwd()}"}
                done = subprocess.run(command, capture_output=True, text=True, timeout=7200, env=environment)
                if done.returncode:
                    print(f"{key}: failed\n{done.stderr[-2000:]}", flush=True)
                    continue
                row = json.loads(done.stdout.splitlines()[-1])
                rows = {**read_rows("configured"), key: row}
                keep_rows("configured", rows, f"Mean IoU.\n\n{table(rows)}\n\n{machines(rows)}")
                print(f"{key}: {row['mean_iou']:.3f} after {row['steps']} steps", flush=True)


def table(rows: dict[str, dict[str, Any]]) -> str:
    """A line per data set and budget, a column per contender: the mean over the seeds, and each seed's score."""
    lines = [f"| data, budget | {' | '.join(CONTENDERS)} |", "|---|" + "---|" * len(CONTENDERS)]
    for data, budget in sorted({(row["data"], row["budget"]) for row in rows.values()}):
        cells = []
        for contender in CONTENDERS:
            found = [r for r in rows.values() if (r["data"], r["budget"], r["contender"]) == (data, budget, contender)]
            scores = [row["mean_iou"] for row in sorted(found, key=lambda row: row["seed"])]
            each = f" ({', '.join(f'{score:.3f}' for score in scores)})" if len(scores) > 1 else ""
            cells.append(f"{sum(scores) / len(scores):.3f}{each}" if scores else "–")
        lines.append(f"| {data}, {budget} | {' | '.join(cells)} |")
    return "\n".join(lines)


def machines(rows: dict[str, dict[str, Any]]) -> str:
    """A line per processor: a resumed run may go on elsewhere, and the file's head names only the last one."""
    found: dict[str, list[str]] = {}
    for key, row in sorted(rows.items()):
        found.setdefault(row["cpu"], []).append(key)
    return "\n".join(f"- {cpu}: {'; '.join(keys)}" for cpu, keys in sorted(found.items()))


def main() -> None:
    """Run or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", type=Path, help="folder of the data sets")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--only", default="")
    parser.add_argument("--sets", nargs="+", default=list(PUBLISHED), choices=SETS)
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--before", type=Path, help="another checkout of this project")
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table or given.source is None:
        rows = read_rows("configured")
        print(table(rows), machines(rows), sep="\n\n")
    elif given.one:
        print(json.dumps(run_one(given.one, given.sets[0], given.seeds[0], given.source, given.budget)))
    else:
        run_missing(given.source, given)


if __name__ == "__main__":
    main()
