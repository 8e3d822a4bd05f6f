"""Dense CRF on photographs with a softened ground truth: building, updates, compilation, memory; and the local form.

python -m benchmarks.crf [FOLDER OF VOC 2012]

Where `pydensecrf` can be imported, the standard C++ implementation runs in turn with ours. Its source builds with an
old Cython: unpack the sdist, delete pydensecrf/*.cpp, `pip install --target CYTHON cython==0.29.37 setuptools`, and
`PYTHONPATH=CYTHON CFLAGS="-O3 -march=native" python setup.py build_ext --inplace`; then put it on PYTHONPATH.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from atrous.crf import Kernel, Pairwise, dense_crf, local_crf, mean_field
from atrous.crf._features import ImageFeatures
from benchmarks.harness import Row, compare, save

VOC = Path(__file__).resolve().parents[2] / "shared" / "data" / "voc2012"
NAMES = ("2007_001311", "2008_002079", "2008_002536", "2007_004189")
SIZE = (375, 500)
CLASSES = 21
ITERATIONS = 10
SETTINGS = {"readme": ((3, 3), (80, 13, 10)), "deeplabv2": ((1, 3), (67, 3, 4))}
ROUNDS = 7

FIRST = """
import time, numpy as np
from atrous.crf import dense_crf
p, image = np.full((21, 375, 500), 1 / 21, np.float32), np.zeros((375, 500, 3), np.uint8)
start = time.perf_counter()
dense_crf(p, image)
print(time.perf_counter() - start)
"""


def photograph(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Softened ground truth (21, 375, 500) and the image, stretched to one size."""
    file = next((folder / "JPEGImages").glob(f"{name}.*"))
    image = cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)
    from PIL import Image

    with Image.open(folder / "SegmentationClass" / f"{name}.png") as indexed:
        mask = np.array(indexed)
    mask[mask == 255] = 0
    height, width = SIZE
    image = cv2.resize(image, (width, height))
    mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    scores = np.stack([cv2.GaussianBlur((mask == k).astype(np.float32), (0, 0), 8.0) for k in range(CLASSES)])
    scores = 0.9 * scores + 0.1 / CLASSES
    return scores / scores.sum(0), image


def row(comparison: str, contender: str, times: list[float], note: str = "") -> Row:
    """A row of what stands alone."""
    return Row(comparison, contender, statistics.median(times), min(times), max(times), 1.0, note)


def parts(scores: np.ndarray, image: np.ndarray, setting: str) -> dict[str, list[float]]:
    """Seconds of wall and of processor time for all, for building and per update."""
    (sxy, weight), (bxy, srgb, strength) = SETTINGS[setting]
    flat = scores.reshape(CLASSES, -1)
    taken: dict[str, list[float]] = {"all": [], "processor": [], "build": [], "update": []}
    for number in range(ROUNDS + 1):
        start, busy = time.perf_counter(), time.process_time()
        near = Kernel(ImageFeatures(*SIZE, sxy=sxy).for_points(flat))
        alike = Kernel(ImageFeatures(*SIZE, sxy=bxy, image=image, srgb=srgb).for_points(flat))
        built = time.perf_counter()
        terms = [Pairwise(near, weight), Pairwise(alike, strength)]
        mean_field(flat, terms, iterations=ITERATIONS)
        done, spent = time.perf_counter(), time.process_time() - busy
        mean_field(flat, terms, iterations=0)
        empty = time.perf_counter() - done
        if number:  # the first may compile
            taken["all"].append(done - start)
            taken["processor"].append(spent)
            taken["build"].append(built - start)
            taken["update"].append((done - built - empty) / ITERATIONS)
    return taken


def standard() -> Any:
    """The standard C++ implementation, or None where it cannot be imported."""
    try:
        from pydensecrf.densecrf import DenseCRF2D
    except ImportError:
        return None
    return DenseCRF2D


def beside(scenes: list[tuple[np.ndarray, np.ndarray]], setting: str, title: str) -> list[Row]:
    """The C++ implementation, one core as it comes, in turn with ours on two cores and on one."""
    build = standard()
    if build is None:
        return []
    gaussian, bilateral = SETTINGS[setting]
    taken: dict[str, list[float]] = {"pydensecrf": [], "atrous": [], "atrous, one thread": []}
    differs, threads = 0.0, torch.get_num_threads()
    for number in range(ROUNDS + 1):
        for scores, image in scenes:
            outputs = []
            for name, seconds in taken.items():
                torch.set_num_threads(1 if name.endswith("one thread") else threads)
                start = time.perf_counter()
                if name == "pydensecrf":
                    outputs.append(_standard(build, scores, image, gaussian, bilateral))
                else:
                    outputs.append(
                        dense_crf(scores, image, gaussian=gaussian, bilateral=bilateral, iterations=ITERATIONS)
                    )
                if number:  # the first may compile
                    seconds.append(time.perf_counter() - start)
            differs = max(differs, float(np.abs(outputs[0] - outputs[1]).max()))
    torch.set_num_threads(threads)
    peer = taken["pydensecrf"]
    rows = []
    for name, seconds in taken.items():
        ratio = statistics.median(p / t for p, t in zip(peer, seconds, strict=True))
        note = "" if name == "pydensecrf" else f"largest difference of a score {differs:.1e}"
        rows.append(Row(f"{title}, in turn", name, statistics.median(seconds), min(seconds), max(seconds), ratio, note))
    return rows


def _standard(build: Any, scores: np.ndarray, image: np.ndarray, gaussian: Any, bilateral: Any) -> np.ndarray:
    """What a user of pydensecrf writes."""
    (sxy, weight), (bxy, srgb, strength) = gaussian, bilateral
    crf = build(SIZE[1], SIZE[0], CLASSES)
    crf.setUnaryEnergy(np.ascontiguousarray(-np.log(np.maximum(scores, 1e-5)).reshape(CLASSES, -1), np.float32))
    crf.addPairwiseGaussian(sxy=sxy, compat=weight)
    crf.addPairwiseBilateral(sxy=bxy, srgb=srgb, rgbim=np.ascontiguousarray(image), compat=strength)
    return np.array(crf.inference(ITERATIONS)).reshape(CLASSES, *SIZE)


def first_call() -> tuple[float, float]:
    """Seconds of the first call in a new process: with nothing compiled, and with the machine code on disk."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        command = [sys.executable, "-c", FIRST]
        runs = [subprocess.run(command, env=environment, capture_output=True, text=True, check=True) for _ in range(2)]
    return float(runs[0].stdout), float(runs[1].stdout)


def peak(folder: Path, name: str, setting: str) -> float:
    """Megabytes held beside the caller's arrays at most, in a process that has held nothing larger before."""
    code = f"from benchmarks.crf import held; held({str(folder)!r}, {name!r}, {setting!r})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(run.stdout)


def held(folder: str, name: str, setting: str) -> None:
    """Print what `peak` returns."""
    scores, image = photograph(Path(folder), name)
    gaussian, bilateral = SETTINGS[setting]
    dense_crf(scores[:, :64, :64], image[:64, :64], iterations=1)  # loads the kernels
    before, highest, stop = _resident(), [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.0005):
            highest[0] = max(highest[0], _resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    dense_crf(scores, image, gaussian=gaussian, bilateral=bilateral, iterations=2)
    stop.set()
    watcher.join()
    print((highest[0] - before) / 1e6)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def need(image: np.ndarray, setting: str) -> int:
    """Bytes without which it cannot be done at this speed.

    Indices and weights of all vertices, tables of neighbours, one array of values per lattice; log-probabilities,
    scores, the result.
    """
    (sxy, _), (bxy, srgb, _) = SETTINGS[setting]
    sources = ImageFeatures(*SIZE, sxy=sxy), ImageFeatures(*SIZE, sxy=bxy, image=image, srgb=srgb)
    total = 3 * 4 * 24 * SIZE[0] * SIZE[1]
    for source in sources:
        lattice = Kernel(source.for_points(image), "none").lattice
        sheets = lattice.sheets
        tables = lattice.ids, lattice.weights, sheets.rows, sheets.following, sheets.preceding, sheets.order
        total += sum(table.nbytes for table in tables)
        total += 4 * 24 * lattice.rows
    return total


def main(folder: Path = VOC) -> None:
    """One table."""
    if not folder.is_dir():
        print(f"There is no {folder}: give the folder of VOC 2012.")
        return
    scenes = [photograph(folder, name) for name in NAMES]
    rows, extra = [], {}
    load = os.getloadavg()[0]
    for setting in SETTINGS:
        taken = [parts(scores, image, setting) for scores, image in scenes]
        title = f"{setting}, {SIZE[1]}x{SIZE[0]}, {CLASSES} classes, {ITERATIONS} iterations"
        for key, name in (
            ("all", "all"),
            ("processor", "processor time of all, both cores added"),
            ("build", "lattices and normalization"),
            ("update", "one iteration"),
        ):
            rows.append(row(title, name, [value for one in taken for value in one[key]]))
        rows += beside(scenes, setting, title)
        least = need(scenes[1][1], setting) / 1e6
        extra[f"peak memory, {setting}"] = (
            f"{peak(folder, NAMES[1], setting):.0f} MB; the arithmetic needs {least:.0f} MB"
        )
    cold, warm = first_call()
    rows += [row("first call", "compiling", [cold]), row("first call", "machine code on disk", [warm])]
    scores, image = scenes[1]
    full = dense_crf(scores, image)
    for window in (3, 7, 11):
        local = local_crf(scores, image, window=window)
        differs, agrees = np.abs(local - full).mean(), (local.argmax(0) == full.argmax(0)).mean()
        note = f"mean difference {differs:.4f}, same class {agrees:.4f} of pixels"
        (found,) = compare("local form, 5 iterations", {f"window {window}": lambda w=window: local_crf(
            scores, image, window=w)}, rounds=1, warmup=0)  # fmt: skip
        rows.append(Row(found.comparison, found.contender, found.seconds, found.low, found.high, 1.0, note))
    extra["threads"] = torch.get_num_threads()
    extra["load average when started"] = f"{load:.1f}"
    if standard() is None:
        extra["the standard C++ implementation"] = "is not here; published: about 0.5 s (readme), 0.9 s (deeplabv2)"
    save("crf_cpu", "python -m benchmarks.crf", rows, extra)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:2]))
