"""The networks side by side, and one of them stage by stage: what each costs and sees, beside what its paper says.

Figures that take long to work out are shipped in `models/figures.json`, for the networks as their papers have them. A
network that is not in the file is worked out when it is asked for. After a change of a network

    python -m atrous.workflows.model_table

works all of them out and writes the file again.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atrous.disk import write_bytes, write_text
from atrous.errors import ModelError, UsageError, did_you_mean

if TYPE_CHECKING:
    from atrous.analysis import ReceptiveField, Stage
    from atrous.models import DenseModel, Paper

__all__ = ["Description", "Figures", "Lineage", "describe", "figures_of", "known_figures", "lineage"]

SIZE = (512, 512)
"""Height and width of the image that networks are compared at."""
CLASSES = 21  # where no paper says
PICTURES = (".png", ".svg")


@dataclass(frozen=True)
class Figures:
    """What a network costs for one image of 512 x 512, with the paper's number of classes.

    Attributes:
        num_classes: of the network that was counted.
        parameters: weights.
        multiply_adds: of convolutions and matrix products.
        training_memory: bytes that a training step keeps between forward and backward, in float32.
        inference_memory: bytes of maps that exist at one time without gradients, at most, in float32.
        receptive_field: pixels that an output pixel sees along each axis, or None where it sees the whole image.
        unbounded_by: the layer and operation that make it see the whole image, or None.
    """

    num_classes: int
    parameters: int
    multiply_adds: int
    training_memory: int
    inference_memory: int
    receptive_field: tuple[int, int] | None
    unbounded_by: str | None = None

    @property
    def sees(self) -> str:
        """The receptive field in words."""
        if self.receptive_field is None:
            return "whole image"
        return " x ".join(str(size) for size in dict.fromkeys(self.receptive_field))


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
            "pixel, along an axis. Exact tiles: whether an image cut in tiles gives the same as the whole.\n"
            "One network: atrous models NAME [-o FILE.png]"
        )
        return f"{_table(head, rows, right={2, 3}, width=width)}\n\n{note}"

    def __str__(self) -> str:
        return self.to_text(shutil.get_terminal_size().columns if sys.stdout.isatty() else None)


def lineage() -> Lineage:
    """All networks that `create_model` knows, oldest first.

    Figures come from the package where it has them; they are worked out otherwise, in a second or so each.
    """
    from atrous.models import MODELS, paper

    known = known_figures()
    entries = []
    for key in MODELS:
        told = paper(key)
        found = known[key] if key in known else figures_of(key)
        entries.append(Entry(key, told.year if told else None, told.idea if told else "", found))
    return Lineage(tuple(sorted(entries, key=lambda entry: entry.year or 0)))


def known_figures() -> dict[str, Figures]:
    """The figures that the package ships, by the key of the network."""
    try:
        stored: dict[str, dict[str, Any]] = json.loads(_figures_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    found = {}
    for key, values in stored.items():
        seen = values["receptive_field"]
        found[key] = Figures(**{**values, "receptive_field": None if seen is None else tuple(seen)})
    return found


def figures_of(key: str) -> Figures:
    """Work out what a network costs and sees. Nothing is computed for real.

    Raises:
        ModelError: if there is no such network.
    """
    from atrous import analysis

    model = _blank(key)
    try:
        field = analysis.receptive_field(model)
    except ModelError as error:  # an operation that the analysis does not know: nothing is promised
        field = analysis.ReceptiveField(None, None, str(error))
    seen = (field.vertical.size, field.horizontal.size) if field.vertical and field.horizontal else None
    return Figures(
        num_classes=model.num_classes,
        parameters=analysis.parameters(model),
        multiply_adds=analysis.multiply_adds(model, SIZE),
        training_memory=analysis.activation_memory(model, SIZE),
        inference_memory=analysis.inference_memory(model, SIZE),
        receptive_field=seen,
        unbounded_by=None if seen else field.unbounded_by,
    )


def _figures_file() -> Path:
    import atrous.models

    return Path(atrous.models.__file__).with_name("figures.json")


def _blank(key: str) -> "DenseModel":
    """The network as its paper has it, without numbers."""
    import torch

    from atrous.models import MODELS, create_model, paper

    if key not in MODELS:
        raise ModelError(f"there is no model {key!r}. {did_you_mean(key, MODELS)}")
    told = paper(key)
    with torch.device("meta"):
        return create_model(key, num_classes=told.num_classes if told else CLASSES)


@dataclass(frozen=True)
class Description:
    """One network; `str()` of it is the text of `atrous models NAME`.

    Attributes:
        key: its name.
        paper: what its file says of the paper, or None.
        size: height and width of the image.
        num_classes: the paper's, or 21.
        stages: its parts in the order in which they run.
        field: what an output pixel sees; None where an operation is not known.
    """

    key: str
    paper: "Paper | None"
    size: tuple[int, int]
    num_classes: int
    stages: "Sequence[Stage]"
    parameters: int
    field: "ReceptiveField | None"

    def __str__(self) -> str:
        parts = [self._title(), self._stage_table(), self._facts()]
        return "\n\n".join(part for part in parts if part)

    def _title(self) -> str:
        if self.paper is None:
            return self.key
        return f"{self.key}: {self.paper.title}, {self.paper.year}\n{self.paper.url}\n{self.paper.idea}"

    def _stage_table(self) -> str:
        """Every stage with its sizes and costs, and the whole network below."""
        head = ("stage", "output", "stride", "parameters", "GMACs", "training", "inference", "sees")
        rows = [
            (
                stage.name,
                " x ".join(map(str, stage.shape)) + (f" + {len(stage.outputs) - 1}" if len(stage.outputs) > 1 else ""),
                "" if stage.stride is None else str(stage.stride),
                f"{stage.parameters:,}",
                f"{stage.multiply_adds / 1e9:,.2f}",
                _memory(stage.training_memory),
                _memory(stage.inference_memory),
                _sees(stage.receptive_field),
            )
            for stage in self.stages
        ]
        total = (
            "network",
            f"{self.num_classes} x {self.size[0]} x {self.size[1]}",
            "1",
            f"{self.parameters:,}",
            f"{sum(stage.multiply_adds for stage in self.stages) / 1e9:,.2f}",
            _memory(sum(stage.training_memory for stage in self.stages)),
            _memory(max(stage.inference_memory for stage in self.stages)),
            _sees(self.field),
        )
        table = _table(head, [*rows, total], right={3, 4, 5, 6})
        note = (
            f"For one image of {self.size[0]} x {self.size[1]}, maps in float32. Training: kept between forward and "
            "backward. Inference: all maps that exist while the stage runs."
        )
        return f"{table}\n\n{note}"

    def _facts(self) -> str:
        """The paper's facts beside ours."""
        coarsest = max((s.stride for s in self.stages if s.stride and _is_regular(s)), default=Fraction(1))
        last = self.stages[-1].stride
        rows = [
            (f"parameters, {self.num_classes} classes", self._paper_parameters(), f"{self.parameters:,}"),
            ("coarsest stage at stride", "", str(coarsest)),
            ("logits at stride", "", str(last or "")),
            ("sees", "", _sees(self.field) + self._reason()),
        ]
        table = _table(("fact", "paper", "ours"), rows)
        facts = self.paper.facts if self.paper else ()
        return "\n".join([table, *(["", "The paper:"] if facts else []), *(f"  {fact}" for fact in facts)])

    def _paper_parameters(self) -> str:
        given = self.paper.parameters if self.paper else None
        if given is None:
            return "not given"
        return f"{given:,} ({'equal' if given == self.parameters else f'{self.parameters - given:+,} here'})"

    def _reason(self) -> str:
        return f" (by {self.field.unbounded_by})" if self.field and self.field.unbounded_by else ""


def describe(key: str, *, size: tuple[int, int] = SIZE, out: str | Path | None = None) -> Description:
    """One network as its paper has it: its stages, what they cost, and the paper's facts beside ours.

    Args:
        key: a name from `list_models`.
        size: height and width of the image.
        out: where to draw it: a file that ends in .png or .svg.

    Raises:
        ModelError: if there is no such network.
        UsageError: if the file has another ending or cannot be written, or the size is none.
    """
    from atrous import analysis
    from atrous.models import paper

    target = None if out is None else Path(out)
    if target is not None and target.suffix.lower() not in PICTURES:
        raise UsageError(f"{target}: a picture ends in {' or '.join(PICTURES)}; give -o {target.stem or key}.png.")
    if min(size) < 1:
        raise UsageError(f"size {size[0]} {size[1]}: give a height and a width of at least 1, for example 512 512.")
    model = _blank(key)
    try:
        field = analysis.receptive_field(model)
    except ModelError:
        field = None
    found = Description(
        key, paper(key), size, model.num_classes, analysis.stages(model, size), analysis.parameters(model), field
    )
    if target is not None:
        from atrous.reports.architecture import draw_network

        title = f"{key} ({found.paper.year})" if found.paper else key
        write_bytes(target, draw_network(found.stages, size, title=title, kind=target.suffix[1:].lower()))
    return found


def _is_regular(stage: "Stage") -> bool:
    """Whether a stage keeps a grid of the image; a map pooled to a few cells does not."""
    return stage.receptive_field is None or stage.receptive_field.stride is not None


def _sees(field: "ReceptiveField | None") -> str:
    if field is None:
        return "not known"
    if field.vertical is None or field.horizontal is None:
        return "whole image"
    return " x ".join(str(size) for size in dict.fromkeys((field.vertical.size, field.horizontal.size)))


def _memory(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, right: set[int] | None = None, width: int | None = None
) -> str:
    """Columns two spaces apart, those in `right` flush right; the last one broken to the width, if there is one."""
    from textwrap import wrap

    last = len(head) - 1
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(last)]
    begin = sum(widths) + 2 * last
    lines = []
    for row in (head, *rows):
        cells = [row[i].rjust(widths[i]) if i in (right or set()) else row[i].ljust(widths[i]) for i in range(last)]
        pieces = [row[last]] if width is None or width < begin + 24 else wrap(row[last], width - begin - 1) or [""]
        lines.append("  ".join([*cells, pieces[0]]).rstrip())
        lines += [" " * begin + piece for piece in pieces[1:]]
    return "\n".join(lines)


def _write_figures() -> None:
    """Work out the figures of all networks and write the file."""
    from atrous.models import MODELS

    lines = []
    for key in MODELS:
        print(key, file=sys.stderr)
        lines.append(f"{json.dumps(key)}: {json.dumps(asdict(figures_of(key)))}")
    print(write_text(_figures_file(), "{\n" + ",\n".join(lines) + "\n}\n"))


if __name__ == "__main__":
    _write_figures()
