"""A run with an adversary, killed and gone on with, ends with the bits of one that nothing interrupted."""

import pytest
import torch

from atrous.errors import AtrousError
from atrous.recipe import load_recipe
from atrous.training.adversary import read_adversary
from atrous.training.engine import carry_out, find_checkpoint

SECTION = "adversary={name: small_fov_light, input: basic, stride: 2, weight: 0.5, start: 1}"


class Killed(BaseException):
    """Ends a run as a kill does."""


def adversary(section=SECTION):
    return read_adversary(load_recipe("unet", [section])).build(num_classes=2, in_channels=2)


@pytest.fixture
def whole(make_plan, weights, rows, tmp_path):
    plan = make_plan(adversary=adversary())
    carry_out(plan, tmp_path / "whole", progress=False)
    return plan, weights(plan), rows(tmp_path / "whole")


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_killed_run_resumes_to_the_same_bits(make_plan, weights, rows, whole, tmp_path, workers):
    out = tmp_path / "killed"
    for stop in (3, 6, 7, 11):
        plan = make_plan(adversary=adversary(), workers=workers)

        def watch(plan=plan, stop=stop):
            if plan.state.step == stop:
                raise Killed

        saved = find_checkpoint(out)
        with pytest.raises(Killed):
            carry_out(plan, out, saved=saved, progress=False, watch=watch)
    plan = make_plan(adversary=adversary(), workers=workers)
    carry_out(plan, out, saved=find_checkpoint(out), progress=False)
    assert all(torch.equal(value, whole[1][name]) for name, value in weights(plan).items())
    expected = dict(whole[0].adversary.network.named_parameters())
    assert all(torch.equal(value, expected[name]) for name, value in plan.adversary.network.named_parameters())
    assert rows(out) == whole[2]


def test_the_log_has_the_curves_of_both(whole):
    rows = whole[2]
    assert {"adversary_loss", "adversary_real", "adversary_fake"} <= set(rows[0])
    assert all(0 < float(row["adversary_real"]) < 1 and float(row["adversary_loss"]) > 0 for row in rows)


def test_before_its_start_its_columns_are_empty(make_plan, rows, tmp_path):
    plan = make_plan(adversary=adversary(SECTION.replace("start: 1", "start: 6")), options={"log_every": 1})
    carry_out(plan, tmp_path / "run", progress=False)
    assert [bool(row["adversary_loss"]) for row in rows(tmp_path / "run")] == [False] * 6 + [True] * 6


def test_without_weight_the_run_is_the_plain_one(make_plan, weights, tmp_path):
    plain = make_plan()
    carry_out(plain, tmp_path / "plain", progress=False)
    watched = make_plan(adversary=adversary(SECTION.replace("0.5", "0")))
    carry_out(watched, tmp_path / "watched", progress=False)
    assert all(torch.equal(value, weights(watched)[name]) for name, value in weights(plain).items())


def test_with_weight_it_is_another(whole, make_plan, weights, tmp_path):
    plain = make_plan()
    carry_out(plain, tmp_path / "plain", progress=False)
    assert not all(torch.equal(value, whole[1][name]) for name, value in weights(plain).items())


def test_an_adversary_that_goes_astray_is_named(make_plan, tmp_path):
    section = (
        "adversary={name: small_fov_light, input: basic, stride: 2, weight: 0, optimizer: {name: sgd, lr: 1.0e+30}}"
    )
    plan = make_plan(adversary=adversary(section))
    with pytest.raises(AtrousError, match=r"the adversary went astray at step \d+: .*smaller adversary.optimizer.lr"):
        carry_out(plan, tmp_path / "run", progress=False)
