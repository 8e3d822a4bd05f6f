"""The networks side by side, oldest first: what each costs and sees, and the idea of its paper."""

import shutil
import sys
from dataclasses import dataclass
from textwrap import fill

from atrous.reports.columns import columns
from atrous.reports.model_figures import SIZE, Figures

__all__ = ["Entry", "Lineage"]


@dataclass(frozen=True)
class Entry:
    """One network of the lineage."""

    key: str
    year: int | None
    idea: str
    figures: Figures


@dataclass(frozen=True)
class Lineage:
    """All networks, oldest first; `str()` of it is the text of `atrous models`."""

    entries: tuple[Entry, ...]

    def to_text(self, width: int | None = None) -> str:
        """The table; with a width the ideas are broken to it."""
        head = ("year", "name", "parameters", "GMACs", "sees", "exact tiles", "idea")
        rows = [
            (
                str(entry.year or ""),
                entry.key,
                f"{entry.figures.parameters:,}",
                f"{entry.figures.multiply_adds / 1e9:,.1f}",
                entry.figures.sees,
                "yes" if entry.figures.receptive_field else "no",
                entry.idea,
            )
            for entry in self.entries
        ]
        note = (
            f"GMACs: multiply-adds / 1e9 for one image of {SIZE[0]} x {SIZE[1]}. Sees: pixels that decide one output "
            "pixel, along an axis. Exact tiles: whether an image cut in tiles gives the same as the whole."
        )
        usage = "One network: atrous models NAME [-o FILE.png]"
        note = note if width is None else fill(note, width)
        return f"{columns(head, rows, right={2, 3}, width=width)}\n\n{note}\n{usage}"

    def __str__(self) -> str:
        return self.to_text(shutil.get_terminal_size().columns if sys.stdout.isatty() else None)
