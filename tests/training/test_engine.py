from pathlib import Path

import pytest
import torch

from atrous.errors import AtrousError, DataError
from atrous.tasks.base import MEAN_IOU
from atrous.tasks.validators import PixelValidator
from atrous.training import files
from atrous.training.engine import carry_out, find_checkpoint
from atrous.training.files import read_checkpoint


class Killed(BaseException):
    """Ends a run as a kill does: no one handles it."""


def run(plan, out, **arguments):
    carry_out(plan, out, progress=False, **arguments)
    return plan


def killed_at(plan, out, step):
    """Run until after a step; the checkpoint of that step may or may not be due."""

    def watch():
        if plan.state.step == step:
            raise Killed

    with pytest.raises(Killed):
        run(plan, out, saved=find_checkpoint(out), watch=watch)


def same(first, second):
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.fixture
def whole(make_plan, weights, rows, tmp_path):
    """Weights, state and log of a run that nothing interrupted."""
    plan = run(make_plan(), tmp_path / "whole")
    return weights(plan), plan.state, rows(tmp_path / "whole")


@pytest.mark.parametrize("step", [1, 2, 3, 5, 6, 9, 11])
def test_a_killed_run_resumes_to_the_same_bits(make_plan, weights, rows, whole, tmp_path, step):
    out = tmp_path / "killed"
    killed_at(make_plan(), out, step)
    saved = find_checkpoint(out)
    assert (saved is None) == (step == 1)
    plan = run(make_plan(), out, saved=saved)
    assert same(weights(plan), whole[0])
    assert plan.state.scores == whole[1].scores
    assert (plan.state.best, plan.state.best_step) == (whole[1].best, whole[1].best_step)
    assert rows(out) == whole[2]


def test_a_run_killed_again_and_again_resumes_to_the_same_bits(make_plan, weights, rows, whole, tmp_path):
    out = tmp_path / "killed"
    for step in (3, 4, 6, 7, 11):
        killed_at(make_plan(), out, step)
    plan = run(make_plan(), out, saved=find_checkpoint(out))
    assert same(weights(plan), whole[0])
    assert rows(out) == whole[2]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_kill_at_any_moment_of_writing_costs_nothing(make_plan, weights, rows, whole, tmp_path, monkeypatch, call):
    owner = files.os if call == "fsync" else Path
    real = getattr(owner, call)
    for moment in range(1, 100):
        out, calls = tmp_path / f"killed{moment}", []

        def die(*arguments, calls=calls, moment=moment):
            calls.append(arguments)
            if len(calls) == moment:
                raise Killed
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(owner, call, die)
            try:
                run(make_plan(), out)
            except Killed:
                pass
            else:
                break
        plan = run(make_plan(), out, saved=find_checkpoint(out))
        assert same(weights(plan), whole[0])
        assert rows(out) == whole[2]
    assert moment > 8


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_no_bit(make_plan, weights, whole, tmp_path, workers):
    assert same(weights(run(make_plan(workers=workers), tmp_path / "workers")), whole[0])


def test_checkpoints_and_validations_change_no_bit(make_plan, weights, whole, tmp_path):
    options = {"checkpoint_every": 7, "validate_every": 12, "log_every": 5}
    assert same(weights(run(make_plan(options=options), tmp_path / "other")), whole[0])


def test_the_callers_random_numbers_stay(make_plan, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    plan = make_plan()
    torch.manual_seed(5)
    run(plan, tmp_path / "run")
    assert torch.equal(torch.rand(3), expected)


def test_another_seed_gives_other_weights(make_plan, weights, whole, tmp_path):
    assert not same(weights(run(make_plan(seed=4), tmp_path / "other")), whole[0])


def test_the_log_holds_what_happened(make_plan, rows, tmp_path):
    plan = run(make_plan(), tmp_path / "run")
    found = rows(tmp_path / "run")
    assert [int(row["step"]) for row in found] == [2, 4, 5, 6, 8, 10, 12]
    validated = [int(row["step"]) for row in found if row["val_mean_iou"]]
    assert validated == [5, 10, 12]
    for row in found:
        # The rate of step n, counted from 1, is that of the schedule at n - 1.
        assert float(row["lr"]) == pytest.approx(0.02 * (1 - (int(row["step"]) - 1) / 12), rel=1e-6)
        assert float(row["epoch"]) == pytest.approx(int(row["step"]) * 4 / 7, rel=1e-3)
    assert float(found[-1]["val_mean_iou"]) == pytest.approx(plan.state.scores["val_mean_iou"], rel=1e-6)
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


def test_best_holds_the_best_and_last_the_last(make_plan, weights, rows, tmp_path):
    out = tmp_path / "run"
    plan = run(make_plan(lr=0.3), out)  # so fast that it gets worse again
    scores = {int(row["step"]): float(row["val_mean_iou"]) for row in rows(out) if row["val_mean_iou"]}
    best, last = (read_checkpoint(out / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
    assert best["step"] == plan.state.best_step == max(scores, key=scores.get)
    assert best["scores"]["val_mean_iou"] == pytest.approx(max(scores.values()), rel=1e-6)
    assert last["state"]["step"] == 12
    assert all(torch.equal(value, last["model"][name]) for name, value in plan.model.state_dict().items())
    assert len(set(scores.values())) == 3


def test_patience_ends_the_run_and_survives_a_kill(make_plan, tmp_path):
    def frozen():
        plan = make_plan(options={"max_steps": 100, "validate_every": 2, "patience": 3}, lr=0.0)
        for parameter in plan.model.parameters():
            torch.nn.init.zeros_(parameter)  # nothing is learned: the first validation stays the best
        return plan

    plan = run(frozen(), tmp_path / "run")
    assert (plan.state.step, plan.state.stopped, plan.state.best_step) == (8, True, 2)
    killed_at(frozen(), tmp_path / "killed", 5)
    again = run(frozen(), tmp_path / "killed", saved=find_checkpoint(tmp_path / "killed"))
    assert (again.state.step, again.state.stopped, again.state.best_step) == (8, True, 2)


def test_a_finished_run_is_left_alone(make_plan, weights, tmp_path):
    out = tmp_path / "run"
    first = weights(run(make_plan(), out))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    plan = run(make_plan(), out, saved=find_checkpoint(out))
    assert same(weights(plan), first)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before


def test_without_validation_the_last_weights_are_the_best(make_plan, rows, tmp_path):
    plan = run(make_plan(val=None), tmp_path / "run")
    best = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    assert best["step"] == 12
    assert all(torch.equal(value, best["model"][name]) for name, value in plan.model.state_dict().items())
    assert not any(row["val_mean_iou"] for row in rows(tmp_path / "run"))


class Sour:
    """A data set whose fourth image has a number that no loss survives."""

    def __init__(self, inner):
        self.inner = inner

    def __getitem__(self, index):
        sample = self.inner[index]
        return {**sample, "image": sample["image"] * float("inf")} if index == 3 else sample


def test_a_loss_that_is_not_finite_names_the_batch_and_keeps_the_checkpoint(make_plan, tmp_path):
    out, plan = tmp_path / "run", make_plan()
    order = [index for step in range(12) for _, index in _batch(plan, step)]
    sour = order.index(3) // 4 + 1
    with pytest.raises(AtrousError) as caught:
        run(make_plan(train=Sour(plan.train), options={"checkpoint_every": 1}), out)
    text = str(caught.value)
    assert f"at step {sour}: the loss is nan" in text
    assert "image3.png" in text
    assert "Try optimizer.lr=0.00" in text
    assert "\n" not in text
    if sour > 1:
        saved = find_checkpoint(out)
        assert saved["state"]["step"] == sour - 1
        assert all(bool(value.isfinite().all()) for value in saved["model"].values() if value.is_floating_point())


def _batch(plan, step):
    from atrous.training.stream import Stream

    return Stream(7, 4, plan.seed, lambda: range(0)).batch(step)


def test_spoiled_weights_are_never_written(make_plan, tmp_path):
    plan = make_plan(options={"checkpoint_every": 1}, task=Blind())
    with pytest.raises(AtrousError, match=r"weights .+ are no longer finite"):
        run(plan, tmp_path / "run", watch=_spoil(plan))
    assert find_checkpoint(tmp_path / "run")["state"]["step"] == 3


class Blind:
    """A task whose loss stays finite whatever the weights are."""

    ignore_index = 255
    measures = (MEAN_IOU,)

    def losses(self, outputs, batch):
        return {"none": outputs["out"].nan_to_num().mean()}

    def validator(self):
        return PixelValidator(lambda scores: scores.argmax(1), 2)


def _spoil(plan):
    def watch():
        if plan.state.step == 3:
            plan.model.head.weight.data[0, 0] = float("nan")

    return watch


def test_an_error_of_the_data_arrives_whole_from_a_worker(make_plan, tmp_path):
    plan = make_plan(train=Torn(), workers=1)
    with pytest.raises(DataError) as caught:
        run(plan, tmp_path / "run")
    assert str(caught.value) == "torn.png: cannot be read; copy it again."


class Torn:
    def __getitem__(self, index):
        raise DataError("torn.png: cannot be read; copy it again.")


def test_an_error_of_the_watch_ends_the_run(make_plan, tmp_path):
    def watch():
        raise DataError("found in the background")

    with pytest.raises(DataError, match="found in the background"):
        run(make_plan(), tmp_path / "run", watch=watch)


def test_ctrl_c_is_the_callers(make_plan, tmp_path):
    import signal

    def watch():
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="--resume"):
        run(make_plan(), tmp_path / "run", watch=watch)
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_is_told_from_ctrl_c(make_plan, tmp_path):
    import os
    import signal

    class Terminated(KeyboardInterrupt):
        pass

    def terminate(*_):
        raise Terminated

    def watch():
        if plan.state.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    plan, before = make_plan(), signal.signal(signal.SIGTERM, terminate)
    try:
        with pytest.raises(Terminated, match="stopped at step 3; go on with --resume"):
            run(plan, tmp_path / "run", watch=watch)
        assert signal.getsignal(signal.SIGTERM) is terminate
    finally:
        signal.signal(signal.SIGTERM, before)


def test_clipping_changes_the_run_and_holds_the_norm(make_plan, weights, whole, tmp_path):
    plan = make_plan(options={"clip": 1e-4})
    plan.optimizer.param_groups[0].update(lr=0.02)
    assert not same(weights(run(plan, tmp_path / "run")), whole[0])


def test_a_bare_loop_reaches_the_same_weights(make_plan, weights, whole):
    """Lightning adds nothing: the run is this loop."""
    from atrous.inference.devices import choose_precision
    from atrous.training.stream import Augmented, collate, mix

    plan = make_plan()
    model = plan.model.to(memory_format=torch.channels_last).train()
    data = Augmented(plan.train, plan.transform, plan.seed)
    bfloat = choose_precision("auto", torch.device("cpu")) == torch.bfloat16
    for step in range(12):
        batch = collate([data[draw] for draw in _batch(plan, step)])
        plan.optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 12)
        torch.manual_seed(mix(plan.seed, step))
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat):
            images = batch["image"].contiguous(memory_format=torch.channels_last)
            loss = plan.task.losses(model(images), batch)["cross_entropy"]
        plan.optimizer.zero_grad()
        loss.backward()
        plan.optimizer.step()
    assert same(weights(plan), whole[0])


def test_nothing_is_printed_but_the_progress_line(make_plan, tmp_path, capfd):
    carry_out(make_plan(), tmp_path / "run", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if line.strip()]
    assert [line.split()[1] for line in lines] == ["5/12", "10/12", "12/12"]
    assert all(word in lines[-1] for word in ("loss", "lr", "val mIoU", "images/s", "left"))


def test_large_images_are_validated_in_pieces(make_plan, tmp_path, monkeypatch):
    from atrous.training import module

    plan = run(make_plan(), tmp_path / "whole")
    monkeypatch.setattr(module, "LARGEST", 5)
    pieces = run(make_plan(), tmp_path / "pieces")
    assert pieces.state.scores.keys() == plan.state.scores.keys()
    # Padding at the seams changes the scores a little; what was counted is the same.
    assert pieces.state.scores["val_pixel_accuracy"] == pytest.approx(plan.state.scores["val_pixel_accuracy"], abs=0.1)


def test_pieces_cover_an_image_once():
    from atrous.training.module import pieces

    batch = {"image": torch.arange(2 * 7 * 11.0).reshape(1, 2, 7, 11), "index": torch.tensor([3])}
    parts = pieces(batch, 4)
    assert len(parts) == 6
    assert sum(part["image"].sum() for part in parts) == batch["image"].sum()
    assert all(int(part["index"]) == 3 for part in parts)
