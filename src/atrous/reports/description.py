"""One network stage by stage: what each costs and sees, beside what its paper says."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from atrous.analysis import ReceptiveField, Stage
from atrous.models import Paper
from atrous.reports.columns import columns

__all__ = ["Description"]


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
    paper: Paper | None
    size: tuple[int, int]
    num_classes: int
    stages: Sequence[Stage]
    parameters: int
    field: ReceptiveField | None

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
        table = columns(head, [*rows, total], right={3, 4, 5, 6})
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
        table = columns(("fact", "paper", "ours"), rows)
        facts = self.paper.facts if self.paper else ()
        return "\n".join([table, *(["", "The paper:"] if facts else []), *(f"  {fact}" for fact in facts)])

    def _paper_parameters(self) -> str:
        given = self.paper.parameters if self.paper else None
        if given is None:
            return "not given"
        return f"{given:,} ({'equal' if given == self.parameters else f'{self.parameters - given:+,} here'})"

    def _reason(self) -> str:
        return f" (by {self.field.unbounded_by})" if self.field and self.field.unbounded_by else ""


def _is_regular(stage: Stage) -> bool:
    """Whether a stage keeps a grid of the image; a map pooled to a few cells does not."""
    return stage.receptive_field is None or stage.receptive_field.stride is not None


def _sees(field: ReceptiveField | None) -> str:
    if field is None:
        return "not known"
    if field.vertical is None or field.horizontal is None:
        return "whole image"
    return " x ".join(str(size) for size in dict.fromkeys((field.vertical.size, field.horizontal.size)))


def _memory(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
