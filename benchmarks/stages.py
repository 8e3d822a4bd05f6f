"""What each further stack of an hourglass, and each further stage of a pose machine, buys for classes at equal time.

    python -m benchmarks.stages ../shared/data                         the rows that are missing, 10 minutes each
    python -m benchmarks.stages ../shared/data --seeds 0 1 2           of these seeds
    python -m benchmarks.stages ../shared/data --only "isbi cpm"       the rows whose name begins so
    python -m benchmarks.stages ../shared/data --budget 20m --together 2
    python -m benchmarks.stages --table                                the table of what there is

The networks are narrow forms of the published ones, as `WIDTHS` and the table say: at full width ten minutes of two
cores are some hundred steps. All else is that of the recipes `hourglass_small` and `cpm_small`: the losses of all
stages are summed. Every row trains in a process of its own from random weights for the same wall-clock time, in which
one with more stages takes fewer steps, and is judged by `atrous evaluate` on whole validation images, with the weights
of its best validation. With `--together`, so many train side by side on as many threads as their share of the cores.
The data sets are `camvid` and `isbi2012_em` as `benchmarks.regimes` divides them. Rows are kept as they finish, so that
a stopped run goes on.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from benchmarks.harness import keep_rows, machine, read_rows
from benchmarks.regimes import prepare

_DATA = {
    "camvid": ["data.crop=[192,256]", "data.batch_size=4"],
    "isbi": ["data.crop=192", "data.batch_size=4", "data.augment=[{name: rotate90}, {name: horizontal_flip}]"],
}
_FORMS = {"hourglass": ("stacks", (1, 2, 4)), "cpm": ("stages", (1, 2, 3))}
WIDTHS = {"hourglass": 64, "cpm": 24}
"""Channels, for the 256 and 128 that were published."""

ROWS_TO_RUN: dict[str, tuple[str, str, list[str]]] = {
    f"{data} {model}: {count} {key if count > 1 else key[:-1]}": (
        data,
        f"{model}_small",
        [*overrides, f"model.{key}={count}", f"model.width={WIDTHS[model]}", "data.workers=1"],
    )
    for data, overrides in _DATA.items()
    for model, (key, counts) in _FORMS.items()
    for count in counts
}
"""Name of a row -> data set, recipe and its changes."""


def run_one(name: str, seed: int, budget: str, source: Path) -> dict[str, Any]:
    """Train one row in this process and measure."""
    import atrous
    from atrous.analysis import parameters
    from atrous.bundle import load_bundle
    from atrous.workflows.isbi import score_isbi

    data, recipe, overrides = ROWS_TO_RUN[name]
    folder = prepare(data, source)
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "run"
        begun = time.perf_counter()
        run = atrous.train(
            folder, recipe=recipe, out=out, overrides=[*overrides, f"seed={seed}"], budget=budget, evaluate=False,
            progress=False,
        )  # fmt: skip
        seconds = time.perf_counter() - begun
        summary = atrous.evaluate(out / "bundle", folder, split="val").summary
        membranes = score_isbi(out / "bundle", folder) if data == "isbi" else {}
        count = parameters(load_bundle(out / "bundle").model)
    found = machine()
    return {
        "name": name,
        "seed": seed,
        "budget": budget,
        "cpu": f"{found['cpu']}, {found['flags']}",
        "load": os.getloadavg()[0],
        "steps": run.steps,
        "seconds": round(seconds, 1),
        "parameters": count,
        "mean_iou": summary["mean_iou"],
        "iou": summary["iou"],
        "pixel_accuracy": summary["pixel_accuracy"],
        "v_rand": membranes.get("v_rand"),
    }


def key_of(name: str, seed: int, budget: str) -> str:
    """The name of a row with its seed and time."""
    return f"{name} / {seed} / {budget}"


def table(rows: dict[str, dict[str, Any]]) -> str:
    """A Markdown table, a line per form and budget: the mean over its seeds, and each seed's score."""
    lines = [
        "| trained | budget | seeds | parameters | steps | mean IoU | of each seed | pixel error | V_rand |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for budget in sorted({row["budget"] for row in rows.values()}):
        for name in ROWS_TO_RUN:
            found = [row for row in rows.values() if (row["name"], row["budget"]) == (name, budget)]
            if found:
                lines.append(_line(name, budget, found))
    return "\n".join(lines)


def _line(name: str, budget: str, found: list[dict[str, Any]]) -> str:
    def mean(key: str) -> float:
        values = [row[key] for row in found if row[key] is not None]
        return sum(values) / len(values) if values else float("nan")

    each = ", ".join(f"{row['mean_iou']:.3f}" for row in found)
    regions = mean("v_rand")
    rand = f"{regions:.3f}" if regions == regions else "–"
    return (
        f"| {name} | {budget} | {len(found)} | {found[0]['parameters']:,} | {mean('steps'):,.0f} "
        f"| {mean('mean_iou'):.3f} | {each} | {100 * (1 - mean('pixel_accuracy')):.1f} % | {rand} |"
    )


def run_missing(source: Path, given: argparse.Namespace) -> None:
    """What is missing, seed by seed, each row in a process of its own."""
    wanted = [(name, seed) for seed in given.seeds for name in ROWS_TO_RUN if name.startswith(given.only)]
    missing = [row for row in wanted if key_of(*row, given.budget) not in read_rows(given.name)]
    for data in {ROWS_TO_RUN[name][0] for name, _ in missing}:
        prepare(data, source)
    threads, writing = max((os.cpu_count() or 1) // given.together, 1), Lock()

    def run(row: tuple[str, int]) -> None:
        name, seed = row
        command = [sys.executable, "-m", "benchmarks.stages", str(source), "--one", name, "--seeds", str(seed)]
        command += ["--budget", given.budget]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=7200, env=environment)
        if done.returncode:
            print(f"{key_of(*row, given.budget)}: failed\n{done.stderr[-2000:]}", flush=True)
            return
        found = {key_of(*row, given.budget): {**json.loads(done.stdout.splitlines()[-1]), "together": given.together}}
        with writing:
            rows = {**read_rows(given.name), **found}
            keep_rows(given.name, rows, table(rows))
        print(table(found).splitlines()[-1], flush=True)

    with ThreadPoolExecutor(given.together) as pool:
        list(pool.map(run, missing))


def main() -> None:
    """Run or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", type=Path, help="folder with camvid/ and isbi2012_em/")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--together", type=int, default=1)
    parser.add_argument("--name", default="stages", help="of the file of results")
    parser.add_argument("--one", choices=ROWS_TO_RUN, help=argparse.SUPPRESS)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table or given.source is None:
        print(table(read_rows(given.name)))
    elif given.one:
        print(json.dumps(run_one(given.one, given.seeds[0], given.budget, given.source)))
    else:
        run_missing(given.source, given)


if __name__ == "__main__":
    main()
