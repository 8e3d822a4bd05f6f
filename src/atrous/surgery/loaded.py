"""What became of weights that were taken over from elsewhere."""

from dataclasses import dataclass

__all__ = ["Loaded"]


@dataclass(frozen=True)
class Loaded:
    """What was taken over.

    Attributes:
        taken: names of the model's weights that were loaded.
        fresh: names of the model's own weights that the other network does not have, or has in another shape.
        unused: names of the other network's weights that found no place.
        misfits: those of `fresh` that have a counterpart of another shape, each with both shapes.
    """

    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]
    misfits: tuple[str, ...] = ()

    def __str__(self) -> str:
        total = len(self.taken) + len(self.fresh)
        fresh = f"; these start fresh: {_list(self.fresh)}" if self.fresh else ""
        misfits = f"; of another shape: {_list(self.misfits)}" if self.misfits else ""
        unused = f"; these were not used: {_list(self.unused)}" if self.unused else ""
        return f"took over {len(self.taken)} of {total} weights{fresh}{misfits}{unused}"


def _list(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:6])
    return shown if len(names) <= 6 else f"{shown} and {len(names) - 6} more"
