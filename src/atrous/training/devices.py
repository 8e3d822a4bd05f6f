"""Which device trains, and in which precision."""

import torch

from atrous.errors import UsageError

__all__ = ["choose_device", "choose_precision"]

_LIGHTNING = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}


def choose_device(name: str) -> str:
    """The type of the device: what was asked for, or the accelerator where there is one.

    Raises:
        UsageError: if the machine does not have it.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(kind for kind in ("cuda", "mps", "cpu") if present[kind])
    if not present[name]:
        raise UsageError(f"training.device={name}: this machine has none that torch can use; say cpu or auto.")
    return name


def choose_precision(name: str, device: str) -> str:
    """Lightning's name of the precision: what was asked for, or the fastest that trains safely on the device.

    bfloat16 has the range of float32, so that losses need no scaling. A CPU counts as having it where it multiplies
    matrices of it in hardware; elsewhere it would be emulated.

    Raises:
        UsageError: if the device cannot train in it.
    """
    if name == "float16" and device == "cpu":
        raise UsageError("training.precision=float16: a CPU trains in float32 or bfloat16; say auto.")
    if name != "auto":
        return _LIGHTNING[name]
    if device == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    if device == "cpu" and cpu_multiplies_bfloat16():
        return "bf16-mixed"
    return "32-true"


def cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU has bfloat16 instructions that torch uses."""
    amx = torch.cpu._is_amx_tile_supported()
    return bool(amx or torch.cpu._is_avx512_bf16_supported())
