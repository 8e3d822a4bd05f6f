"""Reading and augmenting images and masks against albumentations and torchvision, images per second.

python -m benchmarks.loader [--count N] [--rounds N]

The images are made on the spot: 512x512 street scenes in colour and cells in grey. Every contender reads the same files
(OpenCV or the peer's own decoder), does the same operations and ends with what a network is given: float32 images and
int64 masks; alone in this process on one thread, and through PyTorch's loader with one worker.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from atrous.data import DataOptions, FolderDataset, open_folder
from atrous.made import make_cells, make_scenes
from atrous.recipe import load_recipe
from atrous.training.augment import read_augment, training_transform
from atrous.training.loaders import train_loader
from atrous.training.stream import Augmented, Stream
from benchmarks.harness import Row, compare, save

SIZE, CROP, BATCH, SLOW = 512, 256, 8, 2
COLOR = "[{name: random_scale, low: 0.5, high: 2.0}, horizontal_flip, color_jitter]"
GREY = "[elastic, {name: rotation, degrees: 30}, horizontal_flip]"

Pair = tuple[Path, Path]


@dataclass
class Files(Dataset):
    """A peer's data set: read, augment."""

    pairs: list[Pair]
    read: Callable[[Pair], tuple[Any, Any]]
    augment: Callable[[Any, Any], tuple[torch.Tensor, torch.Tensor]]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.augment(*self.read(self.pairs[index]))


def read_cv2(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """As albumentations' documentation reads: OpenCV, then RGB. A palette mask is read by Pillow, as indices."""
    from PIL import Image

    image = cv2.imread(str(pair[0]), cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if image.ndim == 3 else image, np.array(Image.open(pair[1]))


def read_torchvision(pair: Pair) -> tuple[torch.Tensor, torch.Tensor]:
    """As torchvision's documentation reads: Pillow images made tensors."""
    from PIL import Image
    from torchvision import tv_tensors
    from torchvision.transforms.v2 import functional

    image = tv_tensors.Image(functional.pil_to_tensor(Image.open(pair[0])))
    return image, tv_tensors.Mask(torch.from_numpy(np.array(Image.open(pair[1])))[None])


def albumentations_color() -> Callable[[Any, Any], tuple[torch.Tensor, torch.Tensor]]:
    import albumentations as A

    return _albumentations(
        [
            A.RandomScale((-0.5, 1.0), p=1.0),
            *_crop(),
            A.HorizontalFlip(),
            A.ColorJitter((0.8, 1.2), (0.8, 1.2), (0.8, 1.2), (-0.02, 0.02), p=1.0),
        ]
    )


def albumentations_grey(deform: str) -> Callable[[Any, Any], tuple[torch.Tensor, torch.Tensor]]:
    import albumentations as A

    elastic = {
        "GridElasticDeform": lambda: A.GridElasticDeform(num_grid_xy=(3, 3), magnitude=10, p=1.0),
        "ElasticTransform": lambda: A.ElasticTransform(alpha=300, sigma=30, border_mode=cv2.BORDER_REFLECT_101, p=1.0),
    }[deform]()
    rotate = A.Rotate((-30, 30), border_mode=cv2.BORDER_REFLECT_101, p=1.0)
    return _albumentations([elastic, rotate, *_crop(), A.HorizontalFlip()])


def _crop() -> list[Any]:
    import albumentations as A

    return [A.PadIfNeeded(CROP, CROP, border_mode=cv2.BORDER_REFLECT_101), A.RandomCrop(CROP, CROP)]


def _albumentations(steps: list[Any]) -> Callable[[Any, Any], tuple[torch.Tensor, torch.Tensor]]:
    import albumentations as A

    chain = A.Compose([*steps, A.ToTensorV2()])

    def augment(image: np.ndarray, mask: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        out = chain(image=image, mask=mask)
        return out["image"].float(), out["mask"].long()

    return augment


def torchvision_color() -> Callable[[Any, Any], tuple[torch.Tensor, torch.Tensor]]:
    from torchvision.transforms import v2

    return _torchvision(
        [
            v2.ScaleJitter((SIZE, SIZE), (0.5, 2.0)),
            v2.RandomCrop(CROP, pad_if_needed=True, padding_mode="reflect"),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.2, 0.2, 0.2, 0.02),
        ]
    )


def torchvision_grey() -> Callable[[Any, Any], tuple[torch.Tensor, torch.Tensor]]:
    from torchvision.transforms import v2

    return _torchvision(
        [
            v2.ElasticTransform(alpha=300.0, sigma=30.0),
            v2.RandomRotation(30, v2.InterpolationMode.BILINEAR),
            v2.RandomCrop(CROP),
            v2.RandomHorizontalFlip(),
        ]
    )


def _torchvision(steps: list[Any]) -> Callable[[Any, Any], tuple[torch.Tensor, torch.Tensor]]:
    from torchvision.transforms import v2

    chain = v2.Compose(steps)

    def augment(image: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        image, mask = chain(image, mask)
        return image.float(), mask[0].long()

    return augment


def ours(root: Path, augment: str, count: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """A pass over the first draws in this process, and one through the loader with a worker."""
    recipe = load_recipe("unet", [f"data={{crop: {CROP}, batch_size: {BATCH}, augment: {augment}}}"])
    dataset = FolderDataset(open_folder(root, val_fraction=0.0), "train")
    data = recipe.options("data", DataOptions)
    transform = training_transform(read_augment(data, recipe.place), data.crop, dataset)
    stream = Stream(len(dataset), BATCH, recipe.seed, lambda: range(count // BATCH))
    augmented = Augmented(dataset, transform, recipe.seed)
    loader = train_loader(dataset, stream, transform=transform, workers=1, pin=False)
    return lambda: [augmented[draw] for batch in stream for draw in batch], lambda: list(loader)


def peer(files: Files, count: int, batch_size: int = BATCH) -> tuple[Callable[[], object], Callable[[], object]]:
    """The same for a peer."""

    def order() -> Iterator[int]:
        return (number % len(files) for number in range(count))

    loader = DataLoader(
        files,
        batch_size,
        sampler=list(order()),
        num_workers=1,
        persistent_workers=True,
        worker_init_fn=_one_thread,
        drop_last=True,
    )
    return lambda: [files[index] for index in order()], lambda: list(loader)


def _one_thread(_: int = 0) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def make_folders(root: Path, count: int) -> dict[str, Path]:
    """Scenes as PNG and as JPEG, and cells; all pairs are training pairs."""
    folders = {
        "colour PNG": make_scenes(root / "scenes", count=count, size=SIZE),
        "grey PNG": make_cells(root / "cells", count=count, size=SIZE),
    }
    jpeg = root / "jpeg"
    (jpeg / "images").mkdir(parents=True)
    (jpeg / "masks").symlink_to(folders["colour PNG"] / "masks")
    (jpeg / "classes.yaml").write_text((folders["colour PNG"] / "classes.yaml").read_text())
    for file in (folders["colour PNG"] / "images").iterdir():
        cv2.imwrite(str(jpeg / "images" / f"{file.stem}.jpg"), cv2.imread(str(file)), [cv2.IMWRITE_JPEG_QUALITY, 92])
    for folder in folders.values():
        for split in ("train", "val", "test"):
            (folder / f"{split}.txt").unlink()
    return {**folders, "colour JPEG": jpeg}


def pairs_of(root: Path) -> list[Pair]:
    return [(image, root / "masks" / f"{image.stem}.png") for image in sorted((root / "images").iterdir())]


def contenders(root: Path, grey: bool, count: int) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Name to a pass in this process and one through the loader; peers first."""
    pairs = pairs_of(root)
    if grey:
        peers = {
            "albumentations GridElasticDeform": (read_cv2, albumentations_grey("GridElasticDeform")),
            "albumentations ElasticTransform": (read_cv2, albumentations_grey("ElasticTransform")),
        }
    else:
        peers = {
            "albumentations": (read_cv2, albumentations_color()),
            "torchvision v2": (read_torchvision, torchvision_color()),
        }
    runs = {name: peer(Files(pairs, read, augment), count) for name, (read, augment) in peers.items()}
    return {**runs, "atrous": ours(root, GREY if grey else COLOR, count)}


def per_image(row: Row, count: int) -> Row:
    """From the time of a pass to that of an image."""
    seconds = row.seconds / count
    return replace(row, seconds=seconds, low=row.low / count, high=row.high / count, note=f"{1 / seconds:.0f} images/s")


def slow_peer(title: str, root: Path, index: int, seconds: float) -> Row:
    """torchvision's elastic takes seconds an image: two images, once, outside the rounds."""
    run = peer(Files(pairs_of(root), read_torchvision, torchvision_grey()), SLOW, batch_size=SLOW)[index]
    row = per_image(compare(title, {"torchvision v2": run}, rounds=1, warmup=0)[0], SLOW)
    return replace(row, ratio=seconds / row.seconds, note=f"{1 / row.seconds:.2g} images/s; {SLOW} images, once")


def main(arguments: list[str] | None = None) -> None:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=48, help="images in a pass, a multiple of 8")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as place:
        for name, root in make_folders(Path(place), min(options.count, 16)).items():
            runs = contenders(root, name.startswith("grey"), options.count)
            operations = "elastic, rotation 30" if name.startswith("grey") else "scale 0.5-2, colour jitter"
            for index, where in enumerate(("in this process", "through a loader, 1 worker")):
                title = f"{name}: {operations}, crop {CROP}, flip; {where}"
                found = compare(title, {key: run[index] for key, run in runs.items()}, rounds=options.rounds, warmup=1)
                rows += [per_image(row, options.count) for row in found]
                if name.startswith("grey"):
                    rows.append(slow_peer(title, root, index, rows[-len(found)].seconds))
    save("loader_cpu", "python -m benchmarks.loader", rows)


if __name__ == "__main__":
    main()
