"""Ways to train, each beside the plain recipe with as many steps: adversarial, staged, heavy, the U-Net paper's own.

    python -m benchmarks.regimes ../shared/data                  the rows that are missing, seeds 0 to 2
    python -m benchmarks.regimes ../shared/data --seeds 0        of one seed
    python -m benchmarks.regimes ../shared/data --only isbi      the rows whose name begins so
    python -m benchmarks.regimes --table                         the table of what there is
    python -m benchmarks.regimes --curves curves.png             its curves, of seed 0

Rows are kept as they finish, with their curves, so that a stopped run goes on. Every row trains in a process of its
own and is judged by `atrous evaluate` on the validation images with the weights of its best validation. Steps are equal
within a group, seconds are not: the column says what a way costs, on one thread, with as many rows at a time as there
are cores. The data sets are `camvid` and `isbi2012_em` as they are handed out.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from benchmarks.harness import keep_rows, read_rows

CACHE = Path(__file__).parent / ".cache"

CAMVID = [
    *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "cyclist"),
]
VALIDATION_SLICES = range(20, 24)

_CAMVID = ["data.crop=[96,128]", "data.augment=[{name: horizontal_flip}]", "data.workers=1"]
_UNET = [*_CAMVID, "data.batch_size=4", "training.max_steps=600", "training.validate_every=300"]
_FCN = [*_CAMVID, "training.log_every=5"]
_ISBI = ["model.width=8", "training={max_steps: 500, validate_every: 100, clip: 1.0}", "data.workers=1"]
_TILE = ["data.crop=196", "data.batch_size=1"]  # smaller than the paper's 388, for the time
_ADVERSARY = "adversary={name: large_fov_light, weight: 0.1, start: 100}"
_TURNS = "{name: rotate90}, {name: horizontal_flip}"
_ELASTIC = "{name: elastic, sigma: 10}"
_BORDERS = "{name: border_weights}"

ROWS_TO_RUN: dict[str, tuple[str, str, list[str]]] = {
    "camvid unet: plain": ("camvid", "unet_small", _UNET),
    "camvid unet: adversarial": ("camvid", "unet_small", [*_UNET, _ADVERSARY]),
    "camvid fcn8s: plain": (
        "camvid",
        "fcn8s_small",
        [*_FCN, "data.batch_size=4", "training.max_steps=600", "training.validate_every=300"],
    ),
    "camvid fcn8s: staged": (
        "camvid",
        "fcn8s_staged_small",
        [
            *[*_FCN, "data.batch_size=4"],
            *[f"stages.{stage}.training.max_steps={steps}" for stage, steps in enumerate((300, 150, 150))],
            "training.validate_every=300",
        ],
    ),
    "camvid fcn8s: heavy": (
        "camvid",
        "fcn8s_heavy_small",
        [*_CAMVID, "training.max_steps=2400", "training.validate_every=1200"],
    ),
    "isbi unet2015: plain": ("isbi", "unet2015", [*_ISBI, *_TILE, f"data.augment=[{_TURNS}]"]),
    **{
        f"isbi unet2015: as the paper trained{name}": (
            "isbi",
            "unet2015_paper",
            [*_ISBI, *_TILE, f"data.augment=[{', '.join(augment)}]"],
        )
        for name, augment in {
            "": (_ELASTIC, _TURNS, _BORDERS),
            ", no weight map": (_ELASTIC, _TURNS),
            ", no elastic deformation": (_TURNS, _BORDERS),
            ", neither": (_TURNS,),
        }.items()
    },
}


def prepare(name: str, source: Path) -> Path:
    """A data folder of links to the files that were handed out, with classes and splits."""
    folder = CACHE / name
    if folder.exists():
        return folder
    beside = CACHE / f".{name}.{os.getpid()}"
    beside.mkdir(parents=True)
    if name == "camvid":
        for part in ("train", "val", "trainannot", "valannot"):
            (beside / part).symlink_to((source / "camvid" / part).resolve())
        for part in ("train.txt", "val.txt"):
            shutil.copy(source / "camvid" / part, beside / part)
        classes = [{"name": word, "value": value} for value, word in enumerate(CAMVID)]
        text = json.dumps({"classes": classes, "ignore": [11]})
    else:
        for part in ("images", "masks"):
            (beside / part).symlink_to((source / "isbi2012_em" / part).resolve())
        slices = sorted(path.stem for path in (beside / "images").iterdir())
        for part, wanted in (("train", False), ("val", True)):
            names = [word for at, word in enumerate(slices) if (at in VALIDATION_SLICES) == wanted]
            (beside / f"{part}.txt").write_text("\n".join(names) + "\n")
        text = json.dumps({"classes": [{"name": "membrane", "value": 0}, {"name": "cell", "value": 255}]})
    (beside / "classes.yaml").write_text(text + "\n")
    beside.rename(folder)
    return folder


def train(name: str, seed: int, source: Path) -> dict[str, Any]:
    """Train one row in this process and measure."""
    import atrous
    from atrous.workflows.isbi import score_isbi

    data, recipe, overrides = ROWS_TO_RUN[name]
    folder = prepare(data, source)
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        start = time.perf_counter()
        atrous.train(folder, recipe=recipe, out=run, overrides=[*overrides, f"seed={seed}"], evaluate=False)
        seconds = time.perf_counter() - start
        evaluation = atrous.evaluate(run / "bundle", folder, split="val")
        membranes = score_isbi(run / "bundle", folder) if data == "isbi" else {}
        curves = {log.parent.relative_to(run).as_posix(): _curve(log) for log in sorted(run.rglob("log.csv"))}
    summary = evaluation.summary
    return {
        "name": name,
        "seed": seed,
        "mean_iou": summary["mean_iou"],
        "iou": summary["iou"],
        "pixel_accuracy": summary["pixel_accuracy"],
        "boundary_f1": summary.get("mean_boundary_f1"),
        "v_rand": membranes.get("v_rand"),
        "seconds": round(seconds, 1),
        "curves": curves,
    }


def _curve(log: Path) -> list[dict[str, float]]:
    """About a hundred rows of a log, those of validations among them."""
    with log.open(newline="") as file:
        rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
    every = max(len(rows) // 100, 1)
    return [row for at, row in enumerate(rows) if at % every == 0 or "val_mean_iou" in row]


def table(rows: dict[str, dict[str, Any]]) -> str:
    """A Markdown table, a line per way: the mean over its seeds, and each seed's score."""
    lines = [
        "| trained | seeds | mean IoU | of each seed | pixel error | V_rand | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ROWS_TO_RUN:
        found = [row for row in rows.values() if row["name"] == name]
        if not found:
            continue
        scores = [row["mean_iou"] for row in found]
        error = 100 * (1 - sum(row["pixel_accuracy"] for row in found) / len(found))
        seconds = sum(row["seconds"] for row in found) / len(found)
        each = ", ".join(f"{score:.3f}" for score in scores)
        mean = sum(scores) / len(scores)
        regions = [row["v_rand"] for row in found if row.get("v_rand")]
        rand = f"{sum(regions) / len(regions):.3f}" if regions else "–"
        lines.append(f"| {name} | {len(found)} | {mean:.3f} | {each} | {error:.1f} % | {rand} | {seconds:.0f} |")
    return "\n".join(lines)


def run_missing(source: Path, seeds: list[int], only: str, processes: int) -> None:
    """Train what is missing, seed by seed, so many rows at a time, each in a process and on a thread of its own."""
    wanted = [(name, seed) for seed in seeds for name in ROWS_TO_RUN if name.startswith(only)]
    missing = [(name, seed) for name, seed in wanted if f"{name} / {seed}" not in read_rows("regimes")]
    for data in {ROWS_TO_RUN[name][0] for name, _ in missing}:
        prepare(data, source)
    writing = Lock()

    def run(row: tuple[str, int]) -> None:
        name, seed = row
        command = [sys.executable, "-m", "benchmarks.regimes", str(source), "--one", name, "--seeds", str(seed)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=7200, env=environment)
        if done.returncode:
            print(f"{name} / {seed}: failed\n{done.stderr[-2000:]}", flush=True)
            return
        with writing:
            found = {f"{name} / {seed}": json.loads(done.stdout.splitlines()[-1])}
            rows = {**read_rows("regimes"), **found}
            keep_rows("regimes", rows, table(rows))
        print(table(found).splitlines()[-1], flush=True)

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(run, missing))


def draw_curves(path: Path) -> None:
    """Losses of every way by its share of the steps, and what the adversary believes, of seed 0."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = {row["name"]: row["curves"] for row in read_rows("regimes").values() if row["seed"] == 0}
    groups = {"CamVid: loss": "camvid", "ISBI: loss": "isbi"}
    with mpl.rc_context({"font.size": 9}):
        canvas = Figure(figsize=(13, 3.6), layout="constrained")
        places = canvas.subplots(1, 3)
        for axes, (title, begin) in zip(places, groups.items(), strict=False):
            for name, curves in rows.items():
                if name.startswith(begin) and "heavy" not in name:  # its sum over pixels is on another scale
                    stages = sorted(curves, key=lambda place: (place == ".", place))  # the last stage is the run itself
                    points = [row["loss"] for place in stages for row in curves[place] if "loss" in row]
                    share = [100 * at / max(len(points) - 1, 1) for at in range(len(points))]
                    axes.plot(share, points, linewidth=1, label=name.split(": ", 1)[1] + _network(name))
            axes.set(title=title, xlabel="% of the steps", yscale="log")
            axes.legend(frameon=False, fontsize=7)
        for key, label in (("adversary_real", "true masks"), ("adversary_fake", "outputs")):
            curve = rows.get("camvid unet: adversarial", {}).get(".", [])
            played = [row for row in curve if row.get(key)]
            places[2].plot([row["step"] for row in played], [row[key] for row in played])
            places[2].lines[-1].set_label(label)
        places[2].set(title="CamVid: what the adversary believes", xlabel="step", ylim=(0, 1))
        places[2].legend(frameon=False, fontsize=7)
        canvas.savefig(path, dpi=110)


def _network(name: str) -> str:
    return f" ({name.split()[1].rstrip(':')})"


def main() -> None:
    """Run, print or draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", nargs="?", type=Path, help="folder with camvid/ and isbi2012_em/")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", default="")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--curves", type=Path, metavar="FILE.png")
    given = parser.parse_args()
    if given.curves:
        draw_curves(given.curves)
    elif given.table or given.source is None:
        print(table(read_rows("regimes")))
    elif given.one:
        print(json.dumps(train(given.one, given.seeds[0], given.source)))
    else:
        run_missing(given.source, given.seeds, given.only, given.processes)


if __name__ == "__main__":
    main()
