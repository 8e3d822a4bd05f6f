"""A plan of training carried out by Lightning's trainer, from the start or from where it was killed."""

import copy
import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from atrous.errors import AtrousError
from atrous.inference.devices import choose_device
from atrous.layers.sync import synchronized
from atrous.training.adversary import Adversary
from atrous.training.averaging import WeightAverage
from atrous.training.callbacks import Checkpoints, Recorder, Watch
from atrous.training.distributed import World, full_state, join, shard
from atrous.training.files import columns_of
from atrous.training.loaders import choose_workers, train_loader, val_loader
from atrous.training.memory import channels_last, keep_order
from atrous.training.module import Schedules, TrainingModule
from atrous.training.options import TrainingOptions
from atrous.training.precision import precision_of
from atrous.training.progress import ProgressLine
from atrous.training.restoring import find_checkpoint, restore
from atrous.training.shortage import limit_workers
from atrous.training.state import RunState
from atrous.training.stream import Augmented, Stream, collate_step
from atrous.types import Progress, Sample

__all__ = ["TrainingPlan", "carry_out", "find_checkpoint"]

LOG = logging.getLogger(__name__)

_PRECISIONS = {torch.float32: "32-true", torch.bfloat16: "bf16-mixed", torch.float16: "16-mixed"}
"""What Lightning calls them: the weights stay float32."""
ADVERSARY_NOTES = ("adversary_loss", "adversary_real", "adversary_fake")
"""What `Adversary.update` leaves beside the losses of a step: columns of the log."""
MEASURED_STEPS = 50
"""Steps whose images measure the normalisations of evenly averaged weights anew, at most."""


@dataclass(frozen=True)
class TrainingPlan:
    """All that decides how a run goes.

    Attributes:
        model: starts with the weights that it has.
        task: losses, scores and metrics of the model's outputs.
        optimizer: holds the model's parameters.
        schedule: the multiplier of the learning rates by step, for a run of so many steps.
        train: training samples; `transform` changes each draw.
        names: file of each training sample.
        val: validation samples, or None where there are none.
        val_size: their number.
        options: of the run.
        state: steps and interval of validations; where the run stands.
        batch_size: draws per step.
        workers: loader processes.
        seed: of order, augmentation and dropout.
        identity: what makes the run this run.
        adversary: a network that learns to tell masks from outputs, or None.
    """

    model: nn.Module
    task: Any
    optimizer: Optimizer
    schedule: Schedules
    train: Dataset[Sample]
    names: Sequence[str]
    options: TrainingOptions
    state: RunState
    batch_size: int
    transform: Callable[[Sample, np.random.Generator], Sample] | None = None
    val: Dataset[Sample] | None = None
    val_size: int = 0
    workers: int | Literal["auto"] = "auto"
    seed: int = 0
    identity: dict[str, Any] = field(default_factory=dict)
    adversary: Adversary | None = None

    def stream(self, here: World = World()) -> Stream:  # noqa: B008 (a plain tuple)
        """What is drawn at each step, by one of the processes that train together."""
        return Stream(
            len(self.names),
            self.batch_size,
            self.seed,
            self.state.segment,
            accumulate=self.options.accumulate,
            rank=here.rank,
            processes=here.processes,
        )


def carry_out(
    plan: TrainingPlan,
    out: Path,
    *,
    saved: dict[str, Any] | None = None,
    watch: Callable[[], None] | None = None,
    progress: bool | Progress = True,
) -> None:
    """Train to the end of the plan. Leaves the last weights in the model and checkpoints and log in `out`.

    Args:
        plan: of the run; its state is carried forward.
        out: folder of the run.
        saved: a checkpoint to go on from.
        watch: called after each step; may raise to stop.
        progress: whether to show the progress line; or a function, called with the steps done and of all.
    """
    device, here = choose_device(plan.options.device).type, join(plan.options.device)
    # A model that is spread over processes cannot be put together again in place: a copy is spread.
    spread = here.processes > 1 and plan.options.strategy == "fsdp"
    model = copy.deepcopy(plan.model) if spread else plan.model
    names = {id(parameter): name for name, parameter in plan.model.named_parameters()}
    groups = [[names[id(parameter)] for parameter in group["params"]] for group in plan.optimizer.param_groups]
    module = _module(plan, model, here)
    if saved is not None:  # after the module has read the rates: a checkpoint holds those of its own step
        restore(module, saved, out, optimizer=plan.optimizer, samples=(plan.train, plan.val))
    if plan.state.finished:
        return
    if spread:  # and in torch's usual layout, the only one that can be cut
        keep_order(model)
        module.spread = lambda mesh: shard(model, groups, plan.optimizer, mesh)
    else:
        channels_last(model)
    loader, val = _loaders(plan, device, here)
    with _quiet(), _own_randomness(), _together(model, plan.options.sync_batchnorm, here):
        trainer = _trainer(plan, out, device, here, watch, progress)
        if saved is not None:
            trainer.precision_plugin.load_state_dict(saved["precision"])
        try:
            trainer.fit(module, loader, val)
        except SystemExit as error:  # Lightning's answer to Ctrl-C would end a notebook
            kind = type(error.__context__) if isinstance(error.__context__, KeyboardInterrupt) else KeyboardInterrupt
            raise kind(f"stopped at step {plan.state.step}; go on with --resume") from error
    if spread:
        plan.model.load_state_dict(full_state(model.state_dict()))
    plan.model.to("cpu")


def _module(plan: TrainingPlan, model: nn.Module, here: World) -> TrainingModule:
    options, state = plan.options, plan.state
    average = None
    if options.ema is not None:
        average = WeightAverage(model, decay=options.ema)
    elif options.swa is not None:
        average = WeightAverage(model, start=round((1 - options.swa) * state.max_steps))
    return TrainingModule(
        model,
        plan.task,
        optimizer=plan.optimizer,
        schedule=plan.schedule,
        seed=plan.seed,
        state=state,
        clip=options.clip,
        average=average,
        statistics=lambda: _statistics(plan, model, here),
        adversary=plan.adversary,
        world=here,
    )


def _statistics(plan: TrainingPlan, model: nn.Module, here: World) -> Iterator[Tensor]:
    """Images of the first epoch as training sees them, in at most so many steps."""
    stream, samples = plan.stream(here), Augmented(plan.train, plan.transform, plan.seed)
    device = next(model.parameters()).device
    shared = plan.batch_size * plan.options.accumulate * here.processes
    for step in range(min(-(-len(plan.names) // shared), MEASURED_STEPS)):
        batches = collate_step([samples[draw] for draw in stream.batch(step)], batch_size=plan.batch_size)
        if isinstance(batches, AtrousError):
            raise batches
        for batch in batches:
            yield batch["image"].to(device, memory_format=torch.channels_last)


def _loaders(plan: TrainingPlan, device: str, here: World) -> tuple[Any, Any]:
    """Of training and of validation; None where there is nothing to validate on."""
    stream, pin = plan.stream(here), device == "cuda"
    samples, draws = Augmented(plan.train, plan.transform, plan.seed), stream.batch(plan.state.step)
    workers = limit_workers(choose_workers(plan.workers, device), samples, draws)
    loader = train_loader(plan.train, stream, transform=plan.transform, workers=workers, pin=pin)
    if plan.val is None:
        return loader, None
    val = val_loader(
        plan.val,
        size=plan.val_size,
        workers=0 if device == "cpu" else workers,
        pin=pin,
        rank=here.rank,
        processes=here.processes,
    )
    if val.num_workers:
        iter(val)  # starts its workers now: a fork after `watch` began a thread could inherit a lock
    return loader, val


def _trainer(
    plan: TrainingPlan, out: Path, device: str, here: World, watch: Callable[[], None] | None, progress: bool | Progress
) -> pl.Trainer:
    options = plan.options
    recorder = Recorder(
        out,
        log_every=options.log_every,
        names=plan.names,
        batch_size=plan.batch_size * options.accumulate * here.processes,
        step=plan.state.step,
        columns=columns_of(plan.task.measures),
        notes=ADVERSARY_NOTES if plan.adversary is not None else (),
        is_main=here.is_main,
    )
    checkpoints = Checkpoints(
        out / "checkpoints",
        recorder,
        identity=plan.identity,
        every=options.checkpoint_every,
        patience=options.patience,
        validates=plan.val is not None,
    )
    callbacks: list[pl.Callback] = [recorder, checkpoints]  # rows first, so that a checkpoint never lacks its own
    if callable(progress) and here.is_main:
        callbacks.append(Watch(partial(_report, progress, plan.state)))
    elif progress and here.is_main:
        callbacks.append(ProgressLine(recorder.batch_size, plan.state.score))
    if watch is not None and here.is_main:
        callbacks.append(Watch(watch))
    return pl.Trainer(
        accelerator=device,
        devices=here.on_this_machine,
        num_nodes=here.processes // here.on_this_machine,
        strategy=_strategy(options.strategy, here),
        precision=_PRECISIONS[precision_of(options, plan.state)],  # type: ignore[arg-type]
        max_epochs=-1,  # the last segment sets `should_stop`
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if plan.val is not None else 0,
        use_distributed_sampler=False,
        default_root_dir=out,
    )


def _report(progress: Progress, state: RunState) -> None:
    """Say how far a run is."""
    progress(state.step, state.max_steps)


def _strategy(name: str, here: World) -> Any:
    from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy

    if here.processes == 1:
        return "auto"
    if name == "fsdp":
        return ModelParallelStrategy(data_parallel_size=here.processes, tensor_parallel_size=1)
    # An output that the task gives no weight leaves its head without a gradient.
    return DDPStrategy(find_unused_parameters=True)


@contextmanager
def _together(model: nn.Module, choice: bool | Literal["auto"], here: World) -> Iterator[None]:
    """Normalise over the batches of all processes where that is asked for."""
    if here.processes == 1 or not choice:
        yield
        return
    with synchronized(model) as left:
        if left and here.is_main:
            LOG.warning(
                "batch normalisation sees the batch of its own process in %d layers, such as %s, which cannot be "
                "joined; choose another encoder, or a larger data.batch_size",
                len(left),
                left[0],
            )
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's notes about itself from the user, and its hands off Ctrl-C afterwards."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main else None
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Its advice on workers, validation and logging is about choices that are made here on purpose.
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if main and handler is not None:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Give the caller's random numbers back as they were: each step seeds torch."""
    with torch.random.fork_rng(devices=[]):
        yield
