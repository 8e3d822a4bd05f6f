"""Copy-paste and CutMix: what is pasted, how much, from which sample, and that a draw's number decides it all."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from atrous.augment import Compose, CopyPaste, CutMix, HorizontalFlip, RandomCrop, compose
from atrous.augment.mixing import paste
from atrous.errors import RecipeError


def plain(value, size=(40, 50), **more):
    """An image of one number and a mask of one class."""
    return {"image": torch.full((2, *size), float(value)), "mask": torch.full(size, value), **more}


def with_cells(value=7, size=(40, 50)):
    """Three objects on class 0: two of class 1 that touch, and one of class 2; the image shows their numbers."""
    instances = torch.zeros(size, dtype=torch.int64)
    instances[5:15, 5:15], instances[5:15, 15:25], instances[25:35, 30:44] = 3, 4, 9
    mask = torch.where(instances == 9, 2, (instances > 0).long())
    return {"image": torch.stack([instances.float() + value] * 2), "mask": mask, "instances": instances}


@dataclass(frozen=True)
class Samples:
    """A source from a list."""

    samples: list

    def __call__(self, index):
        return self.samples[index]

    def __len__(self):
        return len(self.samples)


def mixed(transform, sample, second, seed=0):
    return transform.mix(sample, lambda: second, np.random.default_rng(seed))


# Copy-paste


def test_objects_are_pasted_with_image_class_and_instance():
    target = plain(5, instances=torch.full((40, 50), 20))
    out = mixed(CopyPaste(share=1.0, flip=False, p=1.0), target, with_cells())
    pasted = with_cells()["instances"] > 0
    assert torch.equal(out["mask"], torch.where(pasted, with_cells()["mask"], 5))
    assert torch.equal(out["image"][0], torch.where(pasted, with_cells()["image"][0], 5.0))
    assert torch.equal(out["instances"], torch.where(pasted, with_cells()["instances"] + 20, 20))
    assert torch.equal(target["mask"], plain(5)["mask"])


def test_each_object_is_pasted_as_often_as_asked_and_whole():
    counts = {3: 0, 4: 0, 9: 0}
    for seed in range(300):
        out = mixed(CopyPaste(share=0.3, flip=False, p=1.0), plain(5), with_cells(), seed)
        for number in counts:
            where = with_cells()["instances"] == number
            seen = out["image"][0][where] == number + 7
            assert seen.all() or not seen.any()
            counts[number] += bool(seen.all())
    assert all(65 < count < 115 for count in counts.values())


def test_half_of_the_pasted_are_mirrored():
    outs = [mixed(CopyPaste(share=1.0, p=1.0), plain(5), with_cells(), seed)["mask"] for seed in range(200)]
    straight = mixed(CopyPaste(share=1.0, p=1.0, flip=False), plain(5), with_cells())["mask"]
    same, flipped = (sum(torch.equal(out, wanted) for out in outs) for wanted in (straight, straight.flip(-1)))
    assert same + flipped == 200
    assert 70 < same < 130


def test_connected_parts_of_classes_are_objects_where_there_are_no_instances():
    second = with_cells()
    del second["instances"]
    target = plain(5, instances=torch.zeros(40, 50, dtype=torch.int64))
    out = mixed(CopyPaste(share=1.0, flip=False, p=1.0), target, second)
    assert torch.equal(out["mask"], torch.where(second["mask"] > 0, second["mask"], 5))
    assert out["instances"].unique().tolist() == [0, 1, 2]  # the two that touch are one part
    chosen = mixed(CopyPaste(share=1.0, flip=False, classes=(2,), p=1.0), plain(5), second)
    assert chosen["mask"].unique().tolist() == [2, 5]


@pytest.mark.parametrize("second", [with_cells(), {**plain(0), "mask": with_cells()["mask"]}])
def test_small_objects_other_classes_and_ignored_pixels_are_left_out(second):
    assert mixed(CopyPaste(share=1.0, smallest=141, p=1.0), plain(5), with_cells())["mask"].unique().tolist() == [5]
    only = mixed(CopyPaste(share=1.0, classes=(2,), p=1.0), plain(5), second)
    assert only["mask"].unique().tolist() == [2, 5]
    ignored = {**second, "mask": torch.where(second["mask"] == 1, 255, second["mask"])}
    assert mixed(CopyPaste(share=1.0, classes=(1,), p=1.0), plain(5), ignored)["mask"].unique().tolist() == [5]


def test_without_objects_nothing_changes():
    out = mixed(CopyPaste(p=1.0), plain(5), plain(0))
    assert torch.equal(out["mask"], plain(5)["mask"])
    assert torch.equal(out["image"], plain(5)["image"])


# CutMix


def test_a_rectangle_is_pasted_whole_with_all_maps():
    second = with_cells()
    target = plain(5, instances=torch.full((40, 50), 2), weight=torch.ones(40, 50))
    for seed in range(20):
        out = mixed(CutMix(p=1.0), target, {**second, "weight": torch.full((40, 50), 3.0)}, seed)
        where = out["weight"] == 3
        assert torch.equal(out["mask"], torch.where(where, second["mask"], 5))
        assert torch.equal(out["image"], torch.where(where, second["image"], 5.0))
        raised = torch.where(second["instances"] > 0, second["instances"] + 2, 0)
        assert torch.equal(out["instances"], torch.where(where, raised, 2))
        rows, columns = where.any(1).sum(), where.any(0).sum()
        assert where.sum() == rows * columns
        assert abs(columns - rows * 50 / 40) <= 1.2


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_the_area_is_that_of_the_beta_distribution(alpha):
    transform, target, second = CutMix(alpha, p=1.0), plain(0, (30, 30)), plain(1, (30, 30))
    areas = np.array([mixed(transform, target, second, seed)["mask"].float().mean() for seed in range(600)])
    assert abs(areas.mean() - 0.5) < 0.06
    assert areas.std() == pytest.approx((4 * (2 * alpha + 1)) ** -0.5, abs=0.03)
    corners = {
        tuple(torch.nonzero(mixed(CutMix(4.0, p=1.0), target, second, s)["mask"])[0].tolist()) for s in range(60)
    }
    assert len(corners) > 30


# Both


def test_nothing_is_read_where_nothing_is_mixed_and_the_same_is_drawn_all_the_same():
    def never():
        raise AssertionError

    for transform in (CopyPaste, CutMix):
        numbers = []
        for p in (0.0, 1.0):
            rng = np.random.default_rng(3)
            source = never if p == 0 else with_cells
            transform(p=p).mix(plain(5), source, rng)
            numbers.append(rng.random())
        assert numbers[0] == numbers[1]
        sample = plain(5)
        assert transform(p=0.0).mix(sample, never, np.random.default_rng(0)) is sample


@pytest.mark.parametrize("transform", [CopyPaste(share=1.0, flip=False, p=1.0), CutMix(p=1.0)])
@pytest.mark.parametrize("size", [(20, 20), (60, 30), (90, 90)])
def test_a_second_sample_of_another_size_is_cropped_to_the_firsts(transform, size):
    out = mixed(transform, plain(5, size), with_cells())
    assert out["mask"].shape == out["image"].shape[1:] == size
    assert not (out["mask"] == 5).all()


def test_maps_that_only_one_sample_has_are_left_out():
    one = plain(1, instances=torch.zeros(40, 50, dtype=torch.int64), weight=torch.ones(40, 50), index=torch.tensor(3))
    assert set(mixed(CutMix(p=1.0), one, plain(2))) == {"image", "mask", "index"}
    assert set(mixed(CutMix(p=1.0), plain(2), one)) == {"image", "mask"}
    assert set(paste(plain(1), one, torch.zeros(40, 50, dtype=torch.bool))) == {"image", "mask"}


def test_second_samples_come_from_the_source_and_have_gone_through_what_stands_before():
    size = (40, 50)
    samples = [plain(number, size) for number in range(1, 5)]
    chain = compose([RandomCrop(20), _Add(10), CutMix(p=1.0), CutMix(p=1.0), _Add(100)]).bound(Samples(samples))
    seen = set()
    for seed in range(80):
        out = chain(plain(0, size), np.random.default_rng(seed))
        assert out["mask"].shape == (20, 20)
        assert torch.equal(out["image"][0], out["mask"] + 110.0)
        seen |= set(out["mask"].unique().tolist())
    assert seen == {0, 1, 2, 3, 4}


@dataclass(frozen=True)
class _Add:
    value: float

    def __call__(self, sample, rng):
        return {**sample, "image": sample["image"] + self.value}


def test_the_generator_alone_decides():
    chain = compose([RandomCrop(30), HorizontalFlip(), CopyPaste(p=0.7), CutMix(p=0.7)])
    chain = chain.bound(Samples([with_cells(number) for number in range(5)]))
    outs = [chain(with_cells(50), np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert all(torch.equal(outs[0][key], outs[1][key]) for key in outs[0])
    assert not torch.equal(outs[0]["image"], outs[2]["image"])


@pytest.mark.parametrize(("name", "transform"), [("copy_paste", CopyPaste()), ("cutmix", CutMix())])
def test_without_a_source_it_is_told_what_is_missing(name, transform):
    for act in (transform, Compose((transform,))):
        with pytest.raises(RecipeError) as caught:
            act(plain(1), np.random.default_rng(0))
        assert str(caught.value) == (
            f"{name}: needs a second sample and was given no data set to draw it from: put it into `compose` and call "
            "`bound(source)` on the result."
        )


def test_samples_that_do_not_go_together_are_refused():
    with pytest.raises(RecipeError, match="cutmix: the samples have 2 and 1 channels, but must have as many"):
        mixed(CutMix(p=1.0), plain(1), {"image": torch.zeros(1, 40, 50), "mask": torch.zeros(40, 50).long()})
    with pytest.raises(RecipeError, match="copy_paste: the sample has no mask: remove it from augment"):
        mixed(CopyPaste(p=1.0), plain(1), {"image": torch.zeros(2, 40, 50)})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CopyPaste(share=0), "copy_paste: share is 0, but a part of the objects lies above 0 and up to 1"),
        (lambda: CopyPaste(p=1.1), "copy_paste: p is 1.1"),
        (lambda: CopyPaste(classes=()), "copy_paste: classes is empty"),
        (lambda: CopyPaste(classes=(0, 2)), "copy_paste: classes names the background, 0: take it out"),
        (lambda: CopyPaste(smallest=-1), "copy_paste: smallest is -1, but must be at least 0"),
        (lambda: CutMix(alpha=0), "cutmix: alpha is 0, but must be greater than 0"),
        (lambda: CutMix(p=float("nan")), "cutmix: p is nan"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(build, message):
    with pytest.raises(RecipeError) as caught:
        build()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
