"""A plan of training carried out by Lightning's trainer, from the start or from where it was killed."""

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from atrous.inference.devices import choose_device, choose_precision
from atrous.training.callbacks import Checkpoints, Recorder, Watch
from atrous.training.files import read_checkpoint
from atrous.training.loaders import choose_workers, train_loader, val_loader
from atrous.training.module import TrainingModule
from atrous.training.options import TrainingOptions
from atrous.training.progress import ProgressLine
from atrous.training.state import RunState
from atrous.training.stream import Stream
from atrous.types import Sample

__all__ = ["Plan", "carry_out", "find_checkpoint"]

_PRECISIONS = {torch.float32: "32-true", torch.bfloat16: "bf16-mixed", torch.float16: "16-mixed"}
"""What Lightning calls them: the weights stay float32."""


@dataclass(frozen=True)
class Plan:
    """All that decides how a run goes.

    Attributes:
        model: starts with the weights that it has.
        task: losses, scores and metrics of the model's outputs.
        optimizer: holds the model's parameters.
        multiplier: of the learning rates, by step.
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
    """

    model: nn.Module
    task: Any
    optimizer: Optimizer
    multiplier: Callable[[int], float]
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


def find_checkpoint(out: Path) -> dict[str, Any] | None:
    """The last checkpoint of a run's folder, or None where it was killed before the first."""
    return read_checkpoint(out / "checkpoints" / "last.ckpt")


def carry_out(
    plan: Plan,
    out: Path,
    *,
    saved: dict[str, Any] | None = None,
    watch: Callable[[], None] | None = None,
    progress: bool = True,
) -> None:
    """Train to the end of the plan. Leaves the last weights in the model and checkpoints and log in `out`.

    Args:
        plan: of the run; its state is carried forward.
        out: folder of the run.
        saved: a checkpoint to go on from.
        watch: called after each step; may raise to stop.
        progress: whether to show the progress line.
    """
    device = choose_device(plan.options.device).type
    module = TrainingModule(
        plan.model,
        plan.task,
        optimizer=plan.optimizer,
        multiplier=plan.multiplier,
        seed=plan.seed,
        state=plan.state,
    )
    if saved is not None:  # after the module has read the rates: a checkpoint holds those of its own step
        plan.model.load_state_dict(saved["model"])
        plan.optimizer.load_state_dict(saved["optimizer"])
        plan.state.restore(saved["state"])
    if plan.state.finished:
        return
    plan.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    workers, pin = choose_workers(plan.workers, device), device == "cuda"
    stream = Stream(len(plan.names), plan.batch_size, plan.seed, plan.state.segment)
    loader = train_loader(plan.train, stream, transform=plan.transform, workers=workers, pin=pin)
    val = None
    if plan.val is not None:
        val = val_loader(plan.val, size=plan.val_size, workers=0 if device == "cpu" else workers, pin=pin)
        if val.num_workers:
            iter(val)  # starts its workers now: a fork after `watch` began a thread could inherit a lock
    with _quiet(), _own_randomness():
        trainer = _trainer(plan, out, device, watch=watch, progress=progress)
        if saved is not None:
            trainer.precision_plugin.load_state_dict(saved["precision"])
        try:
            trainer.fit(module, loader, val)
        except SystemExit as error:  # Lightning's answer to Ctrl-C would end a notebook
            raise KeyboardInterrupt(f"stopped at step {plan.state.step}; go on with --resume") from error
    plan.model.to("cpu")


def _trainer(plan: Plan, out: Path, device: str, *, watch: Callable[[], None] | None, progress: bool) -> pl.Trainer:
    options = plan.options
    recorder = Recorder(
        out, log_every=options.log_every, names=plan.names, batch_size=plan.batch_size, step=plan.state.step
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
    if progress:
        callbacks.append(ProgressLine(plan.batch_size, plan.state.scores.get("val_mean_iou")))
    if watch is not None:
        callbacks.append(Watch(watch))
    return pl.Trainer(
        accelerator=device,
        devices=1,
        precision=_PRECISIONS[choose_precision(options.precision, torch.device(device))],  # type: ignore[arg-type]
        max_epochs=-1,  # the last segment sets `should_stop`
        gradient_clip_val=options.clip,
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
