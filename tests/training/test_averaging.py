import pytest
import torch
from torch import nn

from atrous.errors import RecipeError
from atrous.layers import BatchNorm
from atrous.training.averaging import WeightAverage, measure_statistics
from atrous.training.engine import carry_out, find_checkpoint
from atrous.training.options import TrainingOptions


def steps(average, values):
    for step, value in enumerate(values, 1):
        with torch.no_grad():
            average.model.weight.fill_(value)
        average.update(step)


def averaged(average):
    with average.applied():
        return average.model.weight.item()


def test_a_moving_average_follows_its_formula():
    average = WeightAverage(nn.Linear(1, 1, bias=False), decay=0.9)
    values = [1.0, 5.0, -2.0, 4.0]
    expected = values[0]
    for count, value in enumerate(values[1:], 2):
        decay = min(0.9, count / (9 + count))
        expected = decay * expected + (1 - decay) * value
    steps(average, values)
    assert averaged(average) == pytest.approx(expected)
    assert average.model.weight.item() == 4.0


def test_the_decay_grows_to_its_limit():
    average = WeightAverage(nn.Linear(1, 1, bias=False), decay=0.5)
    steps(average, [0.0] * 20)
    steps(average, [1.0])
    assert averaged(average) == 0.5


def test_an_even_mean_begins_at_its_start():
    average = WeightAverage(nn.Linear(1, 1, bias=False), start=2)
    steps(average, [100.0, 100.0])
    assert not average.begun
    steps(average, [100.0, 100.0, 1.0, 2.0, 6.0])
    assert averaged(average) == 3.0


def test_running_statistics_are_averaged_and_whole_numbers_are_not():
    model = BatchNorm(1)
    average = WeightAverage(model)
    for step, mean in enumerate((1.0, 3.0), 1):
        model.running_mean.fill_(mean)
        model.num_batches_tracked.fill_(step)
        average.update(step)
    with average.applied():
        assert model.running_mean.item() == 2.0
        assert model.num_batches_tracked.item() == 2


def test_statistics_measured_anew_are_those_of_the_images():
    model = nn.Sequential(BatchNorm(2), nn.Dropout(0.5), BatchNorm(2))
    model[2].frozen = True
    images = [torch.randn(3, 2, 5, 5, generator=torch.Generator().manual_seed(seed)) * 4 + 7 for seed in range(4)]
    frozen = model[2].running_mean.clone()
    model.train()
    measure_statistics(model, images)
    means = torch.stack([image.mean((0, 2, 3)) for image in images]).mean(0)
    variances = torch.stack([image.transpose(0, 1).flatten(1).var(1) for image in images]).mean(0)
    torch.testing.assert_close(model[0].running_mean, means)
    torch.testing.assert_close(model[0].running_var, variances)
    assert torch.equal(model[2].running_mean, frozen)
    assert all(part.training for part in model.modules())
    assert model[0].momentum == 0.1


@pytest.mark.parametrize("options", [{"ema": 0.9}, {"swa": 0.5}])
def test_an_average_is_kept_and_changes_no_step(make_plan, weights, tmp_path, options):
    plain = make_plan()
    carry_out(plain, tmp_path / "plain", progress=False)
    plan = make_plan(options=options)
    carry_out(plan, tmp_path / "run", progress=False)
    assert all(torch.equal(value, weights(plan)[name]) for name, value in weights(plain).items())
    best = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    last = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert last["average"]["count"] == (12 if "ema" in options else 6)
    name = "head.weight"
    if best["step"] == 12:
        assert torch.equal(best["model"][name], last["average"]["average"][name])
    assert not torch.equal(last["model"][name], last["average"]["average"][name])


@pytest.mark.parametrize("options", [{"ema": 0.9}, {"swa": 0.75}, {"accumulate": 2, "ema": 0.5}])
def test_a_killed_run_resumes_to_the_same_average(make_plan, weights, rows, tmp_path, options):
    class Killed(BaseException):
        pass

    whole = make_plan(options=options)
    carry_out(whole, tmp_path / "whole", progress=False)
    for stop in (4, 7, 11):
        plan = make_plan(options=options)

        def watch(plan=plan, stop=stop):
            if plan.state.step == stop:
                raise Killed

        saved = find_checkpoint(tmp_path / "killed")
        with pytest.raises(Killed):
            carry_out(plan, tmp_path / "killed", saved=saved, progress=False, watch=watch)
    plan = make_plan(options=options)
    carry_out(plan, tmp_path / "killed", saved=find_checkpoint(tmp_path / "killed"), progress=False)
    assert all(torch.equal(value, weights(plan)[name]) for name, value in weights(whole).items())
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    for name in ("best", "last"):
        here, there = (
            torch.load(tmp_path / place / f"checkpoints/{name}.ckpt", weights_only=True)
            for place in ("killed", "whole")
        )
        assert all(torch.equal(value, there["model"][key]) for key, value in here["model"].items())


def test_two_averages_are_refused():
    with pytest.raises(RecipeError, match="ema and swa are two averages of the weights; set one of them to null"):
        TrainingOptions(ema=0.9, swa=0.5)
    with pytest.raises(RecipeError, match="swa needs a run of known length"):
        TrainingOptions(swa=0.5, budget="1m")
