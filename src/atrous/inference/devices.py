"""Where a network runs, and in which precision."""

import torch

from atrous.errors import UsageError, did_you_mean

__all__ = ["choose_device", "choose_precision", "cpu_has_bfloat16"]

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def choose_device(name: str | torch.device) -> torch.device:
    """The device that was asked for, or the accelerator where there is one.

    Raises:
        UsageError: if the machine does not have it.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if present[kind]))
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}. {did_you_mean(str(name), ('auto', *present))}") from None
    if not present.get(device.type, True):
        raise UsageError(f"device {str(device)!r}: this machine has none that torch can use; say cpu or auto.")
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The precision that was asked for, or the fastest that the device has in hardware.

    Raises:
        UsageError: if the name is unknown, or the device would be wrong or slow in it.
    """
    if name not in PRECISIONS:
        raise UsageError(f"unknown precision {name!r}. {did_you_mean(name, PRECISIONS)}")
    if name == "float16" and device.type == "cpu":
        raise UsageError("precision float16: a CPU has float32 and bfloat16; say auto.")
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if device.type == "cpu" and cpu_has_bfloat16() else torch.float32


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 numbers itself; elsewhere they would be slower than float32."""
    # The questions have come and gone between versions of torch; one that is not there is answered with no.
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    if any(question() for question in asked if question is not None):
        return True
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
