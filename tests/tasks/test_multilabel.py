"""Classes that may overlap."""

import pytest
import torch
import torch.nn.functional as F

from atrous.errors import RecipeError
from atrous.metrics import LabelCounts, label_counts, planes_of, summarize, summarize_labels
from atrous.tasks import TASKS, MultiLabel

LOSSES = ["binary_cross_entropy", "binary_focal", "binary_dice", "binary_tversky", "lovasz_hinge"]


def planes(seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 2, (2, 3, 12, 14), generator=generator).float()
    target[:, :, :3] = 255
    return target, torch.randn(2, 3, 12, 14, generator=generator)


def test_the_loss_is_that_of_each_known_entry():
    target, logits = planes()
    (loss,) = MultiLabel(3).losses({"out": logits}, {"mask": target}).values()
    known = target != 255
    assert loss == pytest.approx(F.binary_cross_entropy_with_logits(logits[known], target[known]).item(), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_planes_trains(name):
    target, logits = planes()
    logits.requires_grad_()
    sum(MultiLabel(3, loss=name).losses({"out": logits}, {"mask": target}).values()).backward()
    assert logits.grad[:, :, 3:].abs().sum() > 0
    assert logits.grad[:, :, :3].abs().sum() == 0


def test_coarse_outputs_see_coarse_planes():
    target, _ = planes()
    task = MultiLabel(3, aux_weight=0.5)
    outputs = {"out": torch.zeros(2, 3, 12, 14), "aux": torch.zeros(2, 3, 6, 7)}
    losses = task.losses(outputs, {"mask": target})
    assert set(losses) == {"binary_cross_entropy", "aux.binary_cross_entropy"}
    assert losses["aux.binary_cross_entropy"] == pytest.approx(0.5 * losses["binary_cross_entropy"].item())


def test_one_class_per_pixel_is_planes_too():
    mask = torch.tensor([[[0, 2, 255], [1, 1, 0]]])
    logits = torch.randn(1, 3, 2, 3)
    task = MultiLabel(3)
    as_planes = planes_of(mask, 3).float()
    assert (as_planes[0, :, 0, 2] == 255).all()
    one, other = (sum(task.losses({"out": logits}, {"mask": m}).values()) for m in (mask, as_planes))
    assert one == pytest.approx(other.item())


def test_decisions_by_hand():
    scores = torch.tensor([[[0.9, 0.2, 0.6]], [[0.7, 0.3, 0.1]]])
    found = MultiLabel(2).decode(scores)
    assert found.labels[:, 0].tolist() == [[True, False, True], [True, False, False]]
    assert found.classes.tolist() == [[0, 255, 0]]
    assert found.confidence[0] == pytest.approx([0.9, 0.7, 0.6], abs=1e-3)
    strict = MultiLabel(2, threshold=[0.95, 0.5]).decode(scores)
    assert strict.classes.tolist() == [[1, 255, 255]]
    assert (MultiLabel(2).decide(scores[None])[0].numpy() == found.labels).all()


def test_counts_are_those_of_a_loop():
    target, logits = planes(1)
    decided = logits > 0
    counts = label_counts(decided, target)
    for k in range(3):
        for truth in (0, 1):
            for answer in (0, 1):
                assert counts[k, truth, answer] == ((target[:, k] == truth) & (decided[:, k] == answer)).sum()
    state = LabelCounts(3)
    state.update(decided[:1], target[:1])
    state.update(decided[1:], target[1:])
    assert (state.compute() == counts).all()
    assert summarize(counts, "abc") == summarize_labels(counts, "abc")
    assert summarize(counts, "abc")["iou"]["a"] == pytest.approx(
        (counts[0, 1, 1] / (counts[0].sum() - counts[0, 0, 0])).item()
    )


def test_what_does_not_fit_is_told():
    with pytest.raises(RecipeError, match="binary_dice"):
        MultiLabel(3, loss="cross_entropy")
    for wrong in (1.5, [0.5, 0.5]):
        with pytest.raises(RecipeError, match="threshold"):
            MultiLabel(3, threshold=wrong)
    assert TASKS["multilabel"] is MultiLabel


def test_classes_that_collapse_on_disk_have_folders_of_their_own() -> None:
    names = ["a/b", "a:b", "..", "<5 mm", ">5 mm"]
    files = MultiLabel(num_classes=5).files(names, [(n, n, n) for n in range(5)])
    assert [file.folder for file in files[-5:]] == ["labels/a_b", "labels/a_b_2", "labels/__", "labels/_5 mm",
                                                    "labels/_5 mm_2"]  # fmt: skip
