"""A discriminator beside the segmenter that is trained: its own optimiser, its turns, and what it tells the segmenter.

The engine calls three functions at every step: `set_step`, then `segmenter_losses` for what comes on top of the task's
losses, then, when the segmenter's gradients are taken, `update`. Everything that the adversary does is a function of
the number of the step and of what it is shown, so a resumed run goes on exactly.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn
from torch.optim import Optimizer

from atrous.adversarial import DISCRIMINATORS, INPUTS, SEGMENTER_LOSSES, USUAL, mean_probability
from atrous.adversarial.base import Discriminator
from atrous.adversarial.inputs import InputForm, one_hot, soft_maps
from atrous.errors import RecipeError, did_you_mean
from atrous.layers import resize, shrink
from atrous.optim import OPTIMIZERS, SCHEDULES
from atrous.recipe import Recipe
from atrous.tables import NamedSection, Place, check_arguments, lookup, read_section
from atrous.tasks import TASKS
from atrous.types import IGNORE_INDEX, Outputs

__all__ = ["Adversary", "AdversaryOptions", "ResolvedAdversary", "read_adversary"]

Section = str | Mapping[str, Any]

_GIVEN = ("in_channels", "image_channels")
_CONDITIONED = "conditioned"


def _steady() -> Section:
    """Adam with little memory, the choice of most adversarial trainings since DCGAN."""
    return {"name": "adam", "lr": 1e-4, "betas": [0.5, 0.999]}


@dataclass(frozen=True)
class AdversaryOptions:
    """What the section `adversary` says beside the discriminator's name and arguments.

    Attributes:
        input: a name in `INPUTS`, or {"name": ..., its arguments}; by default the discriminator's in `USUAL`.
        stride: image pixels per cell of the grid that the discriminator looks at; by default that in `USUAL`.
        weight: factor of the discriminator's judgement in the segmenter's loss; at 0 it only watches.
        form: what the segmenter minimises, a name in `SEGMENTER_LOSSES`.
        optimizer: a section like the recipe's `optimizer`.
        schedule: a section like the recipe's `schedule`.
        every: steps of its turn between two updates of the discriminator.
        alternate: 1 updates both networks at every step; more gives each so many steps while the other stands
            still, the discriminator first.
        start: step at which the discriminator comes in; until then the segmenter trains alone.
    """

    input: Section = "basic"
    stride: Annotated[int, Ge(1)] = 1
    weight: Annotated[float, Ge(0)] = 0.1
    form: Literal["modified", "original"] = "modified"
    optimizer: Section = field(default_factory=_steady)
    schedule: Section = "constant"
    every: Annotated[int, Ge(1)] = 1
    alternate: Annotated[int, Ge(1)] = 1
    start: Annotated[int, Ge(0)] = 0


class _Scene(NamedTuple):
    """A batch on the discriminator's grid."""

    maps: Tensor  # (B, K, h, w) the segmenter's probabilities
    truth: Tensor | None  # (B, K, h, w) of the ground truth, where asked for
    image: Tensor  # (B, C, h, w)
    labelled: Tensor | None  # (B, 1, h, w), where the loss is taken at every pixel


class Adversary:
    """A discriminator, its optimiser, and its part in the training of a segmenter.

    Args:
        network: the discriminator.
        optimizer: holds its parameters; its rates now are those at multiplier 1.
        form: what the discriminator is shown.
        options: of the section, with what is usual filled in.
        schedule: the length of the run to the multiplier of the rates by step.
        ignore_index: class of the pixels that count for nothing.

    Attributes:
        module: what `update` calls, the network itself until an engine wraps it.
        network: the discriminator.
        optimizer: its own.
    """

    def __init__(
        self,
        network: Discriminator,
        optimizer: Optimizer,
        *,
        form: InputForm,
        options: AdversaryOptions,
        schedule: Callable[[int], Callable[[int], float]] = SCHEDULES["constant"],
        ignore_index: int = IGNORE_INDEX,
    ) -> None:
        self.network, self.optimizer, self.form, self.options = network, optimizer, form, options
        self.module: nn.Module = network
        self.ignore_index = ignore_index
        self._schedule = schedule
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self._loss = SEGMENTER_LOSSES[options.form]
        self._step = 0

    @property
    def trains_discriminator(self) -> bool:
        """Whether `update` changes the discriminator at this step."""
        since = self._step - self.options.start
        return since >= 0 and self._turn(0) and since % self.options.every == 0

    @property
    def trains_segmenter(self) -> bool:
        """Whether the segmenter learns at this step; while the discriminator has its turn, it stands still."""
        return self._step < self.options.start or self._turn(1)

    def set_step(self, step: int, max_steps: int) -> None:
        """Say which step comes: whose turn it is and the learning rates follow from it alone.

        Args:
            step: optimiser steps done.
            max_steps: length of the run.
        """
        self._step = step
        factor = self._schedule(max_steps)(step)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor

    def segmenter_losses(self, outputs: Outputs, batch: Mapping[str, Any], image: Tensor) -> dict[str, Tensor]:
        """What the segmenter minimises on top of the task's losses: "adversary", weighted.

        Empty at weight 0, before `start` and while the discriminator has its turn. The discriminator's own parameters
        get no gradient.

        Args:
            outputs: of the segmenter; `out` (B, K, h, w) is judged.
            batch: its `mask` (B, H, W) says what is ignored.
            image: (B, C, H, W) as the segmenter sees it, normalised.
        """
        if not self.options.weight or self._step < self.options.start or not self._turn(1):
            return {}
        scene = self._scene(outputs["out"], batch["mask"], image)
        with _fixed(self.network):
            logits = self._judge(self.network, scene.maps, scene.image)
        return {"adversary": self.options.weight * self._loss(logits, scene.labelled)}

    def update(
        self, outputs: Outputs, batch: Mapping[str, Any], image: Tensor, *, backward: Callable[[Tensor], None]
    ) -> dict[str, Tensor]:
        """One step of the discriminator. The segmenter gets no gradient.

        Args:
            outputs: of the segmenter, the same as for `segmenter_losses`; detached here.
            batch: its `mask` is the ground truth.
            image: as the segmenter sees it, normalised.
            backward: takes the gradient of a loss, without scaling it: the discriminator computes in float32 where
                the segmenter's losses are scaled for float16.

        Returns:
            "adversary_loss"; "adversary_real" and "adversary_fake": how likely ground truth it calls ground truth and
            outputs on average, 0..1. Empty where it is not updated at this step.
        """
        if not self.trains_discriminator:
            return {}
        scene = self._scene(outputs["out"].detach(), batch["mask"], image.detach(), with_truth=True)
        assert scene.truth is not None
        self.optimizer.zero_grad(set_to_none=True)
        real = self._judge(self.module, scene.truth, scene.image)
        fake = self._judge(self.module, scene.maps, scene.image)
        loss = self.network.loss(real, fake, scene.labelled)
        backward(loss)
        self.optimizer.step()
        return {
            "adversary_loss": loss.detach(),
            "adversary_real": mean_probability(real.detach(), scene.labelled),
            "adversary_fake": mean_probability(fake.detach(), scene.labelled),
        }

    def parameters(self) -> Iterator[nn.Parameter]:
        """Of the discriminator."""
        return self.network.parameters()

    def to(self, device: torch.device | str) -> "Adversary":
        """Move network and optimiser."""
        self.module.to(device)
        self.optimizer.load_state_dict(self.optimizer.state_dict())  # which brings its tensors to the parameters'
        return self

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _turn(self, player: int) -> bool:
        """Whether the discriminator (0) or the segmenter (1) has its turn."""
        length = self.options.alternate
        return length == 1 or (self._step - self.options.start) // length % 2 == player

    def _scene(self, logits: Tensor, mask: Tensor, image: Tensor, *, with_truth: bool = False) -> _Scene:
        """Maps, ground truth and image on one grid: the outputs', then averaged over the cells of the stride."""
        size = (logits.shape[-2], logits.shape[-1])
        mask, image = shrink(mask, size), resize(image.float(), size)
        labelled = (mask != self.ignore_index)[:, None]
        maps = soft_maps(logits, labelled)
        truth = None
        if with_truth:
            truth = self.form.truth(one_hot(mask, logits.shape[1], ignore_index=self.ignore_index), maps)
            truth = self._average(truth)
        places = self._average(labelled.float()) > 0 if self.network.pixelwise else None
        return _Scene(self._average(maps), truth, self._average(image), places)

    def _average(self, maps: Tensor) -> Tensor:
        stride = self.options.stride
        return maps if stride == 1 else F.avg_pool2d(maps, stride, ceil_mode=True, count_include_pad=False)

    def _judge(self, network: nn.Module, maps: Tensor, image: Tensor) -> Tensor:
        """Logits of maps, of ground truth and outputs alike."""
        kind = maps.device.type
        # The discriminator's losses are not scaled, so its gradients would be lost in float16.
        half = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16
        with torch.autocast(kind, enabled=False) if half else nullcontext():
            return network(self.form.arrange(maps, image))


@dataclass(frozen=True)
class ResolvedAdversary:
    """The section `adversary` of a recipe, checked; nothing of it is built yet.

    Attributes:
        network: the discriminator's builder and arguments.
        form: what it is shown.
        optimizer: its own.
        schedule: the length of the run to the multiplier of the rates by step.
        options: of the section, with what is usual filled in.
        ignore_index: class of the pixels that count for nothing.
        seed: of the run.
    """

    network: NamedSection
    form: InputForm
    optimizer: NamedSection
    schedule: Callable[[int], Callable[[int], float]]
    options: AdversaryOptions
    ignore_index: int
    seed: int

    def build(self, *, num_classes: int, in_channels: int) -> Adversary:
        """The adversary itself.

        The weights follow from the recipe's seed; the random numbers of the caller stay as they are.

        Args:
            num_classes: maps of the segmenter.
            in_channels: of the image.
        """
        more = {"image_channels": in_channels} if "image_channels" in _parameters(self.network.build) else {}
        channels = self.form.channels(num_classes, in_channels)
        network = _seeded(lambda: self.network(channels, **more), self.seed)
        return Adversary(
            network,
            self.optimizer(network),
            form=self.form,
            options=self.options,
            schedule=self.schedule,
            ignore_index=self.ignore_index,
        )


def read_adversary(recipe: Recipe) -> ResolvedAdversary | None:
    """The adversary of a recipe, or None where it has no section `adversary`.

    The section is a name in `DISCRIMINATORS`, or a mapping of its name, its arguments and `AdversaryOptions`.

    Args:
        recipe: its sections `adversary`, `task` and `seed` are read.

    Raises:
        RecipeError: naming the entry that does not fit.

    Example:
        >>> from atrous.recipe import load_recipe
        >>> resolved = read_adversary(load_recipe("unet", ["adversary=small_fov"]))
        >>> adversary = resolved.build(num_classes=21, in_channels=3)
        >>> sum(parameter.numel() for parameter in adversary.parameters())
        1608577
        >>> read_adversary(load_recipe("unet")) is None
        True
    """
    section, place = recipe.section("adversary"), recipe.place / "adversary"
    if section is None:
        return None
    network, options = _read_network(section, place)
    form = read_section(INPUTS, options.input, kind="input", place=place / "input")
    if network.build is DISCRIMINATORS["two_branch"] and form.build is not INPUTS[_CONDITIONED]:
        raise RecipeError(
            f"{place / 'input'}: two_branch reads the image beside the maps; say input: {_CONDITIONED} or leave it out."
        )
    optimizer = read_section(
        OPTIMIZERS, options.optimizer, kind="optimizer", place=place / "optimizer", given=("model",)
    )
    return ResolvedAdversary(
        network=network,
        form=form(),
        optimizer=optimizer,
        schedule=_read_schedule(options.schedule, place / "schedule"),
        options=options,
        ignore_index=_ignored(recipe),
        seed=recipe.seed,
    )


def _read_network(section: Any, place: Place) -> tuple[NamedSection, AdversaryOptions]:
    """The discriminator's builder and arguments, and the adversary's options with what is usual filled in."""
    if isinstance(section, str):
        section = {"name": section}
    if not isinstance(section, Mapping) or "name" not in section:  # let the table complain
        read_section(DISCRIMINATORS, section, kind="discriminator", place=place)
    name = section["name"]
    build = lookup(DISCRIMINATORS, name, kind="discriminator", place=place / "name")
    known = [entry.name for entry in fields(AdversaryOptions)]
    own = [key for key in _parameters(build) if key not in _GIVEN]
    for key in section:
        if key not in ("name", *known, *own, *_GIVEN):
            advice = did_you_mean(key, [*known, *own])
            raise RecipeError(f"{place / key}: an adversary {name!r} has no {key!r}. {advice}")
    said = {key: value for key, value in section.items() if key in known and value is not None}
    options = AdversaryOptions(**{**USUAL[name]._asdict(), **check_arguments(AdversaryOptions, said, place=place)})
    rest = {key: value for key, value in section.items() if key not in known}
    return read_section(DISCRIMINATORS, rest, kind="discriminator", place=place, given=_GIVEN), options


def _parameters(build: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(build).parameters


def _read_schedule(section: Section, place: Place) -> Callable[[int], Callable[[int], float]]:
    """From the length of a run to the multiplier of the rates by step."""
    build, shape = read_section(SCHEDULES, section, kind="schedule", place=place, given=("max_steps",))
    schedule = partial(build, **shape)
    schedule(1)  # what only the schedule itself can refuse is refused now
    return schedule


def _ignored(recipe: Recipe) -> int:
    """What the task ignores. The maps are those of classes that exclude each other."""
    task = recipe.section("task", "segmentation")
    name = task.get("name") if isinstance(task, Mapping) else task
    fitting = [known for known, each in TASKS.items() if each.exclusive]
    if name not in fitting:
        raise RecipeError(
            f"{recipe.place / 'task'}: an adversary compares maps of classes and needs the task "
            f"{' or '.join(map(repr, fitting))}, not {name!r}; leave the section adversary out."
        )
    ignored = task.get("ignore_index", IGNORE_INDEX) if isinstance(task, Mapping) else IGNORE_INDEX
    return int(ignored)


def _seeded(build: Callable[[], Discriminator], seed: int) -> Discriminator:
    """A network whose weights follow from the seed, while the caller's random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # not `torch.manual_seed`, which seeds every accelerator too
        return build()


@contextmanager
def _fixed(network: nn.Module) -> Iterator[None]:
    """No gradient for the network's parameters from what it computes inside."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
