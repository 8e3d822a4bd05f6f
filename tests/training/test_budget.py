import time

import pytest
import torch
from torch.optim import SGD

from atrous.errors import RecipeError
from atrous.training.budget import plan_for_budget
from atrous.training.engine import carry_out, find_checkpoint
from atrous.training.options import TrainingOptions, parse_budget
from atrous.training.state import FAR, RunState


@pytest.mark.parametrize("text", ["", "0m", "ten minutes", "10", "-5m", "5m10h"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(RecipeError, match=r"training.budget: got .*a time such as 90s, 10m or 1h30m"):
        parse_budget(text)


def test_the_schedule_ends_with_the_budget():
    state = RunState(max_steps=7, validate_every=5, budget=100.0, validation_seconds=10.0)
    state.expect(0.0)
    assert state.max_steps == FAR
    state.step = 30
    state.expect(45.0)  # half of the 90 s that leave time for a last validation
    assert (state.max_steps, state.spent) == (60, False)
    state.step = 50
    state.expect(90.0)
    assert (state.max_steps, state.spent, state.finished) == (50, True, True)


def test_a_validation_longer_than_the_budget_leaves_half_of_it():
    state = RunState(max_steps=7, validate_every=5, budget=100.0, validation_seconds=1000.0, step=10)
    state.expect(25.0)
    assert (state.max_steps, state.spent) == (20, False)


def test_a_run_with_a_budget_ends_in_time_and_validates_last(make_plan, rows, tmp_path):
    plan = make_plan(options={"budget": "4s"}, state=RunState(max_steps=1, validate_every=5, budget=4.0))
    plan_for_budget(plan)
    assert plan.state.max_steps > 1
    begin = time.monotonic()
    carry_out(plan, tmp_path / "run", progress=False)
    assert plan.state.spent
    assert plan.state.finished
    assert plan.state.step > 10
    assert time.monotonic() - begin > 2.0  # it uses its time; how much more it takes is a matter of the machine
    last = rows(tmp_path / "run")[-1]
    assert int(last["step"]) == plan.state.step
    assert last["val_mean_iou"]
    assert find_checkpoint(tmp_path / "run")["state"]["spent"]


def test_the_last_rate_of_a_falling_schedule_is_near_nothing(make_plan, rows, tmp_path):
    plan = make_plan(
        options={"budget": "3s", "log_every": 1},
        state=RunState(max_steps=1, validate_every=5, budget=3.0),
        schedule=lambda total: lambda step: 1 - min(step / total, 1),
    )
    carry_out(plan, tmp_path / "run", progress=False)
    rates = [float(row["lr"]) for row in rows(tmp_path / "run")]
    assert rates[0] == pytest.approx(0.02)
    assert rates[-1] < 0.2 * rates[0]


def test_measuring_changes_nothing(make_plan, weights):
    plan = make_plan(state=RunState(max_steps=1, validate_every=5, budget=60.0))
    before = weights(plan)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    plan_for_budget(plan)
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(value, before[name]) for name, value in weights(plan).items())
    assert all(parameter.grad is None for parameter in plan.model.parameters())


def test_gradients_of_several_batches_are_those_of_one(make_plan, weights, tmp_path):
    def plan(**changes):
        made = make_plan(**changes)
        made.model.eval()  # neither dropout nor normalisation by the batch
        made.model.train = lambda mode=True: made.model
        optimizer = SGD(made.model.parameters(), lr=0.1)
        return type(made)(**{**vars(made), "optimizer": optimizer})

    whole = plan(batch_size=4)
    carry_out(whole, tmp_path / "whole", progress=False)
    parts = plan(batch_size=2, options={"accumulate": 2})
    carry_out(parts, tmp_path / "parts", progress=False)
    for name, value in weights(whole).items():
        # After twelve steps the order of the sums shows: by up to 2e-5 on some processors.
        torch.testing.assert_close(weights(parts)[name], value, rtol=1e-4, atol=5e-5)


def test_accumulated_steps_make_epochs():
    assert TrainingOptions(max_epochs=2).steps(images=16, batch_size=4 * 2) == 4
