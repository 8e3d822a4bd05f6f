"""The challenge's scores of a bundle: made slices and a predictor that is known, and a bundle of its own."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from atrous.data import open_folder
from atrous.errors import BundleError, DataError, UsageError
from atrous.images import Raster, write_image
from atrous.metrics import membrane_scores, warping_error
from atrous.types import Prediction
from atrous.workflows.isbi import score_isbi

SIZE = (40, 48)


def slice_of(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """True where cell: a grid of membranes, another in every slice."""
    mask = np.ones(size, bool)
    mask[4 + number :: 9], mask[:, 3 + number :: 11] = False, False
    return mask


class Known:
    """A predictor that sees the truth in the image, and adds its own doubt; the image is the truth and a number."""

    class_names = ("membrane", "cell")
    dtype = "uint8"
    scorer = SimpleNamespace(in_channels=1)

    def __init__(self, noise: float = 0.25) -> None:
        self.noise, self.calls = noise, []

    def probability(self, image: np.ndarray) -> np.ndarray:
        seed = np.random.default_rng(int(image.sum()))
        soft = 0.25 + 0.5 * (image[..., 0] > 100) + self.noise * seed.standard_normal(image.shape[:2])
        return soft.clip(0, 1).astype(np.float32)

    def __call__(self, raster: Raster, **options: object) -> Prediction:
        image = raster.array
        self.calls.append((image.shape, options))
        cell = self.probability(image)
        scores = np.stack([1 - cell, cell])
        return Prediction(scores.argmax(0).astype(np.uint8), scores.max(0).astype(np.float16), scores)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "em"
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for number in range(5):
        mask = slice_of(number)
        write_image(root / "images" / f"s{number}.png", np.where(mask, 160 + number, 40).astype(np.uint8))
        write_image(root / "masks" / f"s{number}.png", np.where(mask, 255, 0).astype(np.uint8))
    (root / "train.txt").write_text("s0\ns1\n")
    (root / "val.txt").write_text("s2\ns3\ns4\n")
    (root / "classes.yaml").write_text(
        "classes: [{name: membrane, value: 0}, {name: cell, value: 255}]\nignore: [77]\n"
    )
    return root


def stacks(predictor: Known, numbers: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    masks = np.stack([slice_of(number) for number in numbers])
    images = [np.where(mask, 160 + k, 40).astype(np.uint8)[..., None] for k, mask in zip(numbers, masks, strict=True)]
    return np.stack([predictor.probability(image) for image in images]), masks


def test_the_scores_are_those_of_the_stack(folder: Path) -> None:
    predictor, seen = Known(), []
    result = score_isbi(predictor, folder, progress=lambda *done: seen.append(done))
    probability, masks = stacks(predictor, (2, 3, 4))
    expected = membrane_scores(probability, masks)
    assert result["v_rand"] == expected.v_rand.f_score
    assert (result["v_rand_split"], result["v_rand_merge"]) == expected.v_rand[:2]
    assert result["v_rand_threshold"] == expected.threshold
    assert (result["v_info"], result["v_info_threshold"]) == (expected.v_info.f_score, expected.info_threshold)
    assert (result["rand_error"], result["pixel_f_error"]) == (expected.rand_error, expected.pixel_f_error)
    for ending, pixels in (("", expected.pixels), ("_best", expected.best_pixels)):
        assert result[f"pixel_error{ending}"] == pixels.error
        assert result[f"cell_iou{ending}"] == pixels.cell_iou
        assert result[f"membrane_iou{ending}"] == pixels.membrane_iou
        assert result[f"mean_iou{ending}"] == pytest.approx((pixels.cell_iou + pixels.membrane_iou) / 2)
    assert result["warping_error"] == warping_error(probability, masks)
    assert result["images"] == ["s2", "s3", "s4"]
    assert result["curve"]["0.3"] == expected.v_rand_curve[3]
    assert predictor.calls == [((*SIZE, 1), {"scores": True})] * 3  # whole images, scores kept
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert 0 < result["v_rand"] < 1
    assert json.loads(json.dumps(result)) == result


def test_a_perfect_predictor_and_another_split(folder: Path) -> None:
    result = score_isbi(Known(noise=0), folder, "train")
    assert (result["v_rand"], result["v_info"], result["cell_iou"], result["membrane_iou"]) == (1, 1, 1, 1)
    assert (result["pixel_error"], result["rand_error"], result["warping_error"]) == (0, 0, 0)
    assert result["images"] == ["s0", "s1"]


def test_ignored_pixels_count_for_nothing(folder: Path) -> None:
    predictor = Known()
    path = open_folder(folder).splits["val"][0].mask
    mask = np.where(slice_of(2), 255, 0).astype(np.uint8)
    mask[5:20, 5:20] = 77
    write_image(path, mask)
    probability, masks = stacks(predictor, (2, 3, 4))
    ignore = np.zeros(masks.shape, bool)
    ignore[0, 5:20, 5:20] = True
    expected = membrane_scores(probability, masks & ~ignore, ignore=ignore)
    result = score_isbi(predictor, folder)
    assert (result["v_rand"], result["pixel_error"]) == (expected.v_rand.f_score, expected.pixels.error)
    assert result["warping_error"] == warping_error(probability, masks & ~ignore, movable=~ignore)


def test_a_bundle_is_loaded(folder: Path, make_bundle: Callable[..., Path]) -> None:
    from atrous import Predictor

    (folder / "classes.yaml").write_text("classes: [{name: c0, value: 0}, {name: c1, value: 255}]\n")
    bundle = make_bundle()
    result = score_isbi(bundle, folder, device="cpu", precision="float32")
    predictor = Predictor.load(bundle, device="cpu", precision="float32")
    images = [np.where(slice_of(number), 160 + number, 40).astype(np.uint8) for number in (2, 3, 4)]
    probability = np.stack([predictor(image, scores=True).scores[1] for image in images]).clip(0, 1)
    expected = membrane_scores(probability, np.stack([slice_of(number) for number in (2, 3, 4)]))
    assert result["pixel_error"] == expected.pixels.error
    assert result["v_rand"] == expected.v_rand.f_score
    assert (result["bundle"], result["cell"]) == (str(bundle), "c1")


def test_the_class_of_cells(folder: Path) -> None:
    other = score_isbi(Known(), folder, cell="membrane")
    usual = score_isbi(Known(), folder)
    assert (other["cell"], usual["cell"]) == ("membrane", "cell")
    assert other["cell_iou"] == pytest.approx(usual["membrane_iou"])
    with pytest.raises(UsageError, match=r"there is no class 'cel' of cells\. Did you mean 'cell'\?"):
        score_isbi(Known(), folder, cell="cel")


def test_which_of_three_classes_is_not_known(folder: Path) -> None:
    predictor = Known()
    predictor.class_names = ("a", "b", "c")
    (folder / "classes.yaml").write_text("classes: [{name: a, value: 0}, {name: b, value: 255}, {name: c, value: 3}]\n")
    with pytest.raises(UsageError, match="say it with cell=NAME"):
        score_isbi(predictor, folder)


def test_other_refusals(folder: Path) -> None:
    predictor = Known()
    with pytest.raises(UsageError, match="has no split 'vall'"):
        score_isbi(predictor, folder, "vall")
    predictor.class_names = ("cell", "membrane")
    with pytest.raises(BundleError, match="decides the classes"):
        score_isbi(predictor, folder)
    mask = slice_of(3, (30, 48))
    write_image(folder / "images" / "s3.png", np.where(mask, 163, 40).astype(np.uint8))
    write_image(folder / "masks" / "s3.png", np.where(mask, 255, 0).astype(np.uint8))
    with pytest.raises(DataError, match=r"s3\.png: slices of 40 x 48 and 30 x 48 pixels make no stack"):
        score_isbi(Known(), folder)


def test_a_slice_without_cells(folder: Path) -> None:
    write_image(folder / "masks" / "s3.png", np.zeros(SIZE, np.uint8))
    with pytest.raises(DataError, match="slice 1 of the truth has no cell"):
        score_isbi(Known(), folder)


@pytest.mark.shared
def test_real_slices(shared: Path) -> None:
    """A probability made of the truth itself, blurred: the scores of four real slices are those of a good map."""
    import cv2

    masks = [cv2.imread(str(shared / "isbi2012_em" / "masks" / f"train_{k}.png"), 0) > 0 for k in (20, 21)]
    truth = np.stack(masks)
    soft = np.stack([cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.5) for mask in masks]).clip(0, 1)
    scores = membrane_scores(soft, truth, [0.3, 0.5, 0.7])
    assert scores.v_rand.f_score > 0.95
    assert scores.v_rand.f_score > 1 - scores.rand_error  # thinning forgives widths
    assert scores.pixels.error < 0.05
