"""The range test: rates that grow as they should, a copy that is thrown away, and the steepest descent found."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from atrous import cli
from atrous.errors import AtrousError, RecipeError, UsageError
from atrous.made import make_cells
from atrous.recipe import load_recipe
from atrous.training.inputs import open_inputs
from atrous.training.preparation import prepare
from atrous.training.range_test import RatePoint, range_test
from atrous.training.resolved import resolve_run
from atrous.workflows import find_lr
from atrous.workflows.rate_search import steepest

SMALL = [
    "model={name: segnet_basic, width: 4}",
    "data={crop: 16, batch_size: 2, workers: 0}",
    "optimizer={name: sgd, lr: 0.01, momentum: 0.9, groups: {head: {lr: x10}}}",
    "training={device: cpu, precision: float32}",
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks as small as these gain nothing from several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> Path:
    return make_cells(tmp_path_factory.mktemp("data") / "cells", count=6, size=32)


@pytest.fixture
def plan(cells, tmp_path):
    run = resolve_run(load_recipe("unet", SMALL))
    return prepare(run.stages[0].recipe, open_inputs(cells, run, tmp_path, None), tmp_path, None).plan


def test_rates_grow_exponentially_and_the_smoothing_is_corrected(plan):
    points = range_test(plan, low=1e-6, high=1e-3, steps=7)
    assert [point.rate for point in points] == pytest.approx([1e-6 * 10 ** (t / 2) for t in range(7)])
    mean = 0.0
    for t, point in enumerate(points):
        mean = 0.9 * mean + 0.1 * point.loss
        assert point.smooth == pytest.approx(mean / (1 - 0.9 ** (t + 1)))
    assert points[0].smooth == pytest.approx(points[0].loss)


def test_the_plan_stays_as_it_is_and_the_test_repeats_itself(plan):
    before = copy.deepcopy(plan.model.state_dict())
    torch.manual_seed(4)
    state = torch.get_rng_state()
    first = range_test(plan, steps=8)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in plan.model.state_dict().items())
    assert not plan.optimizer.state
    assert [group["lr"] for group in plan.optimizer.param_groups] == [0.01, 0.1]
    assert range_test(plan, steps=8) == first


def test_it_takes_the_steps_of_a_training_by_hand(plan):
    """The first two steps against a loop of our own: batches of the run, groups at their ratio."""
    from atrous.training.stream import Augmented, Stream, collate, mix

    points = range_test(plan, low=1e-3, high=1e-2, steps=3)
    model = copy.deepcopy(plan.model).train()
    head = [p for name, p in model.named_parameters() if name.startswith("head.")]
    rest = [p for name, p in model.named_parameters() if not name.startswith("head.")]
    decay = plan.optimizer.param_groups[0]["weight_decay"]
    optimizer = torch.optim.SGD([{"params": rest}, {"params": head}], lr=1.0, momentum=0.9, weight_decay=decay)
    data = Augmented(plan.train, plan.transform, plan.seed)
    stream = Stream(len(plan.names), plan.batch_size, plan.seed, lambda: range(0))
    for step, rate in enumerate([1e-3, math.sqrt(1e-5), 1e-2]):
        torch.manual_seed(mix(plan.seed, step))
        batch = collate([data[draw] for draw in stream.batch(step)])
        loss = nn.functional.cross_entropy(model(batch["image"])["out"], batch["mask"], ignore_index=255)
        assert points[step].loss == pytest.approx(loss.item(), rel=1e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"] = rate, 10 * rate
        optimizer.step()


class Linear(nn.Module):
    """One weight; with the loss below, gradient descent at any rate makes it worse and worse."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, image):
        return {"out": self.weight}


class Uphill:
    """A loss that grows exponentially as its gradient is followed."""

    def losses(self, outputs, batch):
        return {"loss": (2 - outputs["out"].detach()) ** 2 + outputs["out"] - outputs["out"].detach()}


def test_it_ends_where_the_loss_is_spoilt(plan):
    from dataclasses import replace

    model = Linear()
    spoilt = replace(plan, model=model, task=Uphill(), optimizer=torch.optim.SGD(model.parameters(), lr=1.0))
    points = range_test(spoilt, low=1e-3, high=10.0, steps=60)
    assert 2 < len(points) < 60
    least = [min(point.smooth for point in points[: t + 1]) for t in range(len(points))]
    assert points[-1].smooth > 4 * least[-1]
    assert all(point.smooth <= 4 * low for point, low in zip(points[:-1], least[:-1], strict=True))
    assert steepest(points) is None


def test_a_loss_without_numbers_and_a_rate_of_zero_are_told(plan):
    class Nothing:
        def losses(self, outputs, batch):
            return {"loss": outputs["out"].sum() * float("nan")}

    from dataclasses import replace

    with pytest.raises(AtrousError, match="not finite at learning rate 1e-07 already"):
        range_test(replace(plan, task=Nothing()), steps=20)
    with pytest.raises(RecipeError, match=r"optimizer\.lr: got 0"):
        range_test(replace(plan, optimizer=torch.optim.SGD(plan.model.parameters(), lr=0.0)), steps=20)


def test_the_steepest_descent_is_found_before_the_least_loss():
    rates = [10 ** (t / 10) for t in range(50)]
    curve = [-math.tanh((t - 20) / 4) + (max(0, t - 40) * 5) for t in range(50)]
    assert steepest([RatePoint(r, 0.0, s) for r, s in zip(rates, curve, strict=True)]) == rates[20]
    assert steepest([RatePoint(r, 0.0, float(t)) for t, r in enumerate(rates)]) is None


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_command_prints_a_table_and_draws(kind, cells, tmp_path, capsys):
    target = tmp_path / "made" / f"curve.{kind}"
    assert cli.main(["find-lr", str(cells), "--recipe", "unet", *SMALL, "--steps", "20", "-o", str(target)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["rate", "loss"]
    assert len(out.splitlines()[1].split()) == 2
    assert out.splitlines()[1].split()[0] == "1.00e-07"
    assert ("Train with: optimizer.lr=" in out) or ("never falls" in out)
    assert out.endswith(f"written: {target}\n")
    assert target.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [target.name]


def test_of_stages_the_first_is_tried(cells):
    found = find_lr(
        cells, recipe="unet", overrides=[*SMALL, "stages=[{name: a, optimizer: {lr: 0.5}}, {name: b}]"], steps=20
    )
    assert found.written == 0.5


def test_wrong_arguments_are_told_before_anything_is_read(tmp_path):
    with pytest.raises(UsageError, match=r"curve\.jpg: a picture ends in \.png or \.svg; give -o curve\.png"):
        find_lr(tmp_path / "none", out="curve.jpg")
    with pytest.raises(UsageError, match="at least 20 steps"):
        find_lr(tmp_path / "none", steps=3)
