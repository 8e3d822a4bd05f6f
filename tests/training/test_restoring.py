"""A checkpoint that does not fit its run is refused with its name and what to do, before the first step."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from atrous.errors import UsageError
from atrous.training.fitting import follow_plan

Content = dict[str, Any]


def put(*path: str, value: Any) -> Callable[[Content], Any]:
    """Replaces an entry."""

    def change(content: Content) -> Any:
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        return content

    return change


def without(*path: str) -> Callable[[Content], Any]:
    """Leaves an entry out."""

    def change(content: Content) -> Any:
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        return content

    return change


def setting(key: str, value: Any) -> Callable[[Content], Any]:
    """Replaces a setting of the optimizer."""

    def change(content: Content) -> Any:
        content["optimizer"]["param_groups"][0][key] = value
        return content

    return change


def moment(value: Any) -> Callable[[Content], Any]:
    """Replaces a running mean of the optimizer."""

    def change(content: Content) -> Any:
        content["optimizer"]["state"][0]["exp_avg"] = value
        return content

    return change


WEIGHT, BIG = "body.0.weight", 10**30
LAST = {
    "nothing else": lambda content: {"format": content["format"]},
    "no identity": without("identity"),
    "identity a list": put("identity", value=[]),
    "identity without recipe": put("identity", value={}),
    "recipe a number": put("identity", "recipe", value=3),
    "recipe cut off": put("identity", "recipe", value="{"),
    "recipe a list": put("identity", "recipe", value="[]"),
    "no state": without("state"),
    "no step": without("state", "step"),
    "no spent": without("state", "spent"),
    "step a text": put("state", "step", value="x"),
    "step a fraction": put("state", "step", value=1.5),
    "step below zero": put("state", "step", value=-5),
    "step beyond the run": put("state", "step", value=BIG),
    "monitor a number": put("state", "monitor", value=3),
    "losses of text": put("state", "losses", value=["a"]),
    "best a text": put("state", "best", value="x"),
    "scores a list": put("state", "scores", value=[1.0]),
    "no model": without("model"),
    "a weight lacks": without("model", WEIGHT),
    "a weight of another shape": put("model", WEIGHT, value=torch.zeros(3)),
    "a weight of another type": put("model", WEIGHT, value=torch.zeros(8, 2, 3, 3, dtype=torch.float64)),
    "a weight not finite": put("model", WEIGHT, value=torch.full((8, 2, 3, 3), torch.nan)),
    "a weight no tensor": put("model", WEIGHT, value=[1.0]),
    "no optimizer": without("optimizer"),
    "optimizer without groups": put("optimizer", "param_groups", value=[]),
    "rate a text": setting("lr", "x"),
    "rate not finite": setting("lr", float("nan")),
    "one beta": setting("betas", (0.9,)),
    "parameters left out": setting("params", [0]),
    "moment of another shape": moment(torch.zeros(3)),
    "moment not finite": moment(torch.full((8, 2, 3, 3), torch.inf)),
    "no precision": without("precision"),
    "precision a number": put("precision", value=3),
}
BEST = {
    "nothing else": LAST["nothing else"],
    "step a text": put("step", value="x"),
    **{key: LAST[key] for key in LAST if "model" in key or "weight" in key},
}


@pytest.fixture(scope="module")
def kept() -> dict[str, bytes]:
    return {}


@pytest.fixture
def stopped(make_plan, tmp_path, kept):
    """A run that was stopped after 7 of 12 steps."""
    out = tmp_path / "run"
    (out / "checkpoints").mkdir(parents=True)
    if not kept:
        plan = make_plan(options={"checkpoint_every": 1})

        def stop() -> None:
            if plan.state.step == 7:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            follow_plan(plan, out, watch=stop, progress=False)
        kept |= {path.name: path.read_bytes() for path in (out / "checkpoints").iterdir()}
    for name, content in kept.items():
        (out / "checkpoints" / name).write_bytes(content)
    return out


@pytest.mark.parametrize(
    ("file", "change"),
    [*(("last.ckpt", change) for change in LAST.values()), *(("best.ckpt", change) for change in BEST.values())],
    ids=[*(f"last, {name}" for name in LAST), *(f"best, {name}" for name in BEST)],
)
def test_a_checkpoint_that_was_changed_is_refused_by_name(make_plan, stopped, file, change):
    path = stopped / "checkpoints" / file
    torch.save(change(torch.load(path, weights_only=True)), path)
    plan = make_plan()
    if file == "best.ckpt":
        (stopped / "checkpoints" / "last.ckpt").unlink()
        plan.state.spent, plan.options.__dict__["budget"] = True, "1s"  # nothing is left to train
        plan.state.budget = 1.0
    with pytest.raises(UsageError) as told:
        follow_plan(plan, stopped, resume=True, progress=False)
    assert str(told.value).startswith(str(path)), told.value
    assert str(told.value).endswith("delete the folder checkpoints to train from the start with --resume.")
    assert "\n" not in str(told.value)


def test_what_was_not_changed_goes_on(make_plan, stopped):
    assert follow_plan(make_plan(), stopped, resume=True, progress=False).steps == 12
