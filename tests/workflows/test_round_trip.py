"""Predicted masks are masks like those of the training, in every layout: read, predict perfectly, read again."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from atrous import Predictor, create_model, save_bundle
from atrous.data import DATASETS, Folder, open_folder
from atrous.data.datasets import choose_layout
from atrous.data.datasets.base import PageMask
from atrous.data.datasets.nnunet import Regions
from atrous.data.reading import read_pair
from atrous.images.files import read_mask, read_palette
from atrous.inference.inputs import find_inputs
from atrous.tasks import TASKS
from atrous.tasks.instances import border_targets
from atrous.types import IGNORE_INDEX, Prediction
from atrous.workflows import PredictionFiles, evaluate, predict, train
from tests.layouts import LAYOUTS


class Oracle:
    """A `PixelScorer` that has seen the truth of every image, and scores the pixels by it."""

    alignment, margin, device, precision, fill = 1, (0, 0), "cpu", "float32", None

    def __init__(self, folder: Folder, maps: int) -> None:
        self.num_classes, self.in_channels, self.truths = maps, folder.channels, {}
        self.borders = maps > len(folder.classes)
        for pair in folder.pairs:
            raster, mask, instances = read_pair(pair, folder)
            if mask is not None:
                self.truths[raster.as_floats(None).tobytes()] = self.scores_of(mask, instances)

    def scores_of(self, mask: np.ndarray, instances: np.ndarray | None) -> torch.Tensor:
        if mask.ndim == 3:
            return torch.from_numpy(mask == 1).float()
        decided = torch.from_numpy(np.where(mask == IGNORE_INDEX, 0, mask)).long()
        if self.borders and instances is not None:
            numbers = torch.from_numpy(instances.astype(np.int64))
            border = border_targets(decided[None], numbers[None], 2)[0]
            decided = torch.where(numbers > 0, border, decided)  # background between objects is for learning alone
        return torch.nn.functional.one_hot(decided, self.num_classes).permute(2, 0, 1).float()

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        key = image[0].permute(1, 2, 0).contiguous().numpy().tobytes()
        height, width = image.shape[-2:]
        return self.truths.get(key, torch.zeros(self.num_classes, height, width))[None]


@pytest.fixture
def perfect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A bundle of a folder's classes, whose predictor knows the truth."""

    def make(folder: Folder) -> Path:
        task = "multilabel" if folder.multilabel else "segmentation"
        if any(pair.instances for pair in folder.pairs) and len(folder.classes) == 2:
            task = "instances"
        maps = len(folder.classes) + TASKS[task].extra_maps
        model = create_model("unet2015", num_classes=maps, in_channels=folder.channels, width=1).eval()
        bundle = save_bundle(tmp_path / "b", model, task=task, class_names=folder.classes, dtype=folder.dtype)
        oracle = Oracle(folder, maps)
        real = Predictor.from_bundle.__func__  # type: ignore[attr-defined]

        def from_bundle(cls: type[Predictor], *given: Any, **more: Any) -> Predictor:
            predictor: Predictor = real(cls, *given, **more)
            predictor.scorer = oracle  # type: ignore[assignment]
            return predictor

        monkeypatch.setattr(Predictor, "from_bundle", classmethod(from_bundle))
        return bundle

    return make


def predicted(root: Path, out: Path) -> dict[str, tuple[Path, int | None]]:
    """The file, and its page, of the mask of every image."""
    files = {}
    for image in find_inputs(root):
        for number, page in enumerate(image.pages):
            place = next(path for path in out.iterdir() if path.name == f"{image.name}{image.suffix}")
            files[str(page)] = place, number if len(image.pages) > 1 else None
    return files


def classes_in(folder: Folder, out: Path, file: Path, page: int | None) -> np.ndarray:
    """A predicted mask as the folder's own table reads it; planes where classes may overlap."""
    if folder.multilabel:
        planes = [read_mask(out / "labels" / name / file.name) > 0 for name in folder.classes.names]
        return np.stack(planes)
    raw = read_mask(file) if page is None else PageMask(file, page).read()
    palette = read_palette(file) if folder.classes.color_coded else None
    return folder.classes.encode(raw, file=file, palette=palette)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_perfect_prediction_reads_as_the_truth(layout: str, perfect: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    LAYOUTS[layout](tmp_path / "data")
    folder = open_folder(tmp_path / "data")
    bundle, out = perfect(folder), tmp_path / "out"
    predict(bundle, tmp_path / "data", out)
    files, seen = predicted(tmp_path / "data", out), 0
    task = TASKS["multilabel" if folder.multilabel else "segmentation"](len(folder.classes))  # type: ignore[call-arg]
    evaluator = task.evaluator(folder.classes.names, boundary=False)
    for pair in folder.pairs:
        raster, truth, _ = read_pair(pair, folder)
        if truth is None:
            continue
        again = classes_in(folder, out, *files[str(pair.image)])
        if raster.valid is not None:
            assert (again[~raster.valid] == IGNORE_INDEX).all()  # nodata stays nodata
            again[~raster.valid] = 0
        told = Prediction(again, again) if again.ndim == 2 else Prediction(again[0], again[0], labels=again)
        assert evaluator.update(told, {"mask": truth})["mean_iou"] == 1
        seen += 1
    assert seen == sum(pair.mask is not None or pair.instances is not None for pair in folder.pairs) > 0
    assert evaluator.compute()["mean_iou"] == 1
    for split in ("train", "val"):
        assert evaluate(bundle, tmp_path / "data", split=split).summary["mean_iou"] == 1


def place_of(mask: Any) -> Path | None:
    """Where a layout keeps a mask or instance map that can be written; None where it is no image file of its own."""
    if isinstance(mask, PageMask):
        return mask.file
    if isinstance(mask, Regions):
        return None
    return mask.manual if hasattr(mask, "manual") else mask if isinstance(mask, Path) else None


def replace_masks(root: Path, out: Path) -> bool:
    """Put predicted masks in the place of those of a folder; False where its layout has none that can be written."""
    folder, files = open_folder(root), predicted(root, out)
    for pair in folder.pairs:
        file = files[str(pair.image)][0]
        if folder.multilabel and (root / "masks" / folder.classes.names[0]).is_dir():
            for name in folder.classes.names:
                shutil.copy(out / "labels" / name / file.name, root / "masks" / name / file.name)
            continue
        place = place_of(pair.instances if pair.mask is None else pair.mask)
        source = out / "instances" / file.name if pair.mask is None else file
        if not isinstance(place, Path):
            if pair.mask is None and pair.instances is None:
                continue
            return False
        place.unlink(missing_ok=True)
        ending = ".nii.gz" if place.name.endswith(".nii.gz") else source.suffix
        shutil.copy(source, place.with_name(f"{place.name.split('.')[0]}{ending}"))
    return True


NOT_WRITTEN = {
    "coco", "coco_panoptic", "stanford", "sbd", "ctc", "ctc volumes", "dsb2018", "nnunet regions", "array planes",
}  # fmt: skip
"""Layouts whose masks are no image files: JSON, text, MATLAB's, one file per object, joined labels."""


def test_every_layout_is_tried(tmp_path: Path) -> None:
    tried = set()
    for name, make in LAYOUTS.items():
        (tmp_path / name).mkdir()
        make(tmp_path / name)
        tried.add(choose_layout(tmp_path / name, None))
    landmarks = {"landmarks", "deeplabcut", "coco_keypoints"}  # which have no masks
    assert tried == {"folder", *DATASETS} - landmarks - {"voc_aug"}  # that of VOC with another list, and must be named


@pytest.mark.parametrize("layout", LAYOUTS)
def test_predicted_masks_are_masks_of_the_layout(layout: str, perfect: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    LAYOUTS[layout](tmp_path / "data")
    folder = open_folder(tmp_path / "data")
    bundle = perfect(folder)
    predict(bundle, tmp_path / "data", tmp_path / "out")
    shutil.copytree(tmp_path / "data", tmp_path / "again")
    assert replace_masks(tmp_path / "again", tmp_path / "out") == (layout not in NOT_WRITTEN)
    if layout in NOT_WRITTEN:
        return
    for split in ("train", "val"):
        found = evaluate(bundle, tmp_path / "again", split=split)
        assert found.summary["mean_iou"] == 1
        assert all(image.mean_iou == 1 for image in found.images)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in NOT_WRITTEN])
def test_predicted_masks_are_trained_on(layout: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    LAYOUTS[layout](tmp_path / "data")
    settings = ["model={name: unet2015, width: 2}", "training={max_steps: 3, device: cpu}", "data={workers: 0}"]
    run = train(tmp_path / "data", overrides=settings, out=tmp_path / "run", evaluate=False)
    predict(run.bundle, tmp_path / "data", tmp_path / "out")
    shutil.copytree(tmp_path / "data", tmp_path / "again")
    assert replace_masks(tmp_path / "again", tmp_path / "out")
    table = tmp_path / "data" / "classes.yaml"
    again = train(
        tmp_path / "again",
        overrides=settings,
        out=tmp_path / "run2",
        classes=table if table.exists() else None,
        evaluate=False,
    )
    assert again.trained


def test_numbers_of_classes_where_they_are_asked_for(perfect: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    LAYOUTS["cell 1, background 0"](tmp_path / "data")
    bundle = perfect(open_folder(tmp_path / "data"))
    for values, first in (("data", 0), ("index", 1)):
        outputs = PredictionFiles(values=values)  # type: ignore[arg-type]
        predict(bundle, tmp_path / "data/images/0.png", tmp_path / values, outputs=outputs)
        assert read_mask(tmp_path / values / "0.png")[0, 0] == first
