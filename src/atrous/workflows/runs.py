"""What a run folder holds, where a bundle is, and a predictor for it."""

import os
import platform
from pathlib import Path
from typing import Any

import torch

from atrous._version import __version__
from atrous.bundle import Bundle, load_bundle
from atrous.errors import UsageError
from atrous.inference import Predictor
from atrous.inference.engines import read_engine
from atrous.postprocess import Refiner, read_refine
from atrous.tables import Place
from atrous.training.distributed import world

__all__ = [
    "check_engine",
    "check_refine",
    "check_tile",
    "describe_machine",
    "is_secondary",
    "load_predictor",
]


def is_secondary() -> bool:
    """Whether this process trains beside a main one, which writes and speaks for all."""
    return not world().is_main


def check_tile(tile: int | None, margin: int | str = "exact") -> None:
    """A tile and a margin that can be, before anything is loaded.

    Raises:
        UsageError: if not.
    """
    if tile is not None and tile < 1:
        raise UsageError(f"--tile {tile}: a tile's side is a number of pixels from 1; leave it out for whole images.")
    if isinstance(margin, int) and margin < 0:
        raise UsageError(f"--margin {margin}: give a number of pixels from 0, exact or auto.")
    if isinstance(margin, str) and margin not in ("exact", "auto"):
        raise UsageError(f"--margin {margin}: give a number of pixels from 0, exact or auto.")


def load_predictor(
    place: str | Path | Bundle,
    *,
    device: str = "auto",
    precision: str = "auto",
    engine: str | None = None,
    refine: Any = None,
) -> tuple[Bundle, Predictor]:
    """A bundle and the predictor that runs it. The weights are read once, or not at all where they are loaded already.

    Args:
        place: a bundle, a run, or a Hub id; or a bundle that has been loaded.
        device: what predicts.
        precision: what it computes in.
        engine: what computes it on a CPU; None does what the bundle says.
        refine: refines in another way than the bundle says.
    """
    check_refine(refine)
    check_engine(engine)
    bundle = place if isinstance(place, Bundle) else load_bundle(place)
    return bundle, Predictor.from_bundle(bundle, device, precision, refine, engine)


def check_engine(engine: str | None) -> None:
    """What `--engine` says, before anything is loaded.

    Raises:
        UsageError: if it names something unknown.
    """
    read_engine(engine, place=Place("--engine"))


def check_refine(refine: Any) -> Refiner | None:
    """What `--refine` says, before anything is loaded.

    Raises:
        UsageError: if it names something unknown.
    """
    return None if refine is None else read_refine(refine, place=Place("--refine"))


def describe_machine() -> dict[str, str]:
    """Processor, accelerator, system and versions, for people."""
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return {
        "Processor": f"{_processor()}, {os.cpu_count()} cores",
        **({"Accelerator": accelerator} if accelerator else {}),
        "System": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "Versions": f"atrous {__version__}, torch {torch.__version__}",
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
