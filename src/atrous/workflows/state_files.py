"""The files in which a run says what it is and how it went, each refused by name where it holds something else."""

import json
from pathlib import Path
from typing import Any

from atrous.errors import UsageError
from atrous.tables import Place, check_value
from atrous.training.files import read_rows as read_log

__all__ = ["read_check", "read_json", "read_log"]

_SUMMARY = {
    "splits": dict[str, int],
    "sizes": dict[str, Any],
    "kind": str | None,
    "num_channels": int | None,
    "classes": list[dict[str, Any]],
    "mean": list[float],
    "std": list[float],
}
"""What a report tells of the doctor's summary."""


def read_json(path: Path, hint: Any = Any) -> Any:
    """A JSON file, or None where there is none.

    Args:
        path: the file.
        hint: the type of what it holds.

    Raises:
        UsageError: if it is not JSON, or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        why = "too deeply nested" if isinstance(error, RecursionError) else error
        raise UsageError(f"{path}: cannot be read ({why}); remove it and make it again.") from error
    try:
        return check_value(found, hint, what="the content", place=Place(str(path)), error=UsageError)
    except UsageError as error:
        raise UsageError(f"{str(error).rstrip('.')}; remove the file and make it again.") from None


def read_check(path: Path) -> tuple[dict[str, Any], list[dict[str, str]] | None]:
    """What the doctor wrote, `check.json`: its summary, and its findings or None; nothing where there is no file.

    Raises:
        UsageError: if the file holds something else.
    """
    report = read_json(path, dict[str, dict[str, Any] | list[dict[str, str]]]) or {}
    place, summary = Place(str(path)) / "summary", report.get("summary", {})
    try:
        summary = check_value(summary, dict[str, Any], what="summary", place=place, error=UsageError)
        for key in _SUMMARY.keys() & summary.keys():
            check_value(summary[key], _SUMMARY[key], what=key, place=place, error=UsageError)
        for row in summary.get("classes", []):
            for key, hint in (("name", str), ("share", float)):
                check_value(row.get(key), hint, what=key, place=place / "classes", error=UsageError)
        findings = check_value(report.get("findings"), list | None, what="findings", place=place, error=UsageError)
    except UsageError as error:
        raise UsageError(f"{str(error).rstrip('.')}; remove the file and make it again.") from None
    return summary, findings
