"""What a look at a data folder finds: one `Finding` per problem, and the `CheckReport` that holds them all."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any, Literal

from atrous.errors import DataError

__all__ = ["CheckReport", "Finding", "FindingError", "FindingsError", "error", "readable", "warning"]

_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")

SHOWN = 10
"""Findings of one kind that the text of a report lists; the report itself holds them all."""


@dataclass(frozen=True)
class Finding:
    """One problem of a data folder.

    Attributes:
        severity: an error stops training, a warning does not.
        code: stable name of the kind of problem, such as `size_mismatch`.
        file: where it is.
        message: what came and what is needed, without the file.
        fix: what to do, one sentence or two.
    """

    severity: Literal["error", "warning"]
    code: str
    file: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}. {self.fix}"


def error(code: str, file: object, message: str, fix: str) -> Finding:
    """A problem that stops training."""
    return Finding("error", code, *map(readable, (file, message, fix)))


def warning(code: str, file: object, message: str, fix: str) -> Finding:
    """A problem that one may live with."""
    return Finding("warning", code, *map(readable, (file, message, fix)))


def readable(text: object) -> str:
    r"""A text without the bytes of file names that are no UTF-8, which no terminal prints: caf\xe9.png.

    JSON may hold other halves of letters, which stand for nothing: they are shown as \ud800.
    """
    whole = _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", str(text))
    return whole.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class FindingError(DataError):
    """A finding raised where one file is read alone; the doctor catches it and reads on.

    A plain text is taken too, because a loader worker's error is built again from its text alone.
    """

    def __init__(self, finding: Finding | str) -> None:
        super().__init__(str(finding))
        self.finding = finding if isinstance(finding, Finding) else error("data", "", finding, "")

    def __reduce__(self) -> tuple[Any, ...]:
        return (FindingError, (self.finding if self.finding.file else str(self),))


class FindingsError(DataError):
    """Several findings at once. Its text has a line for each, after one that says how many there are.

    Args:
        head: the first line.
        findings: all of them.
        shown: how many the text lists.
    """

    def __init__(self, head: str, findings: Sequence[Finding], shown: int = 200) -> None:
        self.head, self.findings = head, tuple(findings)
        more = [f"... and {len(findings) - shown} more"] if len(findings) > shown else []
        lines = (" ".join(str(finding).splitlines()) for finding in findings[:shown])
        super().__init__("\n".join([head, *lines, *more]))

    def __reduce__(self) -> tuple[Any, ...]:
        return (FindingsError, (self.head, self.findings))


@dataclass(frozen=True)
class CheckReport:
    """Everything that a check found.

    Attributes:
        findings: in the order of the splits and their images, problems of the whole folder last.
        summary: plain values, ready for JSON; `doctor.py` says which.
    """

    findings: tuple[Finding, ...]
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that stop training."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that do not."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def raise_errors(self) -> None:
        """Raise the first error, if there is one, with the count of the others.

        Raises:
            DataError: if the check found an error.
        """
        raise_first(self.errors, str(self.summary.get("root", "DATA")))

    def frequencies(self) -> dict[str, list[int]]:
        """Class counts over the training images that were read, for class weights.

        Returns:
            `pixels`: of each class. `totals`: labelled pixels of the images in which the class occurs. Ignored pixels
            count in neither.
        """
        classes = self.summary.get("classes", [])
        return {"pixels": [c["pixels"] for c in classes], "totals": [c["totals"] for c in classes]}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"summary": self.summary, "findings": [asdict(finding) for finding in self.findings]}

    def __str__(self) -> str:
        return self.text()

    def text(self, shown: int | None = SHOWN) -> str:
        """For people.

        Args:
            shown: findings of one kind that are listed; None lists all.
        """
        return "\n".join([*_describe(self.summary), "", *_list(self, shown)])


def raise_first(errors: tuple[Finding, ...], root: str) -> None:
    """Raise the first of several errors and say how many there are.

    Raises:
        DataError: if there is any.
    """
    if not errors:
        return
    first = errors[0]
    if len(errors) == 1:
        raise FindingError(first)
    more = f"{len(errors) - 1} more: run `atrous check {root}` to list them all."
    raise FindingError(Finding(first.severity, first.code, first.file, first.message, f"{first.fix} {more}"))


def _describe(summary: dict[str, Any]) -> Iterator[str]:
    """What is there, line by line."""
    splits = ", ".join(f"{count} {name}" for name, count in summary.get("splits", {}).items())
    layout = f" (layout: {summary['layout']})" if summary.get("layout", "folder") != "folder" else ""
    yield f"{summary.get('root', '')}: {splits or 'no images'}{layout}"
    if sizes := summary.get("sizes"):
        small, middle, large = (f"{h} x {w}" for h, w in (sizes["min"], sizes["median"], sizes["max"]))
        many = f"{small} to {large}, median {middle}, {sizes['distinct']} sizes"
        channels, kinds = (" or ".join(summary[key]) for key in ("channels", "kinds"))
        yield f"height x width: {small if sizes['distinct'] == 1 else many}; channels: {channels}; numbers: {kinds}"
    if summary.get("mean"):
        numbers = ", ".join(f"{m:.4g} ± {s:.4g}" for m, s in zip(summary["mean"], summary["std"], strict=True))
        yield f"mean ± standard deviation of each channel, over {summary['read']['train']} training images: {numbers}"
    if summary.get("landmarks"):
        yield ""
        yield from _landmarks(summary["landmarks"])
    elif summary.get("classes"):
        yield ""
        yield from _table(summary)
        if summary.get("discovered"):
            yield "(no classes.yaml: these are the values found in the masks)"


def _table(summary: dict[str, Any]) -> Iterator[str]:
    """One line per class."""
    width = max(7, *(len(c["name"]) for c in summary["classes"]))
    yield f"{'class':<{width}}  {'share of training pixels':>24}  {'in images':>9}  mask value"
    for c in summary["classes"]:
        share, values = f"{100 * c['share']:.3f} %", ", ".join(map(str, c["values"])) or c["color"]
        yield f"{c['name']:<{width}}  {share:>24}  {c['images']:>9}  {values}"
    ignored, labelled = summary["ignored"].get("train", 0), sum(summary["pixels"].get("train", [0]))
    share = f"{100 * ignored / max(ignored + labelled, 1):.3f} %"
    yield f"{'ignored':<{width}}  {share:>24}  {'':>9}  {', '.join(map(str, summary.get('ignore', [])))}"


def _landmarks(rows: list[dict[str, Any]]) -> Iterator[str]:
    """One line per landmark."""
    width = max(8, *(len(row["name"]) for row in rows))
    yield f"{'landmark':<{width}}  {'visible':>8}  {'hidden':>8}  {'absent':>8}  mirror image"
    for row in rows:
        counts = "  ".join(f"{row[key]:>8}" for key in ("visible", "hidden", "absent"))
        yield f"{row['name']:<{width}}  {counts}  {row['mirror']}".rstrip()


def _list(report: CheckReport, shown: int | None) -> Iterator[str]:
    """The findings, at most so many of a kind, errors first."""
    counts = [f"{len(group)} {word}{'s' if len(group) != 1 else ''}" for group, word in
              ((report.errors, "error"), (report.warnings, "warning"))]  # fmt: skip
    ordered = sorted(report.findings, key=lambda finding: (finding.severity, finding.code))
    for (severity, code), group in groupby(ordered, key=lambda finding: (finding.severity, finding.code)):
        alike = list(group)
        for finding in alike[:shown]:
            yield f"{severity} [{code}] {finding}"
        if shown is not None and len(alike) > shown:
            yield f"{severity} [{code}] ... and {len(alike) - shown} more; --all lists them"
    partly = "" if report.summary.get("complete", True) else " in what was read"
    yield f"{' and '.join(counts)}{partly}" if report.findings else f"no problem found{partly}"
