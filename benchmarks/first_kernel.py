"""How pretrained weights are best given images that are not 8-bit RGB: which first kernel, which scale of the input.

    python -m benchmarks.first_kernel ../shared/data                  the rows that are missing, seeds 0 and 1
    python -m benchmarks.first_kernel ../shared/data --only grey      the rows whose name begins so
    python -m benchmarks.first_kernel --table                         the table of what there is

A U-Net with a narrow decoder on the weights that come with the package trains for a fixed number of steps, which does
not depend on what else the machine does; rows are kept as they finish, so that a stopped run goes on. Images:

    grey    slices of neurons (isbi2012_em), nuclei turned grey (dsb2018_nuclei)
    16-bit  street scenes as 12-bit numbers above an offset of 400 (camvid); real 16-bit microscopy (tiff16)
    five    street scenes with their edges and fine structure as two more channels (camvid)
    four    field rows with an index of vegetation beside their colours (cwfid)
    two     red and blue of street scenes (camvid)

Scales: `own` is what the weights were trained on; `range` the same with the numbers' range for 0..255; `measured` gives
every channel mean 0 and deviation 1; `matched` gives it the mean and deviation that photographs of ImageNet have after
`own`. Kernels: `cyclic` is timm's rule (the sum for one channel, else red, green, blue, red... times 3 / channels);
`mean` has the mean of the three in each channel, times 3 / channels; `first` keeps red, green and blue as they are and
has zero in the others, `first+mean` their mean; `third` is a third of the sum.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from benchmarks.harness import keep_rows, read_rows

STEPS, BATCH, CROP, RATE = 120, 4, 128, 1e-3
VOID = 255
# Mean and deviation of ImageNet's photographs in 0..255, all channels.
PHOTOGRAPHS = (116.0, 57.0)
Pairs = list[tuple[np.ndarray, np.ndarray]]  # (C, H, W) float32 and (H, W) uint8

RANDOM = ("random", "measured")
VARIANTS: dict[str, list[tuple[str, str]]] = {
    "grey": [RANDOM, *[("cyclic", scale) for scale in ("measured", "own", "matched")], ("third", "matched")],
    "16-bit": [RANDOM, *[("cyclic", scale) for scale in ("measured", "matched", "range")]],
    "many": [
        RANDOM,
        ("cyclic", "measured"),
        *[(kernel, "matched") for kernel in ("cyclic", "mean", "first", "first+mean")],
    ],
    "two": [RANDOM, ("cyclic", "measured"), ("cyclic", "matched"), ("mean", "matched")],
}


def _open(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def _isbi(source: Path) -> tuple[Pairs, Pairs]:
    folder = source / "isbi2012_em"
    names = sorted(path.name for path in (folder / "images").iterdir())
    pairs = [
        (
            _open(folder / "images" / name)[None].astype(np.float32),
            (_open(folder / "masks" / name) > 0).astype(np.uint8),
        )
        for name in names
    ]
    return pairs[:20], pairs[20:]


def _nuclei(source: Path) -> tuple[Pairs, Pairs]:
    folder = source / "dsb2018_nuclei"
    pairs = []
    for path in sorted((folder / "images").iterdir()):
        grey = np.asarray(Image.open(path).convert("RGB").convert("L"), np.float32)[None]
        pairs.append((grey, (_open(folder / "instances" / path.name) > 0).astype(np.uint8)))
    return [pair for at, pair in enumerate(pairs) if at % 5], [(x[:, :256, :320], y[:256, :320]) for x, y in pairs[::5]]


def _streets(source: Path, change: Callable[[np.ndarray], np.ndarray]) -> tuple[Pairs, Pairs]:
    parts = []
    for part, step in (("train", 1), ("val", 4)):
        lines = (source / "camvid" / f"{part}.txt").read_text().split()
        stems = sorted({Path(line).stem for line in lines})[::step]
        pairs = []
        for stem in stems:
            image = _open(next((source / "camvid" / part).glob(f"{stem}.*")))
            mask = _open(source / "camvid" / f"{part}annot" / f"{stem}.png")[::2, ::2]
            halved = image[::2, ::2].astype(np.float32).transpose(2, 0, 1)
            pairs.append((change(halved), np.where(mask > 10, VOID, mask).astype(np.uint8)))
        parts.append(pairs)
    return parts[0], parts[1]


def _five(image: np.ndarray) -> np.ndarray:
    grey = image.mean(0)
    rows, columns = np.gradient(grey)
    padded = np.pad(grey, 2, mode="edge")
    blurred = np.lib.stride_tricks.sliding_window_view(padded, (5, 5)).mean((2, 3))
    return np.concatenate([image, np.hypot(rows, columns)[None], (grey - blurred)[None]]).astype(np.float32)


def _fields(source: Path) -> tuple[Pairs, Pairs]:
    pairs = []
    for path in sorted((source / "cwfid" / "images").iterdir()):
        image = _open(path)[::2, ::2].astype(np.float32).transpose(2, 0, 1)
        mask = _open(source / "cwfid" / "masks" / path.name)[::2, ::2]
        index = (2 * image[1] - image[0] - image[2]) / (image.sum(0) + 1)
        pairs.append((np.concatenate([image, index[None]]), mask.astype(np.uint8)))
    return pairs[:7], pairs[7:]


def _tiffs(source: Path) -> tuple[Pairs, Pairs]:
    import tifffile

    image, objects = (tifffile.imread(source / "tiff16" / part / "2d.tif") for part in ("", "instances"))
    image, mask = image[None].astype(np.float32), (objects > 0).astype(np.uint8)
    return [(image[..., :352], mask[:, :352])], [(image[..., 352:], mask[:, 352:])]


DATA: dict[str, tuple[str, int, Callable[[Path], tuple[Pairs, Pairs]]]] = {
    "grey isbi2012_em": ("grey", 2, _isbi),
    "grey dsb2018_nuclei": ("grey", 2, _nuclei),
    "16-bit camvid": ("16-bit", 11, lambda source: _streets(source, lambda image: 400 + 12 * image)),
    "16-bit tiff16": ("16-bit", 2, _tiffs),
    "five camvid": ("many", 11, lambda source: _streets(source, _five)),
    "four cwfid": ("many", 3, _fields),
    "two camvid": ("two", 11, lambda source: _streets(source, lambda image: image[[0, 2]])),
}


@lru_cache(1)
def _data(name: str, source: Path) -> tuple[Pairs, Pairs]:
    return DATA[name][2](source)


def kernel(rgb: Tensor, channels: int, rule: str) -> Tensor:
    """The first kernel (O, channels, k, k) from the one for red, green and blue."""
    mean = rgb.mean(1, keepdim=True)
    if rule == "third":
        return mean.expand(-1, channels, -1, -1)
    if rule == "mean":
        return mean.expand(-1, channels, -1, -1) * 3 / channels
    if rule == "cyclic":
        return rgb.sum(1, keepdim=True) if channels == 1 else rgb[:, [at % 3 for at in range(channels)]] * 3 / channels
    rest = (mean if rule == "first+mean" else torch.zeros_like(mean)).expand(-1, channels - 3, -1, -1)
    return torch.cat([rgb, rest], 1)


def scale(pairs: Pairs, rule: str) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every channel that the network is told."""
    values = np.concatenate([image.reshape(len(image), -1)[:, ::7] for image, _ in pairs], 1)
    mean, std = torch.from_numpy(values.mean(1)), torch.from_numpy(values.std(1)).clamp(min=1e-3)
    own_mean, own_std = 127.0, 128.0
    if rule == "measured":
        return mean, std
    if rule == "matched":
        wanted_mean, wanted_std = (PHOTOGRAPHS[0] - own_mean) / own_std, PHOTOGRAPHS[1] / own_std
        return mean - wanted_mean * std / wanted_std, std / wanted_std
    factor = 65535 / 255 if rule == "range" else 1.0
    return torch.full_like(mean, own_mean * factor), torch.full_like(std, own_std * factor)


def batches(pairs: Pairs, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Random crops, half of them mirrored."""
    rng = np.random.default_rng(seed)
    for _ in range(STEPS):
        crops = []
        for image, mask in (pairs[at] for at in rng.integers(len(pairs), size=BATCH)):
            top, left = (int(rng.integers(length - CROP + 1)) for length in mask.shape)
            x, y = image[:, top : top + CROP, left : left + CROP], mask[top : top + CROP, left : left + CROP]
            crops.append((x[..., ::-1].copy(), y[:, ::-1].copy()) if rng.random() < 0.5 else (x, y))
        yield (
            torch.from_numpy(np.stack([x for x, _ in crops])),
            torch.from_numpy(np.stack([y for _, y in crops])).long(),
        )


def run(name: str, variant: tuple[str, str], seed: int, source: Path) -> float:
    """Mean IoU on the images kept aside, in percent."""
    from atrous.models import create_model

    group_classes, (train, held) = DATA[name][1], _data(name, source)
    channels = len(train[0][0])
    torch.manual_seed(seed)
    rule, scaling = variant
    arguments: dict[str, Any] = {"encoder": "tf_efficientnet_lite0", "decoder_channels": (64, 48, 32, 24, 16)}
    pretrained = rule != "random"
    model = create_model("unet", num_classes=group_classes, in_channels=channels, pretrained=pretrained, **arguments)
    if pretrained:
        rgb = create_model("unet", num_classes=1, pretrained=True, **arguments).get_submodule("encoder.body.conv_stem")
        stem = model.get_submodule("encoder.body.conv_stem")
        with torch.no_grad():
            stem.weight.copy_(kernel(rgb.weight, channels, rule))  # type: ignore[operator, arg-type]
    model.set_normalization(*scale(train, scaling))
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    torch.manual_seed(seed)
    model.train()
    for image, mask in batches(train, seed):
        optimizer.zero_grad()
        F.cross_entropy(model(image)["out"], mask, ignore_index=VOID).backward()
        optimizer.step()
        schedule.step()
    return _mean_iou(model.eval(), held, group_classes)


def _mean_iou(model: nn.Module, pairs: Pairs, classes: int) -> float:
    counts = np.zeros((classes, classes), np.int64)
    with torch.inference_mode():
        for image, mask in pairs:
            said = model(torch.from_numpy(np.ascontiguousarray(image))[None])["out"][0].argmax(0).numpy()
            seen = mask != VOID
            counts += np.bincount(mask[seen].astype(int) * classes + said[seen], minlength=classes**2).reshape(
                classes, classes
            )
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    return 100 * float((counts.diagonal()[union > 0] / union[union > 0]).mean())


def table(rows: dict[str, dict[str, Any]]) -> str:
    """A line for each kind of data, kernel and scale: the mean over seeds, and each seed."""
    lines = ["| images | first kernel | input scale | mean IoU | seeds |", "|---|---|---|---|---|"]
    groups: dict[tuple[str, str, str], list[float]] = {}
    for row in rows.values():
        groups.setdefault((row["data"], row["kernel"], row["scale"]), []).append(row["mean_iou"])
    for (data, rule, scaling), values in groups.items():
        seeds = ", ".join(f"{value:.1f}" for value in values)
        lines.append(f"| {data} | {rule} | {scaling} | {statistics.mean(values):.1f} | {seeds} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", type=Path, help="the folder of data sets")
    parser.add_argument("--only", default="")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    rows = read_rows("first_kernel")
    for seed in [] if given.table else given.seeds:
        for name, (group, _, _) in DATA.items():
            for variant in VARIANTS[group] if name.startswith(given.only) else ():
                key = f"{name}: {', '.join(variant)}, seed {seed}"
                if key not in rows:
                    found = round(run(name, variant, seed, given.source), 2)
                    rows[key] = {"data": name, "kernel": variant[0], "scale": variant[1], "mean_iou": found}
                    print(key, found, flush=True)
                    keep_rows("first_kernel", rows, table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
