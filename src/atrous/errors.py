"""What a user can cause, told in one line: what came, what is needed, what to do, and where.

The command prints the text of an `AtrousError` without a traceback and exits with 2.
"""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "AtrousError",
    "BundleError",
    "DataError",
    "ModelError",
    "RecipeError",
    "UsageError",
    "did_you_mean",
    "lacks_memory",
]


class AtrousError(Exception):
    """Base of everything that a user can cause."""


class DataError(AtrousError):
    """A file or folder of images, masks or classes that cannot be used as it is."""


class RecipeError(AtrousError):
    """A recipe or an override that names something unknown or gives a value that does not fit."""


class ModelError(AtrousError):
    """A model or encoder that is unknown, or that cannot do what was asked of it."""


class BundleError(AtrousError):
    """A bundle that cannot be read, or does not fit the image that it is given."""


class UsageError(AtrousError):
    """A command or call whose arguments do not go together."""


SHOWN = 20
"""Names in a message where the choice is more than twice as long."""


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """The nearest spelling as a question, or the choice where nothing is near.

    Example:
        >>> did_you_mean("uent", ["unet", "fcn"])
        "Did you mean 'unet'?"
        >>> did_you_mean("zzz", ["unet", "fcn"])
        'Choose from: fcn, unet.'
    """
    names = sorted(str(option) for option in options)
    near = get_close_matches(str(word), names, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]!r}?"
    more = f" and {len(names) - SHOWN} more" if len(names) > 2 * SHOWN else ""
    return f"Choose from: {', '.join(names[:SHOWN] if more else names)}{more}."


_LACKING = (
    "can't allocate memory",
    "unable to allocate",
    "cannot allocate memory",
    "out of memory",
    "failed to allocate",
)


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says, in the words of Python, NumPy, torch or OpenCV, that memory could not be had.

    Example:
        >>> lacks_memory(MemoryError()), lacks_memory(ValueError("no memory of it"))
        (True, False)
    """
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _LACKING)
