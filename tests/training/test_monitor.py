"""The figure that chooses the weights is the task's own, in its own direction; runs keep the one they began with."""

import pytest
from torch import nn

from atrous.tasks import MEAN_IOU, Measure
from atrous.training.engine import carry_out, find_checkpoint
from atrous.training.files import COLUMNS, columns_of, read_checkpoint
from atrous.training.progress import ProgressLine
from atrous.training.state import RunState

from .conftest import Task

ERROR = Measure("share_error", higher_is_better=False)


class Shares(nn.Module):
    """How far the share of bright pixels is from the true one, mean over the images."""

    def __init__(self):
        super().__init__()
        self.errors = []

    def reset(self):
        self.errors = []

    def update(self, scores, batch):
        found, true = scores.argmax(1).float().mean((1, 2)), batch["mask"].float().mean((1, 2))
        self.errors += (found - true).abs().tolist()

    def compute(self):
        return {"share_error": sum(self.errors) / len(self.errors)}


class Counting(Task):
    measures = (ERROR,)
    monitor = ERROR

    def validator(self):
        return Shares()


def state(monitor):
    return RunState(max_steps=12, validate_every=5, monitor=monitor)


def test_the_lowest_error_chooses_the_weights(make_plan, rows, tmp_path):
    plan = make_plan(task=Counting(), state=state(ERROR), lr=0.3)
    carry_out(plan, tmp_path / "run", progress=False)
    scores = {int(row["step"]): float(row["val_share_error"]) for row in rows(tmp_path / "run") if row["val_loss"]}
    assert len(set(scores.values())) > 1
    assert plan.state.best_step == min(scores, key=scores.get)
    assert plan.state.best == pytest.approx(min(scores.values()), rel=1e-6)
    best = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert (best["step"], set(best["scores"])) == (plan.state.best_step, {"val_share_error", "val_loss"})


class Rising(Shares):
    """Errors of 1, 2, 3, ... whatever the network does."""

    validations = 0

    def compute(self):
        self.validations += 1
        return {"share_error": float(self.validations)}


def test_a_run_ends_early_by_the_same_figure(make_plan, tmp_path):
    task = Counting()
    task.validator = Rising
    given = {"patience": 2, "max_steps": 30, "validate_every": 5}
    plan = make_plan(task=task, state=RunState(max_steps=30, validate_every=5, monitor=ERROR), options=given)
    carry_out(plan, tmp_path / "run", progress=False)
    assert plan.state.stopped
    assert (plan.state.step, plan.state.best_step, plan.state.best) == (15, 5, 1)


def test_a_resumed_run_knows_its_figure(make_plan, tmp_path):
    carry_out(make_plan(task=Counting(), state=state(ERROR)), tmp_path / "run", progress=False)
    saved = find_checkpoint(tmp_path / "run")
    again = state(MEAN_IOU)
    again.restore(saved["state"])
    assert again.monitor == ERROR
    assert again.score == saved["state"]["scores"]["val_share_error"]


def test_a_run_from_before_goes_on_by_mean_iou():
    old = state(MEAN_IOU).to_dict() | {"best": 0.9, "scores": {"val_mean_iou": 0.8}}
    assert "monitor" not in old  # nothing new is in the checkpoints of a segmentation
    resumed = state(Measure("average_precision"))
    resumed.restore(old)
    assert resumed.monitor == MEAN_IOU
    assert resumed.score == 0.8
    assert not resumed.judge(0.85)


def test_columns_follow_the_measures():
    assert columns_of((ERROR,))[-2:] == ("val_loss", "val_share_error")
    assert COLUMNS[-2:] == ("val_mean_iou", "val_pixel_accuracy")


def test_the_progress_line_names_the_figure(make_plan):
    class Module:
        state = state(ERROR)
        rate = 0.1

    assert "val share error 0.250" in ProgressLine(4, 0.25).note(Module())
    Module.state = state(MEAN_IOU)
    assert "val mIoU 0.250" in ProgressLine(4, 0.25).note(Module())


def test_what_is_not_a_number_is_never_better():
    assert ERROR.better(0.2, None)
    assert ERROR.better(0.2, 0.3)
    assert not ERROR.better(0.3, 0.2)
    assert not ERROR.better(float("nan"), 0.2)
    assert not ERROR.better(float("nan"), None)
