"""What a data folder holds: as it can be used, and as far as it could be understood."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from atrous.data.classes import Classes
from atrous.data.splits import Pair
from atrous.findings import Finding
from atrous.images.derived import DerivedPlanes

__all__ = ["Contents", "Folder"]


@dataclass(frozen=True)
class Folder:
    """A data folder that can be used.

    Attributes:
        root: the folder.
        splits: pairs of `train`, `val`, and `test` if there is one.
        classes: what the masks' values mean, or the names of landmarks.
        channels: of every image.
        dtype: of every image's numbers, one of `types.DTYPES`.
        layout: as what it was read: a key of `DATASETS`, or "folder".
        findings: what was warned of when it was opened.
    """

    root: Path
    splits: dict[str, tuple[Pair, ...]]
    classes: Classes
    channels: int
    dtype: str
    layout: str = "folder"
    findings: tuple[Finding, ...] = ()

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All pairs, split after split."""
        return tuple(chain.from_iterable(self.splits.values()))

    def labelled(self, split: str) -> tuple[Pair, ...]:
        """The pairs of a split with something to compare with: a mask, landmarks or objects.

        Objects stand for the foreground where a folder has no masks at all; elsewhere only masks tell the classes.
        """
        masks = any(pair.mask for pair in self.pairs)
        pairs = self.splits[split]
        return tuple(pair for pair in pairs if pair.mask or pair.landmarks or (pair.instances and not masks))

    @property
    def landmarks(self) -> bool:
        """Images have landmarks: `classes` names these, and there are no masks."""
        return any(pair.landmarks for pair in self.pairs)

    @property
    def multilabel(self) -> bool:
        """Classes may overlap: masks are (K, H, W) planes."""
        return any(isinstance(pair.mask, DerivedPlanes) for pair in self.pairs)


class Contents(NamedTuple):
    """A data folder as far as it could be understood: what is not known is None, and the findings say why."""

    root: Path
    splits: dict[str, tuple[Pair, ...]]
    classes: Classes | None
    channels: int | None
    dtype: str | None
    findings: tuple[Finding, ...]
    layout: str = "folder"

    @property
    def landmarks(self) -> bool:
        """Images have landmarks: `classes` names these, and there are no masks."""
        return any(pair.landmarks for pair in self.pairs)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All pairs, split after split."""
        return tuple(chain.from_iterable(self.splits.values()))
