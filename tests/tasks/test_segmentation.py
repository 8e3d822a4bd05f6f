"""The task: which losses, on which grids, with which weights; what is decided; and what is refused."""

from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from atrous.errors import DataError, RecipeError, UsageError
from atrous.layers import shrink
from atrous.losses import LOSSES, boundary_loss, cross_entropy, dice_loss, enet, median_frequency
from atrous.tables import Place, read_section
from atrous.tasks import TASKS, Segmentation
from atrous.types import CellGrid

PLACE = Place("unet.yaml", ("task",), {("task", "loss"): "unet.yaml line 5"})
AUXILIARY = Place("unet.yaml", ("task",), {("task", "aux_loss"): "unet.yaml line 5"})
FREQUENCIES = {"pixels": [11, 3, 2], "totals": [16, 8, 8]}


@pytest.fixture
def outputs():
    generator = torch.Generator().manual_seed(0)
    return {
        "out": torch.randn(2, 3, 8, 12, generator=generator),
        "aux": torch.randn(2, 3, 4, 6, generator=generator),
    }


@pytest.fixture
def mask():
    mask = torch.randint(0, 3, (2, 8, 12), generator=torch.Generator().manual_seed(1))
    mask[:, :2] = 255
    return mask


def test_one_loss_by_name(outputs, mask):
    losses = Segmentation(3, aux_weight=0.0).losses(outputs, {"mask": mask})
    assert set(losses) == {"cross_entropy"}
    assert losses["cross_entropy"] == cross_entropy(outputs["out"], mask)


def test_losses_are_weighted_and_auxiliary_outputs_see_the_mask_on_their_grid(outputs, mask):
    task = Segmentation(3, loss=["cross_entropy", {"name": "dice", "weight": 0.5, "smooth": 1}], aux_weight=0.4)
    losses = task.losses(outputs, {"mask": mask})
    small = mask[:, 1::2, 1::2]
    assert list(losses) == ["cross_entropy", "dice", "aux.cross_entropy", "aux.dice"]
    torch.testing.assert_close(losses["cross_entropy"], cross_entropy(outputs["out"], mask))
    torch.testing.assert_close(losses["dice"], 0.5 * dice_loss(outputs["out"], mask, smooth=1.0))
    torch.testing.assert_close(losses["aux.cross_entropy"], 0.4 * cross_entropy(outputs["aux"], small))
    torch.testing.assert_close(losses["aux.dice"], 0.2 * dice_loss(outputs["aux"], small, smooth=1.0))


@pytest.mark.parametrize(("source", "target"), [(8, 3), (9, 3), (7, 4), (250, 32), (3, 8), (5, 5)])
def test_each_cell_takes_the_pixel_nearest_to_its_centre(source, target):
    mask = torch.arange(source)[None, :, None].expand(1, source, 4).contiguous()
    shrunk = shrink(mask, (target, 4))
    centres = (np.arange(target) + 0.5) * source / target
    nearest = shrunk[0, :, 0].numpy()
    assert shrunk.shape == (1, target, 4)
    assert (np.abs(nearest + 0.5 - centres) <= 0.5 + 1e-9).all()
    if source == target:
        assert (nearest == np.arange(source)).all()


@pytest.mark.parametrize(
    ("width", "grid", "cells", "pixels"),
    [
        (321, CellGrid.cornered(8), 41, [8 * cell for cell in range(41)]),  # as the authors' Interp shrinks labels
        (16, CellGrid.centred(8), 2, [4, 12]),
        (20, CellGrid.centred(8), 3, [4, 12, 19]),  # the last centre lies half a pixel beyond the image
        (20, CellGrid.cornered(8), 3, [0, 8, 16]),
        (23, CellGrid.cornered(8), 4, [0, 8, 16, 22]),
        (
            321,
            CellGrid.cornered(Fraction(32, 3)),
            31,
            [(64 * cell + 3) // 6 for cell in range(31)],
        ),  # 0.75 of the image
        (5, None, 2, [1, 3]),
    ],
)
def test_each_cell_of_a_training_output_learns_the_pixel_that_it_stands_on(width, grid, cells, pixels):
    assert grid is None or grid.cells(width) == cells
    mask = torch.randint(0, 3, (1, 4, width), generator=torch.Generator().manual_seed(0))
    right = 50 * F.one_hot(mask[:, :, pixels], 3).permute(0, 3, 1, 2).float()
    outputs = {"out": torch.zeros(1, 3, 4, width), "aux": right}
    assert shrink(torch.arange(width)[None, None], (1, cells), grid)[0, 0].tolist() == pixels
    batch = {"mask": mask, "grids": {"aux": grid}}
    assert Segmentation(3, aux_weight=1.0).losses(outputs, batch)["aux.cross_entropy"] < 1e-6


def test_an_output_whose_cells_stand_nobody_knows_where_is_refused():
    outputs = {"out": torch.zeros(1, 3, 8, 20), "aux": torch.zeros(1, 3, 1, 3)}
    with pytest.raises(UsageError) as caught:
        Segmentation(3).losses(outputs, {"mask": torch.zeros(1, 8, 20, dtype=torch.int64)})
    assert str(caught.value) == (
        "the output 'aux' has 1 x 3 cells for 8 x 20 pixels, and nobody says where they stand: a model says it in "
        '`grids`, which the batch hands on; task.losses(outputs, batch | {"grids": model.grids}).'
    )


def test_aux_weights_by_name(outputs, mask):
    task = Segmentation(3, aux_weight={"aux": 2.0, "other": 1.0})
    assert task.losses(outputs, {"mask": mask})["aux.cross_entropy"] == 2 * cross_entropy(
        outputs["aux"], mask[:, 1::2, 1::2]
    )
    assert set(Segmentation(3, aux_weight={"aux": 0.0}).losses(outputs, {"mask": mask})) == {"cross_entropy"}
    with pytest.raises(
        RecipeError, match=r"aux_weight: the model has an output 'aux' without a weight.*Did you mean 'aax'"
    ):
        Segmentation(3, aux_weight={"aax": 1.0}).losses(outputs, {"mask": mask})


def test_an_auxiliary_weight_for_the_main_output():
    with pytest.raises(RecipeError) as caught:
        Segmentation(3, aux_weight={"out": 2.0, "aux": 0.4}, place=PLACE)
    assert str(caught.value) == (
        "unet.yaml, task.aux_weight.out: 'out' is the main output and no auxiliary one; remove it here, and "
        "weigh its losses by `weight` in loss."
    )


def test_deep_supervision_weighs_every_output_by_its_name(outputs, mask):
    deep = {**outputs, "side": outputs["aux"][..., ::2, ::2], "mute": outputs["aux"]}
    weights = {"aux": 0.4, "side": 1.5, "mute": 0.0, "absent": 9.0}
    losses = Segmentation(3, loss=["cross_entropy", "dice"], aux_weight=weights).losses(deep, {"mask": mask})
    assert set(losses) == {
        f"{output}{name}" for output in ("", "aux.", "side.") for name in ("cross_entropy", "dice")
    }  # fmt: skip
    expected = 1.5 * cross_entropy(deep["side"], shrink(mask, (2, 3)))
    torch.testing.assert_close(losses["side.cross_entropy"], expected)


def test_auxiliary_outputs_may_have_a_loss_of_their_own(outputs, mask):
    section = {"name": "cross_entropy", "weights": "enet"}
    task = Segmentation(3, loss="dice", aux_loss=section, frequencies=FREQUENCIES)
    losses = task.losses(outputs, {"mask": mask})
    assert set(losses) == {"dice", "aux.cross_entropy"}
    torch.testing.assert_close(losses["dice"], dice_loss(outputs["out"], mask))
    expected = 0.4 * cross_entropy(outputs["aux"], mask[:, 1::2, 1::2], weights=enet(FREQUENCIES["pixels"]))
    torch.testing.assert_close(losses["aux.cross_entropy"], expected)
    assert Segmentation(3, loss="dice", aux_loss=section).needs_frequencies
    with pytest.raises(RecipeError, match=r"^unet\.yaml line 5, task\.aux_loss\.name: there is no loss 'dicee'"):
        Segmentation(3, aux_loss="dicee", place=AUXILIARY)
    with pytest.raises(RecipeError, match=r"^unet\.yaml line 5, task\.aux_loss: name at least one loss"):
        Segmentation(3, aux_loss=[], place=AUXILIARY)


def test_weight_maps_reach_the_losses_that_take_them_on_their_grid(outputs, mask):
    weight = torch.rand(2, 8, 12, generator=torch.Generator().manual_seed(2))
    names = ["cross_entropy", "focal", "binary_cross_entropy", "binary_focal", "dice"]
    batch = {"mask": mask, "weight": weight}
    losses = Segmentation(3, loss=names, aux_weight=1.0).losses(outputs, batch)
    small, light = mask[:, 1::2, 1::2], weight[:, 1::2, 1::2]
    for name in names[:-1]:
        expected = LOSSES[name](outputs["out"], mask, pixel_weights=weight)
        torch.testing.assert_close(losses[name], expected)
        assert expected != LOSSES[name](outputs["out"], mask)
        torch.testing.assert_close(losses[f"aux.{name}"], LOSSES[name](outputs["aux"], small, pixel_weights=light))
    torch.testing.assert_close(losses["dice"], dice_loss(outputs["out"], mask))


@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_weights_that_change_over_the_run(outputs, mask, progress):
    task = Segmentation(3, loss=["dice", {"name": "boundary", "weight": [0.2, 1]}], aux_weight=0.5)
    batch = {"mask": mask, "progress": torch.tensor(progress)}
    losses = task.losses(outputs, batch)
    factor = 0.2 + 0.8 * progress
    torch.testing.assert_close(losses["dice"], dice_loss(outputs["out"], mask))
    torch.testing.assert_close(losses["boundary"], factor * boundary_loss(outputs["out"], mask))
    expected = 0.5 * factor * boundary_loss(outputs["aux"], mask[:, 1::2, 1::2])
    torch.testing.assert_close(losses["aux.boundary"], expected)


def test_without_a_progress_the_weight_is_that_of_the_end(outputs, mask):
    task = Segmentation(3, loss={"name": "dice", "weight": [0, 1]}, aux_weight=0.0)
    assert task.losses(outputs, {"mask": mask})["dice"] == dice_loss(outputs["out"], mask)
    assert task.losses(outputs, {"mask": mask, "progress": torch.tensor(0.0)})["dice"] == 0


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_trains_every_output(outputs, mask, name):
    leaves = {key: value.clone().requires_grad_() for key, value in outputs.items()}
    losses = Segmentation(3, loss=name).losses(leaves, {"mask": mask})
    sum(losses.values()).backward()
    assert list(losses) == [name, f"aux.{name}"]
    assert all(leaf.grad.any() and leaf.grad.isfinite().all() for leaf in leaves.values())


def test_class_weights_from_a_list_and_from_frequencies(outputs, mask):
    plain = {"out": outputs["out"]}
    listed = Segmentation(3, loss={"name": "cross_entropy", "weights": [1, 2, 0.5]})
    expected = cross_entropy(outputs["out"], mask, weights=torch.tensor([1, 2, 0.5]))
    assert listed.losses(plain, {"mask": mask})["cross_entropy"] == expected
    assert not listed.needs_frequencies

    section = {"name": "cross_entropy", "weights": "median_frequency"}
    waiting = Segmentation(3, loss=section)
    assert waiting.needs_frequencies
    with pytest.raises(UsageError, match="weighs classes by 'median_frequency' and needs the class frequencies"):
        waiting.losses(plain, {"mask": mask})
    ready = Segmentation(3, loss=section, frequencies=FREQUENCIES)
    expected = cross_entropy(outputs["out"], mask, weights=median_frequency(**FREQUENCIES))
    assert ready.losses(plain, {"mask": mask})["cross_entropy"] == expected


def test_a_recipes_section_brings_its_place_along():
    section = {"name": "segmentation", "loss": "crossentropy"}
    builder, arguments = read_section(TASKS, section, kind="task", place=PLACE, given=("num_classes", "frequencies"))
    with pytest.raises(RecipeError, match=r"^unet\.yaml line 5, task\.loss\.name: "):
        builder(3, **arguments)
    with pytest.raises(RecipeError, match=r"task\.aux_weight: got 'x' \(str\), but aux_weight of Segmentation must be"):
        read_section(
            TASKS, {"name": "segmentation", "aux_weight": "x"}, kind="task", place=PLACE, given=("num_classes",)
        )


def test_labels_that_are_no_class_are_named(outputs, mask):
    mask[0, 3, 3], mask[1, 4, 4] = 7, -1
    with pytest.raises(DataError) as caught:
        Segmentation(3).losses(outputs, {"mask": mask, "index": torch.tensor([4, 9])})
    assert str(caught.value) == (
        "the masks of a batch (images 4, 9 of the split) hold -1, 7, but the 3 classes are 0 to 2, and 255 is ignored; "
        "run `atrous check` on the data."
    )
    Segmentation(8, ignore_index=-1).losses({"out": torch.zeros(2, 8, 8, 12)}, {"mask": mask.clamp(max=7)})


def test_frequencies_of_another_number_of_classes():
    with pytest.raises(UsageError, match="frequencies of 3 classes for 2 classes"):
        Segmentation(2, loss={"name": "cross_entropy", "weights": "enet"}, frequencies=FREQUENCIES)


def test_scores_are_probabilities_in_float32(outputs):
    scores = Segmentation(3).scores({"out": outputs["out"].bfloat16()})
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.sum(1), torch.ones(2, 8, 12))


@pytest.mark.parametrize("classes", [2, 5, 300])
def test_decisions_are_those_of_numpy(classes, monkeypatch):
    monkeypatch.setattr("atrous.tasks.segmentation._BAND", classes * 40)  # several bands
    scores = torch.rand(classes, 13, 17, generator=torch.Generator().manual_seed(0))
    decided = Segmentation(classes).decode(scores)
    assert decided.classes.dtype == (np.uint8 if classes <= 256 else np.uint16)
    assert decided.confidence.dtype == np.float16
    assert (decided.classes == scores.numpy().argmax(0)).all()
    assert (decided.confidence == scores.numpy().max(0).astype(np.float16)).all()
    assert decided.scores is None


def test_equal_scores_go_to_the_first_class():
    assert (Segmentation(3).decode(torch.full((3, 4, 4), 1 / 3)).classes == 0).all()


def test_the_state_ignores_what_the_task_ignores(outputs, mask):
    task = Segmentation(3)
    state = task.validator()
    state.update(task.scores(outputs), {"mask": mask})
    assert state.counts.compute().sum() == (mask != 255).sum()
    assert task.pixelwise
