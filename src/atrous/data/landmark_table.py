"""Reading `landmarks.yaml`: which landmarks of a folder are meant, in which order, and which a mirror exchanges."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from atrous.annotations.landmarks import LandmarkTable, select_landmarks
from atrous.data.classes import Classes
from atrous.data.datasets.landmarks import landmark_classes
from atrous.data.pairs import Pair
from atrous.errors import did_you_mean
from atrous.findings import FindingError, error

__all__ = ["choose_landmarks"]

_FILES = ("landmarks.yaml", "landmarks.yml")
_KEYS = ("landmarks", "flip_pairs")

Splits = Mapping[str, Sequence[Pair]]


def choose_landmarks(
    root: Path, given: str | Path | Classes | None, splits: Splits, known: Classes
) -> tuple[Classes, dict[str, tuple[Pair, ...]]]:
    """The landmarks that are meant, and the pairs with these alone, in their order.

    Args:
        root: of the data, which may hold `landmarks.yaml`: `landmarks`, a list of names, and `flip_pairs`, a list of
            two names each. Without the first, all are meant; without the second, the names tell.
        given: such a file to use instead; or a table that is taken as it is, but for its flip pairs where it has none.
        splits: as found, with the landmarks of `known`.
        known: the names in the files, and the pairs that these tell.

    Raises:
        FindingError: if the file is wrong, or names a landmark that the data has not.
    """
    if isinstance(given, Classes):
        names, pairs, where = list(given.names), given.named_flip_pairs() or None, root
    else:
        own = next((root / name for name in _FILES if (root / name).is_file()), None)
        file = Path(given) if given is not None else own
        if file is None:
            return known, {split: tuple(pairs) for split, pairs in splits.items()}
        names, pairs, where = *_read(file, known.names), file
    for name in (*names, *(name for pair in pairs or () for name in pair)):
        if name not in known.names:
            fix = did_you_mean(name, known.names)
            raise FindingError(
                error("landmark_names", where, f"names the landmark {name!r}, which {root} has not", fix)
            )
    table = select_landmarks(LandmarkTable(known.names, known.flip_pairs, ()), names)
    if pairs is not None:
        numbers = tuple((names.index(one), names.index(other)) for one, other in pairs if {one, other} <= {*names})
        table = replace(table, pairs=numbers)
    return landmark_classes(table, where), _selected(splits, known, names)


def _selected(splits: Splits, known: Classes, names: Sequence[str]) -> dict[str, tuple[Pair, ...]]:
    """The pairs with some of their landmarks."""
    if tuple(names) == known.names:
        return {split: tuple(pairs) for split, pairs in splits.items()}

    def one(pair: Pair) -> Pair:
        if pair.landmarks is None:
            return pair
        table = select_landmarks(LandmarkTable(known.names, (), (pair.landmarks,)), names)
        return pair._replace(landmarks=table.entries[0])

    chosen = {split: [one(pair) for pair in pairs] for split, pairs in splits.items()}
    return {
        split: tuple(p for p in pairs if p.landmarks is None or p.landmarks.visibility.any())
        for split, pairs in chosen.items()
    }


def _read(file: Path, known: Sequence[str]) -> tuple[list[str], list[list[str]] | None]:
    """The names and the pairs of a file."""
    try:
        table = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as problem:
        message = f"cannot be read ({problem.strerror})"
        raise FindingError(error("landmark_names", file, message, "Check the name.")) from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as problem:
        mark = getattr(problem, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        message = f"is not YAML: {getattr(problem, 'problem', problem)}"
        raise FindingError(error("landmark_names", f"{file}{line}", message, "Correct the line.")) from None
    fix = "Write: landmarks: [nose, left ear, right ear], and flip_pairs: [[left ear, right ear]]."
    if not isinstance(table, dict) or not table:
        raise FindingError(error("landmark_names", file, "names no landmarks and no flip_pairs", fix))
    if unknown := [key for key in table if key not in _KEYS]:
        raise FindingError(
            error("landmark_names", file, f"unknown key {unknown[0]!r}", did_you_mean(unknown[0], _KEYS))
        )
    names = _texts(table.get("landmarks", list(known)))
    if not names or len(set(names)) != len(names):
        raise FindingError(error("landmark_names", file, "'landmarks' must be a list of different names", fix))
    if "flip_pairs" not in table:
        return names, None
    rows = table["flip_pairs"]
    pairs = [_texts(row) for row in rows] if isinstance(rows, list) else [[]]
    told = [name for pair in pairs for name in pair]
    if any(len(pair) != 2 for pair in pairs) or len(set(told)) != len(told):
        raise FindingError(error("landmark_names", file, "'flip_pairs' must be a list of pairs, each name once", fix))
    return names, pairs


def _texts(row: Any) -> list[str]:
    """A list of names; whole numbers are names too. Nothing, where it is something else."""
    good = isinstance(row, list) and all(isinstance(name, str | int) and not isinstance(name, bool) for name in row)
    return [str(name) for name in row] if good else []
