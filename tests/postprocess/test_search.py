"""Settings of post-processing found on made images whose best ones are known."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from atrous.crf import dense_crf
from atrous.crf.many import ImageCRF
from atrous.errors import UsageError
from atrous.metrics.confusion import mean_iou, pixel_accuracy
from atrous.postprocess import (
    CrfMethod,
    LabelledScores,
    MinSizeMethod,
    SearchResult,
    count_pixels,
    harmed_classes,
    remove_small,
    search,
)

SIZE = 28


def noisy_samples(count: int = 2, seed: int = 0) -> list[LabelledScores]:
    """A bright field in a dark one: 30 apart, with a texture of 4, and probabilities that are often wrong.

    A bandwidth of colour far below the texture joins no pixels; one far above 30 joins the two fields.
    """
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(count):
        y, x = np.mgrid[:SIZE, :SIZE]
        mask = ((y - 13) ** 2 + (x - rng.integers(10, 18)) ** 2 < 64).astype(np.int64)
        grey = 100 + 30 * mask + rng.normal(0, 4, mask.shape)
        image = np.repeat(grey[..., None], 3, 2).clip(0, 255).astype(np.uint8)
        wrong = rng.random(mask.shape) < 0.3
        p = np.where(mask ^ wrong, 0.7, 0.3)
        mask[:2] = 255
        samples.append(LabelledScores(np.stack([1 - p, p]), image, mask))
    return samples


def axes(
    xy: Sequence[float], rgb: Sequence[float], weight: Sequence[float], *, gaussian: tuple[float, float] = (3.0, 3.0),
    iterations: int = 5,
) -> dict[str, Sequence[float]]:  # fmt: skip
    return {
        "gaussian_xy": (gaussian[0],),
        "gaussian_weight": (gaussian[1],),
        "bilateral_xy": xy,
        "bilateral_rgb": rgb,
        "bilateral_weight": weight,
        "iterations": (iterations,),
    }


def bilateral(setting: Any) -> tuple[float, float, float]:
    return setting["bilateral_xy"], setting["bilateral_rgb"], setting["bilateral_weight"]


def test_the_bandwidth_that_fits_the_image_is_found() -> None:
    seen: list[tuple[int, int]] = []
    found = search(
        noisy_samples(),
        CrfMethod(),
        axes((20,), (0.5, 12.0, 200.0), (0.01, 6.0), gaussian=(1.0, 0.1)),
        pixel_accuracy,
        progress=lambda done, planned: seen.append((done, planned)),
    )
    assert bilateral(found.setting) == (20, 12.0, 6.0)
    assert found.score > found.plain + 0.2
    assert 0.6 < found.plain < 0.8
    assert len(found.trials) == 6
    assert seen == [(number, 12) for number in range(1, 13)]


def test_the_settings_are_those_of_dense_crf_and_give_the_score() -> None:
    samples = noisy_samples(1)
    found = search(samples, CrfMethod(), axes((20,), (12,), (6,), iterations=4), pixel_accuracy, refinements=1)
    scores, image, mask, _ = samples[0]
    gaussian = found.setting["gaussian_xy"], found.setting["gaussian_weight"]
    classes = dense_crf(scores, image, gaussian=gaussian, bilateral=bilateral(found.setting), iterations=4).argmax(0)
    assert found.setting["iterations"] == 4
    assert found.score == pytest.approx((classes == mask)[mask != 255].mean())


def test_later_rounds_halve_the_steps_around_the_best_and_never_lose() -> None:
    def searched(refinements: int) -> SearchResult:
        given = axes((20, 40), (4.0, 8.0, 16.0), (5,), iterations=3)
        return search(noisy_samples(1), CrfMethod(), given, pixel_accuracy, refinements=refinements)

    coarse, fine = searched(0), searched(1)
    assert fine.trials[: len(coarse.trials)] == coarse.trials
    assert fine.score >= coarse.score
    sxy, srgb, _ = bilateral(coarse.setting)
    step = {4: 2, 8: 2, 16: 4}[srgb]
    tried = [bilateral(trial.setting) for trial in fine.trials]
    assert {one[1] for one in tried} == {4, 8, 16, srgb - step, srgb + step}
    assert {one[0] for one in tried} == {20, 40, sxy - 10, sxy + 10}
    assert {one[2] for one in tried} == {5}
    assert len(set(tried)) == len(tried)
    assert {trial.setting["iterations"] for trial in fine.trials} == {3}


def test_a_field_that_can_only_harm_is_told_by_the_plain_score() -> None:
    _, image, mask, _ = noisy_samples(1)[0]
    right = np.where(np.stack([mask == 0, mask != 0]), 0.6, 0.4)
    sample = LabelledScores(right, np.full_like(image, 90), mask)
    found = search([sample], CrfMethod(), axes((30,), (5,), (20,), iterations=10), pixel_accuracy)
    assert found.plain == 1
    assert found.score < 1


def test_every_setting_is_scored_as_if_it_were_tried_alone() -> None:
    """Lattices are shared and the order is another one: each score must still be that of its own setting."""
    samples = noisy_samples(2)
    given = axes((30, 10), (20.0, 5.0), (1.0, 8.0), gaussian=(2.0, 0.0)) | {"gaussian_weight": (0.0, 2.0)}
    found = search(samples, CrfMethod(), given | {"iterations": (1, 4)}, mean_iou)
    assert len(found.trials) == 32
    assert len({trial.score for trial in found.trials}) > 8
    for trial in found.trials[::5]:
        gaussian = trial.setting["gaussian_xy"], trial.setting["gaussian_weight"]
        matrix = sum(
            count_pixels(
                dense_crf(
                    s.scores, s.image, gaussian=gaussian, bilateral=bilateral(trial.setting),
                    iterations=int(trial.setting["iterations"]),
                ).argmax(0),
                s,
            )
            for s in samples
        )  # fmt: skip
        assert trial.score == pytest.approx(mean_iou(torch.as_tensor(matrix)), abs=1e-12)


def test_one_image_by_many_settings_is_what_each_alone_gives() -> None:
    scores, image, _, _ = noisy_samples(1)[0]
    crf = ImageCRF(scores, image)
    for gaussian, both, iterations in (
        ((3.0, 3.0), (20.0, 12.0, 4.0), 5),
        ((3.0, 1.0), (20.0, 12.0, 8.0), 2),  # the lattices of the call before
        ((1.0, 1.0), (20.0, 12.0, 8.0), 2),  # one of them
        ((1.0, 0.0), (9.0, 12.0, 8.0), 2),
        ((2.0, 2.0), (9.0, 12.0, 0.0), 2),
    ):
        alone = dense_crf(scores, image, gaussian=gaussian, bilateral=both, iterations=iterations)
        np.testing.assert_allclose(crf(gaussian=gaussian, bilateral=both, iterations=iterations), alone, atol=1e-6)
    np.testing.assert_array_equal(crf(gaussian=None, bilateral=None).argmax(0), scores.argmax(0))
    with pytest.raises(UsageError, match=r"One image is refined by many settings, but .* \(1, 2, 28, 28\)"):
        ImageCRF(scores[None], image[None])


class Counted(Sequence[LabelledScores]):
    """Samples that are made when asked for, and how often that was."""

    def __init__(self, samples: list[LabelledScores]) -> None:
        self.samples, self.asked = samples, [0] * len(samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: Any) -> Any:
        sample = self.samples[index]
        self.asked[index] += 1
        return sample


def test_images_are_asked_for_once_in_a_round() -> None:
    samples = Counted(noisy_samples(3))
    search(samples, CrfMethod(), axes((20, 40), (12,), (6,), iterations=1), pixel_accuracy, refinements=2)
    assert samples.asked == [3, 3, 3]


def test_the_least_size_of_parts_is_found_and_whole_numbers_stay_whole() -> None:
    truth = np.zeros((40, 60), np.int64)
    truth[10:20, 10:30] = 1  # 200 pixels that are right, and a speckle of 9 that is not
    decided = truth.copy()
    decided[30:33, 50:53] = 1
    sample = LabelledScores(np.stack([decided == 0, decided == 1]).astype(np.float32), truth[..., None], truth)
    method = MinSizeMethod((0, 1))  # so that a fraction is a number of pixels
    found = search([sample], method, {"fraction": (0, 5, 40, 500)}, mean_iou, refinements=1)
    assert found.setting == {"fraction": 40}  # the first that removes the speckle alone
    assert all(isinstance(trial.setting["fraction"], int) for trial in found.trials)
    assert found.score == 1 > found.plain
    assert method.section(found.setting) == {"clean": {"min_size": [0, 40]}}
    scores = {trial.setting["fraction"]: trial.score for trial in found.trials}
    for size, score in scores.items():
        cleaned = remove_small(decided.astype(np.uint8), [0, int(size)])
        assert score == pytest.approx(mean_iou(count_pixels(cleaned, sample)))
    assert set(scores) == {0, 5, 23, 40, 57, 500}  # 17 is half of 40 - 5
    assert scores[0] == scores[5] == found.plain


def test_other_counts_and_scores_may_be_searched_by() -> None:
    """Objects instead of pixels: what is counted is up to the caller, who also gets the numbered objects."""
    objects = np.zeros((20, 20), np.int32)
    objects[2:6, 2:6], objects[12:16, 12:16] = 1, 2
    truth = (objects > 0).astype(np.int64)
    decided = truth.copy()
    decided[9, 9] = 1
    sample = LabelledScores(np.stack([decided == 0, decided == 1]).astype(np.float32), truth[..., None], truth, objects)

    def count(classes: np.ndarray, sample: LabelledScores) -> np.ndarray:
        import cv2

        found = cv2.connectedComponents(np.asarray(classes, np.uint8), connectivity=4)[0] - 1
        return np.array([found, len(np.unique(sample.instances)) - 1])

    score: Callable[[np.ndarray], float] = lambda counted: -abs(float(counted[0] - counted[1]))  # noqa: E731
    found = search([sample], MinSizeMethod((0, 8)), {"fraction": (0, 0.5)}, score, count=count)
    assert (found.setting, found.plain, found.score) == ({"fraction": 0.5}, -1.0, 0.0)


def test_only_what_is_allowed_is_chosen() -> None:
    truth = np.zeros((20, 20), np.int64)
    truth[2:8, 2:8], truth[15, 15] = 1, 2
    decided = truth.copy()
    decided[12, 3:5] = 2  # two wrong pixels; a size above 2 also takes the right one
    decided[15, 2] = 1
    sample = LabelledScores(np.stack([decided == k for k in range(3)]).astype(np.float32), truth[..., None], truth)
    method, axes = MinSizeMethod((0, 8, 8)), {"fraction": (0.0, 0.25, 0.5)}
    free = search([sample], method, axes, pixel_accuracy)
    assert free.setting == {"fraction": 0.5}
    assert harmed_classes(free.plain_counts, free.counts) == [2]
    kept = search([sample], method, axes, pixel_accuracy, allows=lambda *both: not harmed_classes(*both))
    assert (kept.allowed, kept.setting) == (True, {"fraction": 0.0})
    assert kept.counts.tolist() == kept.plain_counts.tolist()
    none = search([sample], method, axes, pixel_accuracy, allows=lambda *both: False)
    assert (none.allowed, none.setting) == (False, {"fraction": 0.5})
    assert free.trials == kept.trials == none.trials


def test_a_score_that_is_no_number_is_never_the_best() -> None:
    class Two:
        def check(self, axes: Any) -> None:
            pass

        def decide(self, sample: LabelledScores, settings: Any) -> Iterator[tuple[int, Any]]:
            for number in range(len(settings)):
                yield number, np.full(sample.mask.shape, number)

    def score(matrix: torch.Tensor) -> float:
        return float("nan") if matrix[:, 0].sum() else 0.25

    found = search(noisy_samples(1), Two(), {"any": (1.0, 2.0)}, score)
    assert found.setting == {"any": 2.0}


def test_tensors_and_arrays_are_searched_alike() -> None:
    samples = noisy_samples(1)
    tensors = [LabelledScores(*(torch.from_numpy(array) for array in samples[0][:3]))]
    given = axes((20,), (12.0, 30.0), (2.0, 6.0), iterations=2)
    arrays = search(samples, CrfMethod(), given, pixel_accuracy)
    assert search(tensors, CrfMethod(), given, pixel_accuracy)[:5] == arrays[:5]
    sizes, method = {"fraction": (0, 10)}, MinSizeMethod((1, 1))
    assert search(tensors, method, sizes, mean_iou)[:5] == search(samples, method, sizes, mean_iou)[:5]


def test_what_cannot_be_searched_is_refused() -> None:
    probabilities, image, mask, _ = noisy_samples(1)[0]
    sample = LabelledScores(probabilities, image, mask)
    good = axes((20,), (12,), (6,))
    with pytest.raises(UsageError, match="needs images and values to try, got 0 images"):
        search([], CrfMethod(), good, pixel_accuracy)
    with pytest.raises(UsageError, match="needs images and values to try"):
        search([sample], CrfMethod(), good | {"bilateral_xy": ()}, pixel_accuracy)
    with pytest.raises(UsageError, match="needs positive numbers to try"):
        search([sample], CrfMethod(), good | {"bilateral_rgb": (0, 3)}, pixel_accuracy)
    with pytest.raises(UsageError, match="needs values for gaussian_xy, "):
        search([sample], CrfMethod(), {"bilateral_xy": (3,)}, pixel_accuracy)
    with pytest.raises(UsageError, match="needs values of fraction from 0"):
        search([sample], MinSizeMethod((1, 1)), {"fraction": (-1,)}, pixel_accuracy)
    with pytest.raises(UsageError, match="Sizes of 3 classes do not fit scores of 2"):
        search([sample], MinSizeMethod((1, 1, 1)), {"fraction": (1,)}, pixel_accuracy)
    with pytest.raises(UsageError, match=r"mask \(H, W\); got \(2, 28, 28\), \(28, 28, 3\) and \(27, 28\)"):
        search([sample._replace(mask=mask[1:])], CrfMethod(), good, pixel_accuracy)
