"""Training without a recipe beside a fixed default and beside a plain loop around segmentation_models_pytorch.

    python -m benchmarks.configured ../shared/data                    the rows that are missing, seeds 0 to 2
    python -m benchmarks.configured ../shared/data --seeds 0          of one seed
    python -m benchmarks.configured ../shared/data --only default     the contenders whose name begins so
    python -m benchmarks.configured --table                           the table of what there is

Every row has the same wall-clock budget (--budget, 10m) for training and its validations, in a process of its own, and
nothing else should run. Each contender keeps the weights of its best validation and is then judged on the validation
images, whole, at their own size. Rows are kept as they finish, so that a stopped run goes on. Data: `camvid`,
`isbi2012_em`, `cwfid` and `dsb2018_nuclei` as they are handed out, every fifth image of the last two for validation.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import regimes
from benchmarks.harness import keep_rows, machine, read_rows

SETS = ("isbi", "dsb", "cwfid", "camvid")
CONTENDERS = ("configured", "default", "smp")
CLASSES = {
    "cwfid": [{"name": "soil", "value": 0}, {"name": "crop", "value": 1}, {"name": "weed", "value": 2}],
    "dsb": [{"name": "background", "value": 0}, {"name": "nucleus", "value": 1}],
}
SOURCES = {"cwfid": ("cwfid", "images", "masks"), "dsb": ("dsb2018_nuclei", "images", "instances")}
VALIDATIONS = 5
PLAIN_BATCH = 4
PLAIN_CROP = 512


def prepare(name: str, source: Path) -> Path:
    """A data folder of links to the files that were handed out, with classes and splits."""
    if name not in SOURCES:
        return regimes.prepare(name, source)
    folder = regimes.CACHE / name
    if folder.exists():
        return folder
    beside = regimes.CACHE / f".{name}.{os.getpid()}"
    beside.mkdir(parents=True)
    place, *parts = SOURCES[name]
    for part in parts:
        (beside / part).symlink_to((source / place / part).resolve())
    names = sorted(path.stem for path in (beside / "images").iterdir())
    for part, wanted in (("train", False), ("val", True)):
        chosen = [word for at, word in enumerate(names) if (at % 5 == 4) == wanted]
        (beside / f"{part}.txt").write_text("\n".join(chosen) + "\n")
    (beside / "classes.yaml").write_text(json.dumps({"classes": CLASSES[name]}) + "\n")
    beside.rename(folder)
    return folder


def run_ours(folder: Path, *, recipe: str | None, seed: int, budget: str) -> dict[str, Any]:
    """`atrous train`, with a recipe or without."""
    import atrous

    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "run"
        run = atrous.train(folder, recipe=recipe, out=out, overrides=[f"seed={seed}"], budget=budget, evaluate=True)
        evaluation = atrous.evaluate(out / "bundle", folder, split="val")
        text = (out / "recipe.yaml").read_text().replace(f"{folder.resolve().parent}/", "")
    return {"mean_iou": evaluation.summary["mean_iou"], "iou": evaluation.summary["iou"], "steps": run.steps,
            "seconds": round(run.seconds, 1), "recipe": text, "seg": evaluation.summary.get("seg")}  # fmt: skip


def run_smp(folder: Path, *, seed: int, seconds: float) -> dict[str, Any]:
    """What users of segmentation_models_pytorch write: Unet on a resnet18, Adam at 1e-3, batches of 4, flips, float32.

    Images up to 512 pixels are taken whole, larger ones by random crops of 512; batches of several sizes are padded.
    """
    import segmentation_models_pytorch as smp
    import torch
    from torch.utils.data import DataLoader

    from atrous.data import open_folder

    torch.manual_seed(seed)
    opened = open_folder(folder)
    train, val = (_Plain(opened, split) for split in ("train", "val"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classes = len(opened.classes.names)
    model = smp.Unet("resnet18", encoder_weights=None, in_channels=opened.channels, classes=classes).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(train, PLAIN_BATCH, shuffle=True, drop_last=True, num_workers=1, collate_fn=_padded)
    start, due, best, steps = time.perf_counter(), 1, (-1.0, {}), 0
    while (gone := time.perf_counter() - start) < seconds:
        for image, mask in loader:
            model.train()
            loss = torch.nn.functional.cross_entropy(model(image.to(device)), mask.to(device), ignore_index=255)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps, gone = steps + 1, time.perf_counter() - start
            if gone > seconds:
                break
            if gone > seconds * due / VALIDATIONS:
                due = int(gone / seconds * VALIDATIONS) + 1
                best = max(best, _judge(model, val, opened.classes.names, device), key=lambda found: found[0])
    mean_iou, iou = max(best, _judge(model, val, opened.classes.names, device), key=lambda found: found[0])
    return {"mean_iou": mean_iou, "iou": iou, "steps": steps, "seconds": round(gone, 1)}


class _Plain:
    """Images as float tensors of 0..1, crops and flips for training; one set of pixels for both."""

    def __init__(self, folder: Any, split: str) -> None:
        from atrous.data import FolderDataset

        self.data, self.split = FolderDataset(folder, split), split

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        import torch

        sample = self.data[index]
        image, mask = sample["image"] / 255, sample["mask"]
        if self.split == "train":
            height, width = (min(side, PLAIN_CROP) for side in mask.shape)
            top = int(torch.randint(mask.shape[0] - height + 1, ()))
            left = int(torch.randint(mask.shape[1] - width + 1, ()))
            image, mask = (
                image[:, top : top + height, left : left + width],
                mask[top : top + height, left : left + width],
            )
            for axis in (-1, -2):
                if (axis == -1 or self.data.folder.channels == 1) and torch.rand(()) < 0.5:
                    image, mask = image.flip(axis), mask.flip(axis)
        return image, mask


def _padded(samples: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    """A batch at the next multiple of 32 of its largest sides."""
    import torch
    import torch.nn.functional as F

    height, width = (-(-max(mask.shape[axis] for _, mask in samples) // 32) * 32 for axis in (0, 1))
    images, masks = [], []
    for image, mask in samples:
        rest = (0, width - mask.shape[1], 0, height - mask.shape[0])
        images.append(F.pad(image, rest))
        masks.append(F.pad(mask, rest, value=255))
    return torch.stack(images), torch.stack(masks)


def _judge(model: Any, val: _Plain, names: Any, device: Any) -> tuple[float, dict[str, float]]:
    """Mean IoU over whole images, and that of each class."""
    import torch

    from atrous.metrics import confusion_matrix, summarize

    model.eval()
    counts = np.zeros((len(names), len(names)), np.int64)
    with torch.no_grad():
        for index in range(len(val)):
            image, mask = val[index]
            batch, _ = _padded([(image, mask)])
            decided = model(batch.to(device)).argmax(1)[0, : mask.shape[0], : mask.shape[1]].cpu()
            counts += confusion_matrix(decided, mask, len(names)).numpy()
    found = summarize(torch.from_numpy(counts), names)
    return found["mean_iou"], found["iou"]


def run_one(contender: str, data: str, seed: int, source: Path, budget: str) -> dict[str, Any]:
    """One row, in this process."""
    from atrous.training.options import parse_budget

    folder = prepare(data, source)
    if contender == "smp":
        found = run_smp(folder, seed=seed, seconds=parse_budget(budget) or 600.0)
    else:
        found = run_ours(folder, recipe=None if contender == "configured" else "unet", seed=seed, budget=budget)
    found_on = machine()
    here = {"cpu": f"{found_on['cpu']}, {found_on['flags']}", "load": os.getloadavg()[0]}
    return {"contender": contender, "data": data, "seed": seed, "budget": budget, **here, **found}


def run_missing(source: Path, seeds: list[int], only: str, sets: list[str], budget: str) -> None:
    """What is missing, one after the other."""
    for seed in seeds:
        for data in sets:
            for contender in CONTENDERS:
                key = f"{contender} / {data} / {seed} / {budget}"
                if not contender.startswith(only) or key in read_rows("configured"):
                    continue
                command = [sys.executable, "-m", "benchmarks.configured", str(source), "--one", contender, data]
                command += ["--seeds", str(seed), "--budget", budget]
                done = subprocess.run(command, capture_output=True, text=True, timeout=7200)
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "source", nargs="?", type=Path, help="folder with camvid/, cwfid/, dsb2018_nuclei/, isbi2012_em/"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", default="")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table or given.source is None:
        rows = read_rows("configured")
        print(table(rows), machines(rows), sep="\n\n")
    elif given.one:
        print(json.dumps(run_one(*given.one, given.seeds[0], given.source, given.budget)))
    else:
        run_missing(given.source, given.seeds, given.only, given.sets, given.budget)


if __name__ == "__main__":
    main()
