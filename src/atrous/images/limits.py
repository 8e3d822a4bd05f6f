"""What fits into memory: a header is believed only as far as there is room for what it declares."""

from atrous.findings import FindingError, error
from atrous.memory import free_memory, in_bytes

__all__ = ["must_fit", "out_of_memory"]

_SMALL = 1 << 26
"""Bytes that are asked for without a look at the memory."""

_FIX = (
    "If that is its true size, write it as a tiled TIFF or as Zarr, which are read by windows, or free some memory; if "
    "not, it is damaged: take it out."
)


def must_fit(size: int, name: object, shape: tuple[int, ...]) -> None:
    """Raise unless the pixels of an image fit into the memory that is free.

    Args:
        size: bytes that decoding takes.
        name: of the file, or its bytes.
        shape: that its header declares, (height, width) or more.

    Raises:
        FindingError: if they do not.
    """
    if size <= _SMALL or (free := free_memory()) is None or size <= free:
        return
    name = "the bytes" if isinstance(name, bytes) else name
    numbers = " x ".join(map(str, shape))
    message = f"declares {numbers} numbers, which take {in_bytes(size)}, and {in_bytes(free)} of memory are free"
    raise FindingError(error("too_large", name, message, _FIX))


def out_of_memory(name: object) -> FindingError:
    """The error about an image that a decoder found no memory for."""
    return FindingError(error("too_large", name, "needs more memory than there is", _FIX))
