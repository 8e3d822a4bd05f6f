"""Windows around objects: which object, its box, what both stages keep, and that the generator decides."""

import numpy as np
import pytest
import torch

from atrous.augment.objects import ObjectCrop, enlarged, number_objects
from atrous.errors import RecipeError


def sample_of(mask, **more):
    mask = torch.tensor(mask)
    rows, columns = torch.meshgrid(*(torch.arange(float(side)) for side in mask.shape), indexing="ij")
    return {"image": torch.stack([rows, columns]), "mask": mask, **more}


def scene():
    """A class 1 of 10x20 pixels, a class 2 of 10x10, a class 1 again of 4x4, an ignored corner."""
    mask = np.zeros((60, 80), int)
    mask[10:20, 10:30] = 1
    mask[40:50, 60:70] = 2
    mask[15:25, 30:40] = 2
    mask[2:6, 70:74] = 1
    mask[50:, :10] = 255
    return sample_of(mask.tolist())


def draws(transform, sample, count=60):
    return [transform(sample, np.random.default_rng(seed)) for seed in range(count)]


def test_connected_parts_of_every_class_are_objects():
    sample = scene()
    numbers = number_objects(sample)
    assert sorted(np.unique(numbers[numbers > 0].numpy(), return_counts=True)[1].tolist()) == [16, 100, 100, 200]
    assert not numbers[(sample["mask"] == 0) | (sample["mask"] == 255)].any()
    assert not number_objects(sample, background=1)[sample["mask"] == 1].any()


def test_instances_are_objects_where_there_are_some():
    instances = torch.zeros(60, 80, dtype=torch.int64)
    instances[10:20, 10:15], instances[10:20, 15:30] = 4000, 7
    sample = {**scene(), "instances": instances}
    sides = {
        tuple(round(x.item()) for x in out["image"][1].aminmax())
        for out in draws(ObjectCrop((10, 10), enlarge=1.0), sample)
    }
    assert sides == {(10, 14), (15, 29)}
    for out in draws(ObjectCrop((10, 10), enlarge=1.0), sample, 5):
        assert set(out["instances"].unique().tolist()) in ({4000}, {7})


def test_a_box_is_enlarged_about_its_centre():
    assert enlarged((10, 10, 20, 30), 1.2) == (9, 8, 21, 32)
    assert enlarged((0, 0, 1, 1), 1.2) == (0, 0, 1, 1)
    assert enlarged((0, 0, 10, 10), 2) == (-5, -5, 15, 15)


def test_the_first_stage_keeps_the_class_of_its_object_alone():
    """Only one box holds two classes in the scene: 1.2 times the first object reaches into its neighbour."""
    alone = draws(ObjectCrop((12, 24), stage=1), scene())
    classes = {tuple(out["mask"].unique().tolist()) for out in alone}
    assert classes == {(0, 1), (0, 2)}
    assert all((out["mask"] > 0).float().mean() == pytest.approx(1 / 1.44, abs=0.2) for out in alone)
    together = {tuple(out["mask"].unique().tolist()) for out in draws(ObjectCrop((12, 24), stage=2), scene())}
    assert (0, 1, 2) in together


def test_the_window_is_the_box_resized():
    mask = np.zeros((60, 80), int)
    mask[20:40, 30:50] = 3
    out = ObjectCrop((24, 48))(sample_of(mask.tolist()), np.random.default_rng(0))
    assert out["image"].shape == (2, 24, 48)
    rows, columns = out["image"]
    assert (rows.min(), rows.max()) == (18, 41)
    assert columns[0, 0] == 28
    assert (out["mask"] == 3).sum() == 20 * 40


def test_ignored_pixels_stay_ignored_and_what_lies_outside_is_ignored():
    mask = np.zeros((20, 20), int)
    mask[0:10, 0:10] = 1
    mask[0, 11] = 255
    out = ObjectCrop(14, enlarge=1.4)(sample_of(mask.tolist()), np.random.default_rng(0))
    assert (out["mask"][:2] == 255).all()
    assert (out["mask"][:, :2] == 255).all()
    assert out["mask"][2, 13] == 255
    assert (out["mask"] == 255).sum() == 14 * 14 - 12 * 12 + 1


def test_an_image_without_objects_is_taken_whole():
    sample = sample_of(np.zeros((10, 20), int).tolist())
    out = ObjectCrop(8)(sample, np.random.default_rng(0))
    assert out["mask"].shape == (8, 8)
    assert out["image"][1].min() <= 1
    assert out["image"][1].max() > 17
    few = sample_of([[1, 0, 0, 0]] * 3)
    assert ObjectCrop(8, smallest=4)(few, np.random.default_rng(0))["image"][1].max() > 2


def test_every_object_is_as_likely_and_the_generator_decides():
    outs = draws(ObjectCrop(16, smallest=17), scene(), 300)
    centres = [tuple(round(float(x), 1) for x in out["image"].mean((1, 2))) for out in outs]
    counts = [centres.count(centre) for centre in set(centres)]
    assert len(counts) == 3
    assert min(counts) > 70
    again = draws(ObjectCrop(16, smallest=17), scene(), 300)
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(outs, again, strict=True))


def test_the_same_numbers_are_drawn_whatever_is_there():
    states = []
    for sample in (scene(), sample_of(np.zeros((10, 20), int).tolist())):
        rng = np.random.default_rng(5)
        ObjectCrop(8)(sample, rng)
        states.append(rng.random())
    assert states[0] == states[1]


def test_the_sample_stays_as_it_was():
    sample = scene()
    before = {key: value.clone() for key, value in sample.items()}
    draws(ObjectCrop(16), sample, 5)
    assert all(torch.equal(sample[key], value) for key, value in before.items())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"size": 0}, "the size is 0"),
        ({"size": (8, -1)}, "each side must be at least 1"),
        ({"size": 8, "stage": 3}, "stage is 3: 1 keeps"),
        ({"size": 8, "enlarge": 0}, "enlarge is 0"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, text):
    with pytest.raises(RecipeError, match=text):
        ObjectCrop(**arguments)


def test_a_sample_without_a_mask_is_refused():
    with pytest.raises(RecipeError, match="object_crop: the sample has no mask: remove it from augment"):
        ObjectCrop(8)({"image": torch.zeros(1, 4, 4)}, np.random.default_rng(0))
