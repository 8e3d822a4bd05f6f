"""What to choose for a data set nobody has seen: ways to train, by their average rank over many sets at equal time.

    python -m benchmarks.rules ../shared/data                          the rows that are missing
    python -m benchmarks.rules ../shared/data --ways lite0 lite0_slow  of these ways, in WAYS
    python -m benchmarks.rules ../shared/data --sets camvid isbi:5:0 --folds 1 2 --budget 5m --together 2
    python -m benchmarks.rules --table                                 the table of what there is

Every row trains in a process of its own for the same wall-clock time, keeps the weights of its best validation and is
judged on the validation images of its fold, whole, before anything is tuned on them. With `--together`, so many ways
train side by side on as many threads as their share of the cores: the time of each is worth less, for all alike.
Folds are those of `benchmarks.folds`; the sealed one is not run here. Rows are kept as they finish.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from benchmarks.folds import SEALED, SETS, make_fold
from benchmarks.harness import keep_rows, machine, read_rows

_LITE = "{name: unet, encoder: tf_efficientnet_lite0, pretrained: true}"
_SLOW = "groups: {encoder: {lr: x0.3}}"
_RATE = "name: adamw, lr: 1.5e-3, weight_decay: 0.01"

WAYS: dict[str, list[str]] = {
    "chosen": [],
    "resnet18": ["model={name: unet, encoder: resnet18}"],
    "scratch": ["model={name: unet, encoder: tf_efficientnet_lite0}"],
    "lite0": [f"model={_LITE}"],
    "lite0_slow": [f"model={_LITE}", f"optimizer={{{_RATE}, {_SLOW}}}"],
    "lite0_norm": [
        f"model={_LITE}",
        f"optimizer={{{_RATE}, groups: {{encoder: {{lr: x0.3, frozen: statistics}}}}}}",
    ],
    "lite0_light": [f"model={_LITE[:-1]}, decoder_channels: [128, 64, 32, 24]}}", f"optimizer={{{_RATE}, {_SLOW}}}"],
    "lite0_deeplab": [f"model={_LITE.replace('unet', 'deeplabv3plus_smp')}", f"optimizer={{{_RATE}, {_SLOW}}}"],
    "lite0_half": [
        f"model={{name: downscaled, factor: 2, network: {_LITE}}}",
        f"optimizer={{{_RATE}, {_SLOW}}}",
    ],
}
"""Name of a way -> entries of a recipe; everything else is chosen from the data."""


def run_one(way: str, data: str, fold: int, seed: int, budget: str, source: Path) -> dict[str, Any]:
    """One row, in this process."""
    import atrous

    folder = make_fold(data, fold, source)
    overrides = [*WAYS[way], "tune=null", f"seed={seed}"]
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "run"
        run = atrous.train(folder, out=out, overrides=overrides, budget=budget, evaluate=False, progress=False)
        summary = atrous.evaluate(out / "bundle", folder, split="val").summary
        recipe = (out / "recipe.yaml").read_text()
    found = machine()
    cpu = f"{found['cpu']}, {found['flags']}"
    return {"way": way, "data": data, "fold": fold, "seed": seed, "budget": budget, "cpu": cpu, "steps": run.steps,
            "load": os.getloadavg()[0], "mean_iou": summary["mean_iou"], "iou": summary["iou"],
            "seg": summary.get("seg"), "recipe": recipe.replace(f"{folder.resolve().parent}/", "")}  # fmt: skip


def key_of(way: str, data: str, fold: int, seed: int, budget: str) -> str:
    """The name of a row."""
    return f"{way} / {data} / {fold} / {seed} / {budget}"


def run_missing(source: Path, given: argparse.Namespace) -> None:
    """What is missing: all ways of a fold, then those of the next."""
    writing = Lock()
    threads = max((os.cpu_count() or 1) // given.together, 1)

    def run(row: tuple[str, str, int, int, str]) -> None:
        way, data, fold, seed, budget = row
        command = [sys.executable, "-m", "benchmarks.rules", str(source), "--one", way, "--sets", data]
        command += ["--folds", str(fold), "--seeds", str(seed), "--budget", budget]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=7200, env=environment)
        if done.returncode:
            print(f"{key_of(*row)}: failed\n{done.stderr[-2000:]}", flush=True)
            return
        found = json.loads(done.stdout.splitlines()[-1])
        with writing:
            rows = {**read_rows(given.name), key_of(*row): {**found, "together": given.together}}
            keep_rows(given.name, rows, f"Mean IoU.\n\n{table(rows)}")
        print(f"{key_of(*row)}: {found['mean_iou']:.3f} after {found['steps']} steps", flush=True)

    for seed in given.seeds:
        for fold in given.folds:
            for data in given.sets:
                make_fold(data, fold, source)
                wanted = [(way, data, fold, seed, given.budget) for way in given.ways]
                missing = [row for row in wanted if key_of(*row) not in read_rows(given.name)]
                with ThreadPoolExecutor(given.together) as pool:
                    list(pool.map(run, missing))


def table(rows: dict[str, dict[str, Any]]) -> str:
    """A line per set, fold, seed and budget; below, the average rank of each way on the lines that it shares."""
    ways = [way for way in WAYS if any(row["way"] == way for row in rows.values())]
    lines: dict[tuple[Any, ...], dict[str, float]] = defaultdict(dict)
    for row in rows.values():
        place = (row["data"], row["budget"], row["fold"], row["seed"], row["together"])
        lines[place][row["way"]] = row["mean_iou"]
    text = [f"| data, budget, fold, seed, together | {' | '.join(ways)} |", "|---|" + "---|" * len(ways)]
    ranks = defaultdict(list)
    for place, scores in sorted(lines.items()):
        cells = [f"{scores[way]:.3f}" if way in scores else "–" for way in ways]
        text.append(f"| {', '.join(map(str, place))} | {' | '.join(cells)} |")
        for way, score in scores.items():
            ranks[way].append(1 + sum(other > score for other in scores.values()))
    means = [f"{sum(ranks[way]) / len(ranks[way]):.2f} of {len(ranks[way])}" for way in ways]
    return "\n".join([*text, f"| average rank | {' | '.join(means)} |"])


def main() -> None:
    """Run or print."""
    every = [*SETS, "camvid:20:0", "dsb:10:0", "isbi:5:0", "cells:8:0"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", type=Path, help="folder of the data sets")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--sets", nargs="+", default=every, help="names, or NAME:COUNT:DRAW for few training images")
    parser.add_argument("--name", default="rules", help="of the file of results, such as few")
    parser.add_argument("--folds", nargs="+", type=int, default=[1, 2, 3, 4])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--together", type=int, default=1)
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if SEALED in given.folds:
        parser.error(f"fold {SEALED} is sealed: rules are not chosen by it")
    if given.table or given.source is None:
        print(table(read_rows(given.name)))
    elif given.one:
        row = run_one(given.one, given.sets[0], given.folds[0], given.seeds[0], given.budget, given.source)
        print(json.dumps(row))
    else:
        run_missing(given.source, given)


if __name__ == "__main__":
    main()
