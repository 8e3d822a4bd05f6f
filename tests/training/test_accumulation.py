"""Gradients of a step whose batches have labels of different numbers of pixels: those of one large batch."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from atrous.tasks import TASKS
from atrous.training import module as training
from atrous.training.distributed import World
from atrous.training.module import TrainingModule
from atrous.training.state import RunState

SIZE, CLASSES = 16, 3
WEIGHTS = [1.0, 5.0, 0.5]


class Pixels(nn.Module):
    """A network that looks at each pixel alone; no normalisation, which sees one batch at a time."""

    def __init__(self, maps: int, aux: bool) -> None:
        super().__init__()
        self.out, self.aux = nn.Conv2d(2, maps, 1), nn.Conv2d(2, maps, 1) if aux else None

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        outputs = {"out": self.out(image)}
        return outputs if self.aux is None else {**outputs, "aux": self.aux(image)}


def images(planes: bool = False) -> dict[str, Tensor]:
    """Four: one labelled all over, two in part, and one of four labelled pixels."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.randint(0, CLASSES, (4, SIZE, SIZE), generator=generator)
    mask[1, :5], mask[2, :, 3:] = 255, 255
    mask[3] = torch.where(torch.arange(SIZE * SIZE).view(SIZE, SIZE) % 64 == 7, mask[3], 255)
    batch = {"image": torch.randn(4, 2, SIZE, SIZE, generator=generator), "index": torch.arange(4), "mask": mask}
    batch["weight"] = torch.rand(4, SIZE, SIZE, generator=generator) * 3
    batch["instances"] = torch.where(mask == 255, 0, mask)
    if planes:
        truth = torch.stack([torch.where(mask == 255, 255, (mask == k).long()) for k in range(CLASSES)], 1)
        truth[0, 1, :9] = 255  # of one class nobody knows
        batch["mask"] = truth.float()
    return batch


def parts(batch: dict[str, Tensor], sizes: Sequence[int]) -> list[dict[str, Tensor]]:
    split = {key: value.split(list(sizes)) for key, value in batch.items()}
    return [{key: values[at] for key, values in split.items()} for at in range(len(sizes))]


def gradients(
    task: Any, batches: list[dict[str, Tensor]], *, aux: bool = False, world: World | None = None
) -> list[Tensor]:
    torch.manual_seed(0)
    model = Pixels(task.num_classes, aux)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    one = TrainingModule(
        model,
        task,
        optimizer=optimizer,
        schedule=lambda _: lambda _: 1.0,
        seed=0,
        state=RunState(5, 5),
        world=world or World(),
    )
    one.manual_backward = lambda loss: loss.backward()  # type: ignore[method-assign]
    one.optimizers = lambda: optimizer  # type: ignore[method-assign]
    found = one.training_step(batches, 0)
    return [parameter.grad.clone() for parameter in model.parameters()] + [found["loss"]]


MEANS = {
    "cross_entropy": ("segmentation", "cross_entropy"),
    "class weights": ("segmentation", {"name": "cross_entropy", "weights": WEIGHTS}),
    "label smoothing": ("segmentation", {"name": "cross_entropy", "label_smoothing": 0.1}),
    "focal": ("segmentation", {"name": "focal", "weights": WEIGHTS}),
    "two": ("segmentation", [{"name": "cross_entropy", "weights": WEIGHTS}, {"name": "focal", "weight": 0.5}]),
    "binary": ("multilabel", [{"name": "binary_cross_entropy"}, {"name": "binary_focal"}]),
    "binary by pixels": ("multilabel", {"name": "binary_cross_entropy", "reduction": "pixel_mean"}),
    "instances": ("instances", {"name": "cross_entropy", "weights": [1.0, 5.0, 0.5, 2.0]}),
}


def made(name: str, **more: Any) -> Any:
    task, loss = MEANS[name]
    return TASKS[task](CLASSES + (task == "instances"), loss=loss, **more)  # type: ignore[call-arg]


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (2, 2), (1, 3)])
@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize("aux", [False, True])
def test_accumulated_batches_give_the_gradients_of_one(name: str, sizes: Sequence[int], aux: bool) -> None:
    task, batch = made(name), images(planes=MEANS[name][0] == "multilabel")
    whole = gradients(task, [batch], aux=aux)
    for one, other in zip(gradients(task, parts(batch, sizes), aux=aux), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_auxiliary_losses_of_their_own_have_their_own_weights() -> None:
    task = TASKS["segmentation"](  # type: ignore[call-arg]
        CLASSES, loss="cross_entropy", aux_loss={"name": "cross_entropy", "weights": WEIGHTS}
    )
    batch = images()
    whole = gradients(task, [batch], aux=True)
    for one, other in zip(gradients(task, parts(batch, (2, 2)), aux=True), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_pixel_weighs_the_same_beside_many_and_beside_few() -> None:
    """Beside an image labelled all over, a pixel of one with four labels weighed 32 times what it does in one batch."""
    batch = images()
    both = parts({key: value[[0, 3]] for key, value in batch.items()}, (1, 1))
    task = made("cross_entropy")
    labelled = [float(task.divisors(part)["cross_entropy"]) for part in both]
    assert labelled == [256, 4]
    plain = (1 / (2 * labelled[1])) / (1 / sum(labelled))
    assert plain == 32.5
    module = TrainingModule(
        Pixels(CLASSES, False), task, optimizer=torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.0),
        schedule=lambda _: lambda _: 1.0, seed=0, state=RunState(5, 5),
    )  # fmt: skip
    shares = [float(share["cross_entropy"]) for share in module._shares(both)]
    assert shares[1] / labelled[1] * sum(labelled) == pytest.approx(1)
    assert sum(shares) == pytest.approx(1)
    assert module._shares(both[:1]) == [{}]


@pytest.mark.parametrize("name", MEANS)
@pytest.mark.parametrize("accumulate", [False, True])
def test_processes_give_the_gradients_of_one(name: str, accumulate: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of two processes takes half of the images; the engine averages their gradients."""
    task, batch = made(name), images(planes=MEANS[name][0] == "multilabel")
    whole, halves = gradients(task, [batch]), parts(batch, (2, 2))
    steps = [parts(half, (1, 1)) if accumulate else [half] for half in halves]
    monkeypatch.setattr(training, "summed", lambda own: own)
    totals: list[Tensor] = []
    monkeypatch.setattr(training, "summed", lambda own: totals.append(own) or own)
    for step in steps:
        gradients(task, step, world=World(0, 2))
    monkeypatch.setattr(training, "summed", lambda own: totals[0] + totals[1])
    each = [gradients(task, step, world=World(rank, 2)) for rank, step in enumerate(steps)]
    for one, other, wanted in zip(*each, whole, strict=True):
        torch.testing.assert_close((one + other) / 2, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "loss",
    ["dice", {"name": "ohem", "threshold": 0.1, "min_kept": 50}, {"name": "cross_entropy", "reduction": "sum"}],
)
def test_what_is_no_mean_over_pixels_is_not_put_together(loss: Any) -> None:
    """Ratios and choices are not the sum of their parts, and a sum is averaged over the batches, as Caffe does it."""
    task, batch = TASKS["segmentation"](CLASSES, loss=loss), images()  # type: ignore[call-arg]
    once, four = gradients(task, [batch]), gradients(task, parts(batch, (1, 1, 1, 1)))
    assert not torch.allclose(four[0], once[0], rtol=1e-3)
    assert all(torch.isfinite(gradient).all() for gradient in four)
    if "reduction" in loss:
        torch.testing.assert_close(4 * four[0], once[0], rtol=1e-4, atol=1e-4)


def test_a_step_without_a_label_moves_nothing() -> None:
    batch = images()
    batch["mask"] = torch.full_like(batch["mask"], 255)
    found = gradients(made("class weights"), parts(batch, (2, 2)))
    assert all(float(value.abs().sum()) == 0 for value in found)


def test_a_task_that_names_no_divisors_weighs_batches_alike(make_plan: Callable[..., Any]) -> None:
    task, batch = made("cross_entropy"), images()
    task.divisors = lambda batch: {}
    each = [gradients(task, [part])[0] for part in parts(batch, (1, 1, 1, 1))]
    torch.testing.assert_close(gradients(task, parts(batch, (1, 1, 1, 1)))[0], torch.stack(each).mean(0))
