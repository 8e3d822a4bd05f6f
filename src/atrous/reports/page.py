"""The page itself: what it holds, as plain data, and how that becomes one HTML file."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from atrous.disk import write_text
from atrous.findings import readable
from atrous.reports import pictures
from atrous.reports.figures import learning_curves
from atrous.reports.telling import Fact
from atrous.reports.views import CHANGE_KEY, Panel, PanelViews, error_key
from atrous.tasks import MEAN_IOU, Measure

__all__ = ["Panel", "ReportContent", "write_report"]

MAX_BYTES = 6_000_000
"""Pictures are made smaller until the whole page stays below this."""
SIDES = (640, 480, 320, 200, 128)
"""Longest side of a picture, in the order in which they are tried."""
COLUMNS = {
    "dice": ("Dice", "twice the overlap, divided by the sum of both areas"),
    "precision": (
        "Precision",
        "the share of a class's decided pixels that are of it: low where there are false alarms",
    ),
    "accuracy": ("Recall", "the share of a class's true pixels that were given to it: low where much is missed"),
    "boundary_f1": (
        "Boundary F1",
        "how much of a class's outline is drawn within 0.75 % of the image's diagonal of the true one",
    ),
}
"""Scores of classes beside the IoU: their titles and what they say."""
LISTED = 12
"""Findings, and pairs of confused classes, that are shown one by one."""


@dataclass(frozen=True)
class ReportContent:
    """Everything that the page tells. Only the title and the classes are needed; a section without content says so.

    Attributes:
        title: heading of the page.
        class_names: one for every class.
        colors: red, green, blue in 0..255 for every class.
        bare: the class that is not painted over images, such as the background, or None.
        cautions: sentences that must be read before anything else; none where all is well.
        lead: one or two sentences that sum the run up.
        headline: (label, value, explanation) of the numbers to see first.
        data_facts: (label, value) of the data set.
        shares: share of the labelled training pixels, 0..1, for every class.
        examples: images with their truth.
        seen: crops as the network got them in training, augmented, in the order of its first steps.
        findings: what the check found: `severity`, `file`, `message`, `fix`; None where there was no check.
        log: rows of log.csv, see `learning_curves`.
        monitor: the figure of the log that chose the weights.
        evaluation: of an evaluation `split`, `matrix` (true, predicted) and `summary`; `table`, its text, where the
            summary has no `iou` by class; `rank`, where images are ranked by another figure than mean IoU. Or None.
        best: images that were segmented best, best first.
        worst: images that were segmented worst, worst first.
        refined: images before and after the refinement; none where masks are not refined.
        refinement: what refines them, or "".
        tuned: what was chosen by validation images: their number as `images`; `before` and `after`, IoU by class;
            `chosen`, methods; `left_out`, method to class to IoU before and what it would be. Or None.
        environment: (label, value) of times, machine and versions.
        command: the command that repeats the run, or "".
        recipe: the recipe as YAML, or "".
    """

    title: str
    class_names: Sequence[str]
    colors: Sequence[pictures.Color]
    bare: int | None = None
    cautions: Sequence[str] = ()
    lead: str = ""
    headline: Sequence[tuple[str, str, str]] = ()
    data_facts: Sequence[Fact] = ()
    shares: Sequence[float] = ()
    examples: Sequence[Panel] = ()
    seen: Sequence[Panel] = ()
    findings: Sequence[Mapping[str, str]] | None = None
    log: Sequence[Mapping[str, Any]] = ()
    monitor: Measure = MEAN_IOU
    evaluation: Mapping[str, Any] | None = None
    best: Sequence[Panel] = ()
    worst: Sequence[Panel] = ()
    refined: Sequence[Panel] = ()
    refinement: str = ""
    tuned: Mapping[str, Any] | None = None
    environment: Sequence[Fact] = ()
    command: str = ""
    recipe: str = field(default="", repr=False)


def write_report(path: str | Path, content: ReportContent) -> Path:
    """Write the page: one file, no resource outside it, at most 6 MB.

    Args:
        path: the HTML file; its folder must exist.
        content: what to tell.

    Returns:
        The path of the written file.

    Raises:
        UsageError: if the disk refuses.
    """
    target = Path(path)
    for side in SIDES:
        page = readable(_render(content, side))
        if len(page.encode()) <= MAX_BYTES:
            break
    return write_text(target, page)


def _render(content: ReportContent, side: int) -> str:
    import jinja2

    folder = files("atrous.reports")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = environment.from_string((folder / "page.html.j2").read_text(encoding="utf-8"))
    views = PanelViews(content.colors, content.bare, side, content.shares)
    shown, count = [*content.best, *content.worst], len(content.class_names)
    evaluation = content.evaluation
    matrix = evaluation["matrix"] if evaluation else []
    exclusive = matrix if np.ndim(matrix) == 2 else []  # where classes may overlap, each has a matrix of its own
    return template.render(
        content=content,
        css=(folder / "page.css").read_text(encoding="utf-8"),
        figures=learning_curves(content.log, content.monitor),
        legend=[(name, _hex(color)) for name, color in zip(content.class_names, content.colors, strict=True)],
        examples=[views.show_example(panel) for panel in content.examples],
        seen=[views.show_example(panel) for panel in content.seen],
        best=[views.compare(panel) for panel in content.best],
        worst=[views.compare(panel) for panel in content.worst],
        refined=[views.show_refined(panel) for panel in content.refined],
        error_key=[
            (words, _hex(color)) for words, color in error_key(shown, content.bare, count, ranked=bool(content.shares))
        ],
        change_key=[(words, _hex(color)) for words, color in CHANGE_KEY],
        errors=[f for f in content.findings or () if f["severity"] == "error"],
        warnings=[f for f in content.findings or () if f["severity"] != "error"],
        listed=LISTED,
        rank=(evaluation or {}).get("rank", MEAN_IOU).words,
        class_rows=_class_rows(content) if evaluation and "iou" in evaluation["summary"] else [],
        columns=[(key, *words) for key, words in COLUMNS.items() if evaluation and evaluation["summary"].get(key)],
        confusion=_confusion(exclusive),
        mistakes=_mistakes(exclusive, content.class_names) if exclusive else [],
    )


def _class_rows(content: ReportContent) -> list[dict[str, Any]]:
    """One row per class: its scores, and how much of the data it is."""
    evaluation = content.evaluation or {}
    summary, matrix = evaluation["summary"], np.asarray(evaluation["matrix"], dtype=np.float64)
    # Where classes may overlap, each has a matrix of its own: no and yes, as it is and as it was decided.
    true = matrix[:, 1].sum(1) if matrix.ndim == 3 else matrix.sum(1)
    total = max(matrix[0].sum() if matrix.ndim == 3 else matrix.sum(), 1.0)
    rows = []
    for k, (name, color) in enumerate(zip(content.class_names, content.colors, strict=True)):
        rows.append(
            {
                "name": name,
                "color": _hex(color),
                **{key: _finite(summary.get(key, {}).get(name)) for key in ("iou", *COLUMNS)},
                "trained": content.shares[k] if k < len(content.shares) else None,
                "share": float(true[k] / total),
            }
        )
    return rows


def _confusion(matrix: Sequence[Sequence[int]]) -> list[list[tuple[float | None, str]]]:
    """Share of the row (None where the class has no pixel) and the count as short text, for every cell."""
    rows = []
    for row in matrix:
        total = sum(row)
        rows.append([(count / total if total else None, _short(count)) for count in row])
    return rows


def _mistakes(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The pairs of classes that are taken for one another most often, by their share of all wrong pixels."""
    counts = np.asarray(matrix, dtype=np.int64)
    wrong = counts - np.diag(np.diag(counts))
    total = int(wrong.sum())
    order = np.argsort(wrong, axis=None)[::-1][:LISTED]
    pairs = [divmod(int(place), len(names)) for place in order]
    return [
        {"truth": names[i], "taken": names[j], "share": wrong[i, j] / total, "row": wrong[i, j] / counts[i].sum()}
        for i, j in pairs
        if wrong[i, j] > 0
    ]


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _short(count: int) -> str:
    """A count in at most five characters.

    Example:
        >>> _short(999), _short(12_345), _short(1_234_567)
        ('999', '12 k', '1.2 M')
    """
    for size, letter in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if count >= size:
            value = count / size
            return f"{value:.1f} {letter}" if value < 10 else f"{value:.0f} {letter}"
    return str(count)


def _hex(color: pictures.Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
