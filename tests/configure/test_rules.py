"""What follows from the facts."""

from dataclasses import replace

import pytest

from atrous.configure import Candidate, ClassFacts, Facts, Machine, PickedNetwork, candidates, choose, pick, values
from atrous.configure.network import batch_for, crop_for, downscaled, factor_for
from atrous.configure.rules import folds

CPU = Machine("cpu", 2, 8 << 30, "2 processor cores")
CELLS = Facts(
    train=20, val=4, size=(512, 512), sizes=1, channels=1, dtype="uint8",
    classes=(ClassFacts("membrane", 0.23, 5.6), ClassFacts("cell", 0.77, 18.5)),
    overlapping=False, instances=False, touching=0, vertical_asymmetry=0.02, looked=20,
)  # fmt: skip
STREET = replace(
    CELLS, train=367, val=101, size=(360, 480), channels=3, vertical_asymmetry=0.98,
    classes=(ClassFacts("road", 0.6, 100), ClassFacts("car", 0.39, 40), ClassFacts("pole", 0.01, 12)),
)  # fmt: skip


def chosen(facts, machine=CPU, **given):
    steps = given.pop("steps", 1000)
    network = {"model": {"name": "unet"}, "why": "", "crop": (256, 256), "batch": 8, "pace": 1.0} | given
    return values(choose(facts, machine, PickedNetwork(**network), steps=steps, budget="600s"))


def names(recipe):
    return [step["name"] for step in recipe["data"]["augment"]]


def test_pictures_without_an_up_are_turned():
    assert "rotate90" in names(chosen(CELLS))
    assert "rotate90" not in names(chosen(STREET))
    assert "vertical_flip" in names(chosen(CELLS, crop=(256, 320)))
    assert all("horizontal_flip" in names(chosen(facts)) for facts in (CELLS, STREET))


def test_colours_are_changed_in_colour_images_alone():
    assert "intensity" in names(chosen(CELLS))
    assert "color_jitter" in names(chosen(STREET))
    assert "intensity" in names(chosen(replace(STREET, dtype="uint16")))


def test_many_rare_classes_are_weighed():
    rare = (ClassFacts("road", 0.9, 100), *(ClassFacts(name, 0.03, 12) for name in ("pole", "sign", "fence")))
    loss = chosen(replace(STREET, classes=rare))["task"]["loss"]
    assert loss == [{"name": "cross_entropy", "weights": "enet"}, {"name": "dice"}]
    for few in (rare[:3], CELLS.classes):
        assert "weights" not in chosen(replace(STREET, classes=few))["task"]["loss"][0]


def test_seldom_classes_are_looked_for_where_crops_are_small():
    seldom = (ClassFacts("soil", 0.93, 180), ClassFacts("weed", 0.06, 14), ClassFacts("crop", 0.01, 12))
    field = replace(STREET, classes=seldom, size=(2000, 3000))
    step = next(s for s in chosen(field)["data"]["augment"] if s["name"] == "foreground_crop")
    assert step["background"] == 0
    assert "foreground_crop" not in names(chosen(replace(field, size=(400, 600))))
    assert "foreground_crop" not in names(chosen(replace(field, classes=STREET.classes)))


def test_few_images_are_changed_more():
    many, few = (chosen(replace(STREET, train=train, vertical_asymmetry=0.0))["data"]["augment"] for train in (100, 8))
    assert few[0]["low"] < many[0]["low"] < 1 < many[0]["high"] < few[0]["high"]
    assert few[-1]["brightness"] > 0.2
    assert "brightness" not in many[-1]


def test_classes_that_overlap_are_decided_apart():
    recipe = chosen(replace(CELLS, overlapping=True))
    assert recipe["task"]["name"] == "multilabel"
    assert "tune" not in recipe


def test_touching_objects_are_told_apart():
    cells = (ClassFacts("background", 0.8, 80), ClassFacts("cell", 0.2, 10))
    objects = replace(CELLS, classes=cells, instances=True, touching=0.4)
    recipe = chosen(objects)
    assert recipe["task"]["name"] == "instances"
    assert "tune" not in recipe
    assert {each.model["name"] for each in candidates(objects)} == {"attention_unet"}
    assert chosen(replace(objects, touching=0.02))["task"]["name"] == "segmentation"
    assert chosen(replace(objects, instances=False))["task"]["name"] == "segmentation"
    assert chosen(replace(objects, classes=CELLS.classes))["task"]["name"] == "segmentation"


def test_a_crf_is_tried_on_photographs_alone():
    assert chosen(STREET)["tune"] == ["crf", "min_size"]
    assert chosen(CELLS)["tune"] == ["min_size"]
    assert "tune" not in chosen(replace(CELLS, val=0))


def test_the_average_reaches_further_back_in_long_runs():
    assert chosen(CELLS, steps=900)["training"]["ema"] < chosen(CELLS, steps=9000)["training"]["ema"] < 1


def test_only_small_sets_are_kept_decoded():
    assert chosen(CELLS)["data"]["cache"] == "memory"
    assert "cache" not in chosen(replace(CELLS, train=100_000))["data"]


def test_wide_parts_are_seen_in_smaller_images():
    wide = tuple(replace(each, width=40.0) for each in STREET.classes)
    sizes = {(3000, 4000): 4, (1000, 1400): 3, (600, 800): 2, (360, 480): 1}
    assert [factor_for(replace(STREET, classes=wide, size=size)) for size in sizes] == [*sizes.values()]
    assert factor_for(replace(STREET, size=(3000, 4000))) == 2  # poles are 12 pixels wide
    assert factor_for(replace(CELLS, size=(3000, 4000))) == 1
    apart = {"instances": True, "touching": 0.4, "classes": (replace(wide[0], name="background"), *wide[1:])}
    assert factor_for(replace(STREET, size=(3000, 4000), **apart)) == 1
    seen = downscaled(replace(STREET, classes=wide, size=(999, 4000)), 4)
    assert seen.size == (250, 1000)
    assert {each.width for each in seen.classes} == {10.0}


def test_thin_parts_ask_for_full_resolution():
    assert {each.model["name"] for each in candidates(CELLS)} == {"attention_unet"}
    colour = replace(CELLS, channels=3)
    assert [each.model["name"] for each in candidates(colour)] == ["unet"]
    assert [each.model["name"] for each in candidates(colour, "cuda")] == ["unet", *2 * ["attention_unet"]]
    assert {each.model["name"] for each in candidates(STREET)} == {"unet"}


def test_an_encoder_from_imagenet_moves_more_slowly():
    (candidate,) = candidates(STREET)
    assert candidate.model["pretrained"] == "auto"
    smaller = {"name": "downscaled", "factor": 2, "network": candidate.model}
    for model in (candidate.model, smaller):
        assert chosen(STREET, model=model)["optimizer"]["groups"] == {"encoder": {"lr": "x0.3"}}
    assert "groups" not in chosen(STREET, model={"name": "unet", "encoder": "resnet18"})["optimizer"]


@pytest.mark.parametrize(("size", "crop"), [((512, 512), (256, 256)), ((96, 128), (96, 128)), ((300, 310), (320, 320))])
def test_small_images_are_taken_whole(size, crop):
    assert crop_for(replace(CELLS, size=size), CPU) == crop


def test_a_batch_fits_the_memory():
    assert batch_for(CELLS, CPU, (256, 256), 1 << 20) == 8
    assert batch_for(CELLS, replace(CPU, memory=1 << 30), (256, 256), 100 << 20) == 1
    assert batch_for(replace(CELLS, train=2), CPU, (64, 64), 1) == 4


def test_the_richest_network_that_sees_enough():
    found = [(Candidate({"name": str(pace)}, ""), pace, 1000) for pace in (0.1, 0.5, 5.0)]
    assert [pick(found, seconds=s, fewest=1e6)[0] for s in (10, 100, 600, 6000)] == [0, 0, 1, 2]


def test_folds_are_for_few_images_and_much_time():
    few = replace(CELLS, train=8, val=2)
    assert folds(few, steps=20_000, own_split=False) == 5
    assert folds(few, steps=20_000, own_split=True) is None
    assert folds(few, steps=1000, own_split=False) is None
    assert folds(CELLS, steps=20_000, own_split=False) is None
