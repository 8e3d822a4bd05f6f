"""Landmarks of a pelvis in radiographs: a pose machine of one, two and three stages, and a U-Net, on unseen bodies.

    python -m benchmarks.xray            the rows that are missing: about 40 minutes on 2 cores
    python -m benchmarks.xray cpm2       this row, again
    python -m benchmarks.xray --smoke    every step at a size of seconds, into a folder of its own

Networks learn from radiographs of made pelvises and are tested on other pelvises, from views that no training image
has (`atrous.xray.sampling`). All have equal time. A row tells the error in millimetres over all 23 landmarks, how many
were found, the error of places from two and from four views, and the pose of single views by their landmarks. Rows are
kept as they finish, a stopped training goes on, and `benchmarks/.cache/xray` keeps the data and the runs. Pictures of
the first test images are written beside them, as `NETWORK.png`.
"""

import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.harness import keep_rows, read_rows

CACHE = Path(__file__).parent / ".cache" / "xray"
COUNT, SIZE, BUDGET = 800, 192, "10m"
SMOKE = (30, 64, "8s")
THRESHOLD = 0.2

NETWORKS = {
    **{f"cpm{stages}": f"{{name: cpm, width: 32, stages: {stages}, std: null}}" for stages in (1, 2, 3)},
    "unet": "{name: unet, encoder: resnet18, decoder_channels: [128, 64, 32, 32, 16]}",
}
RECIPE = """
model:     {model}
data:
  crop: {size}
  batch_size: 8
  augment:
    - {{name: random_scale, low: 0.85, high: 1.15}}
    - {{name: rotation, degrees: 15}}
    - {{name: horizontal_flip}}
    - {{name: intensity}}
task:      {{name: landmarks, sigma: {sigma}, background: {background}, absent: nowhere, aux_weight: 1.0}}
optimizer: {{name: adamw, lr: 1.0e-3, weight_decay: 1.0e-4}}
schedule:  {{name: cosine, warmup: 50}}
training:  {{budget: {budget}, clip: 1.0}}
seed: 0
"""

COLUMNS = {
    "mean": "mean mm", "std": "std", "median": "median", "detected": "found", "mean_detected": "mean mm, found",
    "invented": "invented", "two_views": "2 views mm", "two_views_median": "median", "four_views": "4 views mm",
    "four_views_median": "median", "registered": "poses < 10 mm", "degrees": "degrees", "pose": "pose mm",
}  # fmt: skip
SHARES = ("detected", "invented", "registered")


def data(place: Path, count: int, size: int) -> Path:
    """The made radiographs, kept from run to run."""
    folder = place / f"data_{count}_{size}"
    if not folder.exists():
        from atrous.xray.sampling import make_xray

        start = time.perf_counter()
        make_xray(folder, count=count, size=size, seed=0)
        print(f"{folder}: made in {time.perf_counter() - start:.0f} s", flush=True)
    return folder


def trained(place: Path, name: str, folder: Path, size: int, budget: str) -> tuple[Path, float]:
    """The run of a network, and the seconds that this call trained; a stopped run goes on."""
    import atrous

    run = place / f"run_{name}_{folder.name}_{budget}"
    if (run / "bundle" / "metrics.json").exists():
        return run, 0.0
    recipe = place / f"{name}.yaml"
    # At stride 8 a Gaussian narrower than a cell would fall between two of them.
    recipe.write_text(
        RECIPE.format(
            model=NETWORKS[name],
            size=size,
            sigma=max(8 * size / 192, 4.0),
            background=str(name.startswith("cpm")).lower(),
            budget=budget,
        )
    )
    start, resume = time.perf_counter(), (run / "checkpoints" / "last.ckpt").exists()
    atrous.train(folder, recipe=None if resume else recipe, out=run, resume=resume, evaluate=False, progress=False)
    return run, time.perf_counter() - start


def measured(name: str, run: Path, folder: Path) -> dict[str, Any]:
    """Find the landmarks of all test images and compare."""
    import atrous
    from atrous.xray.anatomy import LANDMARKS
    from atrous.xray.assessment import assess
    from atrous.xray.tables import read_places, read_views

    views, bodies = read_views(folder / "views.csv"), read_places(folder / "landmarks_3d.csv")
    places = {body: np.stack([marks[each] for each in LANDMARKS]) for body, marks in bodies.items()}
    tested = [views[f"images/{stem}.png"] for stem in (folder / "test.txt").read_text().split()]
    predictor = atrous.Predictor.load(run / "bundle")
    start = time.perf_counter()
    found = [np.asarray(predictor(folder / view.file).keypoints, np.float64) for view in tested]
    seconds = (time.perf_counter() - start) / len(tested)
    tolerance = 10.0 / float(tested[0].beam.millimetres_per_pixel(places[tested[0].body]).mean())
    figures, each = assess(tested, places, found, threshold=THRESHOLD, tolerance=tolerance)
    draw(run.parent / f"{name}.png", folder, tested, places, found)
    worst = sorted(zip(LANDMARKS, each.tolist(), strict=True), key=lambda row: -row[1][0])
    return {
        "images": figures.images,
        "landmarks": figures.landmarks,
        "figures": {key: value if np.isfinite(value) else None for key, value in figures.figures().items()},
        "each": dict(worst),
        "predict_seconds": round(seconds, 4),
    }


def draw(path: Path, folder: Path, views: Any, places: Any, found: Any) -> None:
    """Two views of one body side by side: marks, epipolar lines of the first in the second, registered projections."""
    from atrous.xray import Projector
    from atrous.xray.phantom import make_phantom
    from atrous.xray.picture import draw_landmarks
    from atrous.xray.registration import find_pose

    pair = [n for n, view in enumerate(views) if view.body == views[0].body][:2]
    phantom = make_phantom((0, int(views[0].body.split("_")[-1])), spacing=3.0)
    projector, shots = Projector(phantom.volume), []
    for n in pair:
        beam, marks = views[n].beam, found[n]
        sure = np.where((marks[:, 2] >= THRESHOLD)[:, None], marks[:, :2], np.nan)
        registration = find_pose(places[views[n].body], sure, beam)
        pose = None if registration is None else registration.beam
        other = None
        if n != pair[0]:
            before = np.where((found[pair[0]][:, 2] >= THRESHOLD)[:, None], found[pair[0]][:, :2], np.nan)
            other = (views[pair[0]].beam, before, beam)
        shots.append(
            draw_landmarks(
                cv2.imread(str(folder / views[n].file), cv2.IMREAD_GRAYSCALE),
                sure,
                projected=None if pose is None else pose.project(places[views[n].body]),
                other=other,
                projection=None if pose is None else projector(pose),
                scale=4,
            )
        )
    cv2.imwrite(str(path), cv2.cvtColor(np.hstack(shots), cv2.COLOR_RGB2BGR))


def _cell(key: str, value: float | None) -> str:
    """A figure; a dash where nothing was there to count."""
    return "-" if value is None else f"{100 * value:.1f} %" if key in SHARES else f"{value:.2f}"


def table(rows: dict[str, dict[str, Any]]) -> str:
    """A row for each network, in the order of `NETWORKS`, and one for each landmark of the best."""
    lines = [
        f"| network | {' | '.join(COLUMNS.values())} | training | a picture |",
        "|---|" + "---|" * (len(COLUMNS) + 2),
    ]
    for name in (each for each in NETWORKS if each in rows):
        figures = rows[name]["figures"]
        cells = [_cell(key, figures[key]) for key in COLUMNS]
        lines.append(
            f"| {name} | {' | '.join(cells)} | {rows[name]['budget']} | {1e3 * rows[name]['predict_seconds']:.0f} ms |"
        )
    best = min(rows, key=lambda name: rows[name]["figures"]["mean"])
    lines += ["", f"Landmarks of {best}, the worst first:", "", "| landmark | mean mm | std |", "|---|---|---|"]
    lines += [f"| {name} | {mean:.2f} | {std:.2f} |" for name, (mean, std) in rows[best]["each"].items()]
    some = rows[best]
    lines += ["", f"{some['images']} test images with {some['landmarks']} landmarks inside; published on other data "
              "(Bier et al., 2018): 5.6 +- 4.5 mm."]  # fmt: skip
    return "\n".join(lines)


def main(names: list[str]) -> None:
    """Train and measure what is asked for, or what is missing."""
    smoke = "--smoke" in names
    names = [name for name in names if name != "--smoke"]
    count, size, budget = SMOKE if smoke else (COUNT, SIZE, BUDGET)
    place = CACHE / ("smoke" if smoke else "full")
    place.mkdir(parents=True, exist_ok=True)
    rows = {} if smoke else read_rows("xray")
    folder = data(place, count, size)
    for name in names or [name for name in NETWORKS if name not in rows]:
        run, seconds = trained(place, name, folder, size, budget)
        rows[name] = measured(name, run, folder) | {"budget": budget, "seconds": round(seconds)}
        print(table({name: rows[name]}).splitlines()[2], flush=True)
        if not smoke:
            keep_rows("xray", rows, table(rows), arguments="")
    print(table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
