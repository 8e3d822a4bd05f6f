"""The precision of a run: which is taken, when two are tried, and that a run keeps it."""

import logging

import pytest
import torch

from atrous.training import dry_run
from atrous.training.dry_run import DryRun, settle_precision
from atrous.training.engine import carry_out, find_checkpoint
from atrous.training.fitting import follow_plan
from atrous.training.precision import precision_of
from atrous.training.state import RunState


@pytest.fixture
def paces(monkeypatch):
    """A machine with bfloat16, and the seconds that a step takes on it; what was timed is kept."""
    seconds, timed = {torch.bfloat16: 1.0, torch.float32: 2.0}, []
    monkeypatch.setattr("atrous.inference.devices.cpu_has_bfloat16", lambda: True)

    def step(self, batch, dtype):
        timed.append(dtype)
        self.held = 0
        return seconds[dtype]

    monkeypatch.setattr(DryRun, "step", step)
    seconds["timed"] = timed
    return seconds


LONG = {"max_steps": 200, "device": "cpu"}


@pytest.mark.parametrize(
    ("bfloat16", "float32", "chosen"),
    [(1.0, 2.0, "bfloat16"), (1.0, 0.98, "bfloat16"), (1.0, 0.9, "float32"), (4.0, 1.0, "float32")],
)
def test_the_faster_is_chosen_and_said(make_plan, paces, caplog, bfloat16, float32, chosen):
    paces |= {torch.bfloat16: bfloat16, torch.float32: float32}
    plan = make_plan(options=LONG)
    with caplog.at_level(logging.INFO):
        settle_precision(plan)
    assert plan.state.precision == chosen
    assert precision_of(plan.options, plan.state) == getattr(torch, chosen)
    assert f"precision: {chosen}; here a step takes {bfloat16:.2f} s in bfloat16 and {float32:.2f} s" in caplog.text
    assert len(paces["timed"]) <= 2 * (dry_run.ROUNDS + 1)


@pytest.mark.parametrize("options", [
    {"max_steps": 99}, {"max_steps": 200, "precision": "bfloat16"}, {"max_steps": 200, "precision": "float32"},
    {"budget": "50s"},
])  # fmt: skip
def test_nothing_is_tried_where_nothing_is_to_be_gained(make_plan, paces, options):
    budget = 50.0 if "budget" in options else None
    state = RunState(max_steps=options.get("max_steps", 1), validate_every=5, budget=budget)
    plan = make_plan(options={"device": "cpu", **options}, state=state)
    settle_precision(plan)
    assert paces["timed"] == []
    assert plan.state.precision == options.get("precision", "bfloat16")


def test_float32_is_not_tried_on_a_machine_without_bfloat16(make_plan, paces, monkeypatch):
    monkeypatch.setattr("atrous.inference.devices.cpu_has_bfloat16", lambda: False)
    plan = make_plan(options=LONG)
    settle_precision(plan)
    assert (paces["timed"], plan.state.precision) == ([], "float32")


def test_tiny_steps_are_not_compared(make_plan, paces):
    paces |= {torch.bfloat16: 0.01, torch.float32: 0.001}
    plan = make_plan(options=LONG)
    settle_precision(plan)
    assert plan.state.precision == "bfloat16"
    assert torch.float32 not in paces["timed"]


def test_short_memory_is_not_filled_with_float32(make_plan, paces, monkeypatch):
    step = DryRun.step
    monkeypatch.setattr(DryRun, "step", lambda self, *args: (step(self, *args), setattr(self, "held", 1 << 60))[0])
    plan = make_plan(options=LONG)
    settle_precision(plan)
    assert torch.float32 not in paces["timed"]


def test_several_processes_do_not_choose_each_for_itself(make_plan, paces, monkeypatch):
    for name, value in (("TORCHELASTIC_RUN_ID", "1"), ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    plan = make_plan(options=LONG)
    settle_precision(plan)
    assert (paces["timed"], plan.state.precision) == ([], "bfloat16")


def test_trying_changes_neither_model_nor_random_numbers(make_plan, weights):
    plan = make_plan(options=LONG)
    before = weights(plan)
    random, dry = torch.random.get_rng_state(), DryRun(plan)
    for dtype in (torch.bfloat16, torch.float32):
        assert dry.step(dry.batch(), dtype) > 0
    assert torch.equal(torch.random.get_rng_state(), random)
    after = weights(plan)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in plan.model.parameters())


def test_a_run_keeps_its_precision(make_plan, paces, monkeypatch, tmp_path):
    """Whatever the machine would say when the run is resumed."""
    paces |= {torch.float32: 0.1}
    used = []
    monkeypatch.setattr(
        "atrous.training.engine.precision_of",
        lambda options, state: (used.append(state.precision), precision_of(options, state))[1],
    )
    plan = make_plan(options=LONG)

    def stop():
        if plan.state.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow_plan(plan, tmp_path, watch=stop, progress=False)
    assert find_checkpoint(tmp_path)["state"]["precision"] == "float32"
    paces |= {torch.float32: 10.0}
    paces["timed"].clear()
    again = make_plan(options=LONG)
    plan = again
    with pytest.raises(KeyboardInterrupt):
        follow_plan(again, tmp_path, resume=True, watch=lambda: stop_at(again, 6), progress=False)
    assert used == ["float32", "float32"]
    assert paces["timed"] == []


def stop_at(plan, step):
    if plan.state.step == step:
        raise KeyboardInterrupt


def test_a_run_from_before_there_was_a_choice_goes_on_as_it_began(make_plan, paces, tmp_path):
    plan = make_plan(options=LONG)
    with pytest.raises(KeyboardInterrupt):
        carry_out(plan, tmp_path, watch=lambda: stop_at(plan, 4), progress=False)
    saved = find_checkpoint(tmp_path)
    del saved["state"]["precision"]
    again = make_plan(options=LONG)
    settle_precision(again, saved)
    assert paces["timed"] == []
    assert precision_of(again.options, again.state) == torch.bfloat16


def test_a_run_that_goes_on_on_another_machine_takes_what_that_is_fast_in(make_plan, paces, monkeypatch):
    plan = make_plan(options=LONG)
    settle_precision(plan, {"state": {"precision": "float16"}})  # of an accelerator
    assert precision_of(plan.options, plan.state) == torch.bfloat16
    settle_precision(plan, {"state": {"precision": "float32"}})
    assert precision_of(plan.options, plan.state) == torch.float32
    settle_precision(plan, {"state": {"precision": "bfloat16"}})
    monkeypatch.setattr("atrous.inference.devices.cpu_has_bfloat16", lambda: False)
    assert precision_of(plan.options, plan.state) == torch.float32
