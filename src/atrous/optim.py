"""Optimisers, learning-rate schedules, and which part of a model learns at which rate.

A schedule is a pure function of the step, so a resumed run needs nothing but the step to go on exactly.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Le, Lt
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from atrous.errors import RecipeError, did_you_mean
from atrous.tables import Place, describe_value

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "adam",
    "adamw",
    "constant",
    "cosine",
    "one_cycle",
    "parameter_groups",
    "poly",
    "sgd",
    "step",
]

Groups = Mapping[str, Mapping[Literal["lr", "weight_decay", "frozen"], float | str | bool]]
ENCODER = "encoder"
STATISTICS = "statistics"
Schedule = Callable[[int], float]
Rate = Annotated[float, Ge(0)]
Decay = Annotated[float, Ge(0), Lt(1)]

_HERE = Place("optimizer")
_KINDS = ("bias", "norm")
_ENCODERS = (ENCODER, "contracting")
"""What networks call the part that makes an image into features."""
_KEYS = ("lr", "weight_decay", "frozen")


def sgd(
    model: nn.Module,
    *,
    lr: Rate = 0.01,
    momentum: Decay = 0.9,
    weight_decay: Rate = 1e-4,
    nesterov: bool = False,
    groups: Groups | None = None,
    place: Place = _HERE,
) -> Optimizer:
    """Stochastic gradient descent with momentum, the optimiser of the classical papers.

    Args:
        model: its trainable parameters are optimised.
        lr: rate at multiplier 1.
        momentum: share of the previous step that is kept.
        weight_decay: pull towards zero, times the rate.
        nesterov: whether the gradient is taken ahead of the momentum.
        groups: rates of parts of the model, see `parameter_groups`.
        place: where the section stands, for messages.
    """
    if nesterov and not momentum:
        raise RecipeError(f"{place / 'nesterov'}: looks ahead of the momentum, and momentum is 0; leave it out.")
    parameters = parameter_groups(model, lr=lr, weight_decay=weight_decay, groups=groups, place=place)
    return SGD(parameters, lr=lr, momentum=momentum, nesterov=nesterov, fused=_fused(model))


def adamw(
    model: nn.Module,
    *,
    lr: Rate = 1e-3,
    weight_decay: Rate = 0.01,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    groups: Groups | None = None,
    place: Place = _HERE,
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019, https://arxiv.org/abs/1711.05101).

    Args:
        model: its trainable parameters are optimised.
        lr: rate at multiplier 1.
        weight_decay: pull towards zero, times the rate.
        betas: decay of the running means of the gradient and of its square.
        groups: rates of parts of the model, see `parameter_groups`.
        place: where the section stands, for messages.
    """
    parameters = parameter_groups(model, lr=lr, weight_decay=weight_decay, groups=groups, place=place)
    return AdamW(parameters, lr=lr, betas=betas, fused=_fused(model))


def adam(
    model: nn.Module,
    *,
    lr: Rate = 1e-3,
    weight_decay: Rate = 0.0,
    betas: tuple[Decay, Decay] = (0.9, 0.999),
    groups: Groups | None = None,
    place: Place = _HERE,
) -> Optimizer:
    """Adam with the weight decay added to the gradient (Kingma and Ba, ICLR 2015, https://arxiv.org/abs/1412.6980).

    Args:
        model: its trainable parameters are optimised.
        lr: rate at multiplier 1.
        weight_decay: added to the gradient, times the weight, before the running means; `adamw` keeps it apart.
        betas: decay of the running means of the gradient and of its square.
        groups: rates of parts of the model, see `parameter_groups`.
        place: where the section stands, for messages.
    """
    parameters = parameter_groups(model, lr=lr, weight_decay=weight_decay, groups=groups, place=place)
    return Adam(parameters, lr=lr, betas=betas, fused=_fused(model))


def parameter_groups(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    groups: Groups | None = None,
    place: Place = _HERE,
) -> list[dict[str, Any]]:
    """Every trainable parameter exactly once, with its learning rate and weight decay.

    A part is an attribute of the model ("encoder", "head", or deeper: "encoder.layer4"; the longest that fits counts),
    or "norm" (parameters of normalisation layers), or "bias". "encoder" is the part that turns the image into features
    in every network that has one, whatever its paper calls it, and in networks inside of others. A value "x10"
    multiplies, a number replaces. Part, norm and bias apply in this order: a bias in a head of x10 with biases at x2
    learns at x20, as in the DeepLab papers.
    `frozen: true` takes a part out of training: its parameters no longer require gradients, so that a frozen encoder
    has no backward pass, and its batch normalisations keep their running statistics. `frozen: statistics` keeps the
    statistics alone, as most papers do with a batch too small to normalise with.

    Args:
        model: the network.
        lr: rate of what no group names.
        weight_decay: weight decay of what no group names.
        groups: part to {"lr": ..., "weight_decay": ..., "frozen": ...}.
        place: where the section stands, for messages.

    Returns:
        One dict of "params", "lr", "weight_decay" and "name" per distinct pair of values, in order of appearance.

    Raises:
        RecipeError: on a part that the model does not have, or a value that is neither a number nor "x" and a number.

    Example:
        >>> model = nn.ModuleDict({"encoder": nn.Conv2d(3, 8, 3), "head": nn.Conv2d(8, 2, 1)})
        >>> groups = {"head": {"lr": "x10"}, "bias": {"lr": "x2", "weight_decay": 0}}
        >>> for group in parameter_groups(model, lr=0.01, weight_decay=1e-4, groups=groups):
        ...     print(group["name"], group["lr"], group["weight_decay"])
        rest 0.01 0.0001
        bias 0.02 0.0
        head 0.1 0.0001
        head+bias 0.2 0.0
    """
    rules = _read_rules(model, groups or {}, place / "groups")
    named = {name: part for part in rules for name in _modules_called(model, part)}
    for part, values in (groups or {}).items():
        if values.get("frozen"):
            _freeze(model, part, statistics_only=values["frozen"] == STATISTICS)
    norms = {id(parameter) for module in _norms(model) for parameter in module.parameters(recurse=False)}
    found: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        parts = [part for part in named if f"{name}.".startswith(f"{part}.")]
        names = [named[max(parts, key=len)]] if parts else []
        names += ["norm"] if "norm" in rules and id(parameter) in norms else []
        names += ["bias"] if "bias" in rules and name.rpartition(".")[2] == "bias" else []
        rate, decay = lr, weight_decay
        for part in names:
            rate, decay = rules[part]["lr"](rate), rules[part]["weight_decay"](decay)
        group = found.setdefault(
            (rate, decay), {"params": [], "lr": rate, "weight_decay": decay, "name": "+".join(names) or "rest"}
        )
        group["params"].append(parameter)
    if not found:
        raise RecipeError(f"{place / 'groups'}: all of the model is frozen, and nothing trains; leave a part.")
    return list(found.values())


def _modules_called(model: nn.Module, part: str) -> list[str]:
    """The modules that a recipe means by the name of a part: one, or the encoders of all networks in the model."""
    modules = dict(model.named_modules())
    if part in _KINDS:
        return []
    first, dot, rest = part.partition(".")
    if part in modules:
        inside = getattr(modules[part], "encoder_parts", ()) if part.rpartition(".")[2] == ENCODER else ()
        return [f"{part}.{inner}" for inner in inside] or [part]
    if first != ENCODER:
        return []
    found: list[str] = []
    for name, module in modules.items():
        if not any(name.startswith(f"{outer}.") for outer in found):
            own = [f"{name}.{inner}" if name else inner for inner in getattr(module, "encoder_parts", ())]
            found += own or ([name] if name.rpartition(".")[2] in _ENCODERS else [])
    return [name for name in (f"{outer}{dot}{rest}" for outer in found) if name in modules]


def _norms(model: nn.Module) -> list[nn.Module]:
    """Everything that normalises."""
    kinds = (nn.GroupNorm, nn.LayerNorm)
    return [part for part in model.modules() if isinstance(part, kinds) or "Norm" in type(part).__name__]


def _freeze(model: nn.Module, part: str, *, statistics_only: bool = False) -> None:
    """Take a part, or everything of a kind, out of training; or its statistics alone."""
    parts = _norms(model) if part == "norm" else [model.get_submodule(name) for name in _modules_called(model, part)]
    if part == "bias":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name.rpartition(".")[2] != "bias")
    for module in parts:
        if not statistics_only:
            module.requires_grad_(False)
        for inner in module.modules():
            if isinstance(inner, nn.modules.batchnorm._BatchNorm):
                inner.frozen = True  # type: ignore[assignment]
                if not hasattr(type(inner), "frozen"):  # one that does not ask: keep it in evaluation
                    inner.register_forward_pre_hook(_stand_still)


def _stand_still(module: nn.Module, inputs: Any) -> None:
    module.eval()


def _read_rules(model: nn.Module, groups: Groups, place: Place) -> dict[str, dict[str, Callable[[float], float]]]:
    """Each part's two values as functions of the value before them."""
    rules: dict[str, dict[str, Callable[[float], float]]] = {}
    for part, values in groups.items():
        if not part or (part not in _KINDS and not _modules_called(model, part)):
            children = [name for name, _ in model.named_children()]
            raise RecipeError(
                f"{place / part}: the model has no part {part!r}. {did_you_mean(part, [*children, *_KINDS])}"
            )
        if not isinstance(values, Mapping):
            raise RecipeError(
                f"{place / part}: got {describe_value(values)}, but a group is like {{lr: x10, weight_decay: 0}}."
            )
        for key in values:
            if key not in _KEYS:
                raise RecipeError(f"{place / part / key}: a group has no {key!r}. {did_you_mean(key, _KEYS)}")
        frozen = values.get("frozen", False)
        if not isinstance(frozen, bool) and not (frozen == STATISTICS and part != "bias"):
            choices = "true or false" if part == "bias" else f"true, false or {STATISTICS}"
            raise RecipeError(f"{place / part / 'frozen'}: got {describe_value(frozen)}; say {choices}.")
        rules[part] = {key: _read_rule(values.get(key, "x1"), place / part / key) for key in ("lr", "weight_decay")}
    return rules


def _read_rule(value: Any, place: Place) -> Callable[[float], float]:
    try:
        if isinstance(value, bool):
            raise ValueError
        factor = isinstance(value, str) and value[:1] == "x"
        number = float(value[1:] if factor else value)
        if not (number >= 0 and math.isfinite(number)):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise RecipeError(
            f"{place}: got {describe_value(value)}, but it must be a number, or a factor such as x10."
        ) from None
    return (lambda before: before * number) if factor else (lambda before: number)


def _fused(model: nn.Module) -> bool | None:
    # On a CPU the fused step is several times faster. On accelerators torch's own choice is as good, and the fused one
    # refuses to clip gradients under float16 scaling.
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    return True if on_cpu and not torch.accelerator.is_available() else None


def constant(max_steps: int, *, warmup: Annotated[int, Ge(0)] = 0) -> Schedule:
    """The rate itself, after the warm-up.

    Example:
        >>> [constant(10, warmup=4)(step) for step in range(6)]
        [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """
    return _warmed(lambda progress: 1.0, max_steps, warmup)


def poly(max_steps: int, *, power: Rate = 0.9, warmup: Annotated[int, Ge(0)] = 0) -> Schedule:
    r"""Falls to zero as :math:`(1 - \text{step} / \text{max\_steps})^\text{power}` (DeepLab, PSPNet).

    Args:
        max_steps: length of the run.
        power: 1 is a straight line.
        warmup: steps of linear rise from zero; the fall begins after them.

    Example:
        >>> [poly(4, power=1)(step) for step in range(5)]
        [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    return _warmed(lambda progress: (1 - progress) ** power, max_steps, warmup)


def cosine(
    max_steps: int, *, floor: Annotated[float, Ge(0), Le(1)] = 0.0, warmup: Annotated[int, Ge(0)] = 0
) -> Schedule:
    """Half a cosine from 1 down to `floor` (Loshchilov and Hutter, ICLR 2017, https://arxiv.org/abs/1608.03983).

    Args:
        max_steps: length of the run.
        floor: share of the rate that is left at the end.
        warmup: steps of linear rise from zero; the fall begins after them.

    Example:
        >>> [round(cosine(4, floor=0.2)(step), 3) for step in range(5)]
        [1.0, 0.883, 0.6, 0.317, 0.2]
    """
    return _warmed(lambda progress: floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2, max_steps, warmup)


def step(
    max_steps: int, *, every: Annotated[int, Ge(1)] | None = None, gamma: Rate = 0.1, warmup: Annotated[int, Ge(0)] = 0
) -> Schedule:
    """Falls to `gamma` of itself again and again (DeepLab v1, DeconvNet: "step" in Caffe).

    Args:
        max_steps: length of the run.
        every: steps between two falls, counted from the end of the warm-up; a third of the run where None.
        gamma: what is left at each fall.
        warmup: steps of linear rise from zero.

    Raises:
        RecipeError: if `every` is below 1.

    Example:
        >>> [round(step(9, every=3)(at), 3) for at in (0, 2, 3, 6)]
        [1.0, 1.0, 0.1, 0.01]
    """
    if every is not None and every < 1:
        raise RecipeError(f"schedule step: every is {every}; give at least 1 step between two falls.")
    length = max_steps - warmup
    period = every or max(length // 3, 1)
    return _warmed(lambda progress: gamma ** (min(round(progress * length), length - 1) // period), max_steps, warmup)


def one_cycle(
    max_steps: int, *, warmup: Annotated[int, Ge(0)] | None = None, start: Rate = 0.04, end: Rate = 4e-6
) -> Schedule:
    """Up and down once: two half cosines from `start` to 1 to `end` (Smith, 2018, https://arxiv.org/abs/1803.09820).

    Args:
        max_steps: length of the run.
        warmup: steps of the rise; three tenths of the run where None.
        start: multiplier of the first step.
        end: multiplier at the end.

    Example:
        >>> [round(one_cycle(10, start=0.2, end=0)(step), 3) for step in (0, 3, 10)]
        [0.2, 1.0, 0.0]
    """
    rise = 3 * max_steps // 10 if warmup is None else warmup

    def multiplier(step: int) -> float:
        if step < rise:
            return start + (1 - start) * (1 - math.cos(math.pi * step / rise)) / 2
        return end + (1 - end) * (1 + math.cos(math.pi * _progress(step, max_steps, rise))) / 2

    return multiplier


def _warmed(shape: Callable[[float], float], max_steps: int, warmup: int) -> Schedule:
    def multiplier(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return shape(_progress(step, max_steps, warmup))

    return multiplier


def _progress(step: int, max_steps: int, begin: int) -> float:
    """How far a step is from `begin` to `max_steps`, 0..1; it stays at 1 beyond the end."""
    return min((step - begin) / max(max_steps - begin, 1), 1.0)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": sgd, "adam": adam, "adamw": adamw}
SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "poly": poly,
    "cosine": cosine,
    "one_cycle": one_cycle,
    "step": step,
}
