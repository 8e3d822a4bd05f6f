"""Where the data of a run is, as its run.json remembers it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["find_data", "full_paths"]


def full_paths(out: Path, saved: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can hold of it: paths that stay true elsewhere, and the way from the run to its data."""
    values: dict[str, Any] = {key: value and str(value) for key, value in saved.items()}
    for key in ("data", "from", "classes"):
        if values.get(key) and Path(values[key]).exists():  # a name on the Hub stays a name
            values[key] = str(Path(values[key]).absolute())
    if values.get("data"):
        values["data_from_run"] = os.path.relpath(values["data"], out.resolve())
    return values


def find_data(run: Path, saved: Mapping[str, Any]) -> Path | None:
    """The data folder of a run: where it was, or where it is now that run and data have moved together; else None.

    Args:
        run: its folder.
        saved: what its run.json says; older ones have the path as it was typed, seen from wherever that was.
    """
    if not saved.get("data"):
        return None
    ways = [Path(saved["data"])]
    if saved.get("data_from_run"):
        ways.append(run.resolve() / saved["data_from_run"])
    elif not ways[0].is_absolute():
        ways += [above / ways[0] for above in run.resolve().parents]
    return next((way.absolute() for way in ways if way.exists()), None)
