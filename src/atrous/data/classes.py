"""The class table: which mask values, or colours, mean which class, and which count for nothing.

It comes from `classes.yaml` (`class_table.py`), from a named data set, or from the masks themselves (`discovery.py`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from atrous.class_names import is_plain
from atrous.errors import DataError
from atrous.findings import FindingError, error
from atrous.images.colors import Color, from_hex, to_hex
from atrous.types import IGNORE_INDEX

__all__ = ["Classes", "count_values", "no_color_table"]

MAX_VALUE = 65535


@dataclass(frozen=True)
class Classes:
    """What the numbers and colours of masks mean. Class k of the package is entry k of every tuple.

    Attributes:
        names: of the classes, 1 to 255 of them.
        colors: red, green, blue of each, 0 to 255.
        values: the mask values that mean the class; empty where only the colour does.
        ignore: mask values that count for nothing; they may be negative.
        ignore_colors: mask colours that count for nothing.
        color_coded: the colours were given in a table, so RGB masks are read by them; otherwise they are for display.
        discovered: nobody wrote this table; it comes from the values in masks.
        flip_pairs: classes that are each other's mirror image, such as left and right hand. Whatever mirrors an image,
            in training and in prediction, exchanges them.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...]
    values: tuple[tuple[int, ...], ...]
    ignore: tuple[int, ...] = (IGNORE_INDEX,)
    ignore_colors: tuple[Color, ...] = ()
    color_coded: bool = False
    discovered: bool = False
    flip_pairs: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.names) <= IGNORE_INDEX:
            raise DataError(
                f"a class table holds 1 to {IGNORE_INDEX} classes, not {len(self.names)}. Merge or ignore some of them."
            )
        if not len(self.names) == len(self.colors) == len(self.values):
            raise DataError(
                f"{len(self.names)} class names, {len(self.colors)} colours and {len(self.values)} lists of values do "
                "not go together. Give each class one of each."
            )
        if odd := [name for name in self.names if not is_plain(name)]:
            raise DataError(f"the class name {odd[0]!r} is blank or holds control characters. Rename the class.")
        taken: dict[Any, str] = dict.fromkeys(self.ignore, "ignore")
        for name, values in zip(self.names, self.values, strict=True):
            for value in values:
                if value in taken:
                    raise DataError(
                        f"mask value {value} means both {taken[value]!r} and {name!r}. Give it to one of them."
                    )
                taken[value] = name
        if bad := [value for values in self.values for value in values if not 0 <= value <= MAX_VALUE]:
            raise DataError(
                f"mask value {bad[0]} is not within 0 to {MAX_VALUE}, as the values of classes are. Put it under "
                "'ignore', or renumber the masks."
            )
        self._check_flip_pairs()

    def _check_flip_pairs(self) -> None:
        paired = [number for pair in self.flip_pairs for number in pair]
        for number in paired:
            if not 0 <= number < len(self.names):
                raise DataError(f"flip_pairs names class {number} of {len(self.names)}. Name classes of the table.")
            if paired.count(number) > 1:
                raise DataError(
                    f"flip_pairs names {self.names[number]!r} twice. A class has one mirror image: write pairs of two "
                    "different classes, each once."
                )

    def __len__(self) -> int:
        return len(self.names)

    def encode(self, raw: np.ndarray, *, file: str | Path, palette: Sequence[Color] | None = None) -> np.ndarray:
        """Turn a mask as stored into classes.

        Args:
            raw: (H, W) integers, or (H, W, 3) uint8 colours. A colour mask that holds only greys is read by its grey
                value where its colours are not in the table.
            file: named in the error.
            palette: the colours of the indices in `raw`, where it has such; see `palette_classes`.

        Returns:
            (H, W) uint8, 255 where ignored.

        Raises:
            DataError: if a value or colour is not in the table.
        """
        if raw.ndim == 2:
            colored = palette is not None and self.color_coded and raw.dtype == np.uint8 and raw.size
            # Where colours and values agree, as in masks of ours, the colours tell nothing more.
            if colored and not _agrees_with_values(self, tuple(palette or ())):
                classes = cv2.LUT(raw, _palette_table(self, tuple(palette or ())))
                if classes.min():
                    return classes.astype(np.uint8) - np.uint8(1)
            return self._by_value(raw, file)
        grey = bool((raw[..., 0] == raw[..., 1]).all() and (raw[..., 0] == raw[..., 2]).all())
        if self.color_coded:
            codes = _color_codes(raw)
            classes = _color_table(self)[codes]
            if classes.all():
                return (classes - 1).astype(np.uint8)
            if not grey:
                raise FindingError(_unknown_color(codes[classes == 0], raw.size // 3, file))
        if grey:
            return self._by_value(np.ascontiguousarray(raw[..., 0]), file)
        raise FindingError(no_color_table(_color_codes(raw), file))

    def palette_classes(self, palette: Sequence[Color], used: Sequence[int]) -> np.ndarray | None:
        """The class of every palette index by its colour: an index means something else in every file that has its own.

        Args:
            palette: red, green and blue of each index.
            used: the indices that occur.

        Returns:
            (256,) uint8, 255 where ignored; None where the table was written without colours, or does not hold those
            that are used: then the indices are the mask's values.
        """
        if not self.color_coded or any(index >= len(palette) for index in used):
            return None
        table = _palette_table(self, tuple(palette))
        return table.astype(np.uint8) - np.uint8(1) if table[list(used)].all() else None

    def _by_value(self, raw: np.ndarray, file: str | Path) -> np.ndarray:
        table = _value_table(self)
        if raw.dtype == np.uint8 and raw.size:
            classes = cv2.LUT(raw, table[:256])  # 512x512 bytes in 0.03 ms, numpy takes 0.3 ms
        elif raw.dtype in (np.uint8, np.uint16):
            classes = np.take(table, raw)
        else:  # -1 in signed files means "unlabelled" to many tools
            inside = (raw >= 0) & (raw <= MAX_VALUE)
            classes = np.where(inside, np.take(table, np.where(inside, raw, 0).astype(np.uint16)), np.uint16(0))
            classes[~inside & np.isin(raw, self.ignore)] = IGNORE_INDEX + 1
        if classes.size and not classes.min():
            raise FindingError(self._out_of_range(raw[classes == 0], file))
        return classes.astype(np.uint8) - np.uint8(1)  # 256 is 0 in eight bits, and 255 again

    def _out_of_range(self, unknown: np.ndarray, file: str | Path) -> Any:
        values, counts = np.unique(unknown, return_counts=True)
        some = ", ".join(f"{v} ({n} pixels)" for v, n in list(zip(values, counts, strict=True))[:5])
        more = f" and {len(values) - 5} more values" if len(values) > 5 else ""
        known = _ranges(value for values in self.values for value in values)
        message = f"label {some}{more} is not in the class table, which has {known} and ignores {_ranges(self.ignore)}"
        fix = "Correct the mask, or put the value into classes.yaml, as a class or under 'ignore'."
        if outside := ", ".join(str(value) for value in values if not 0 <= value <= MAX_VALUE):  # no class can have it
            fix = f"Correct the mask, or put {outside} under 'ignore' in classes.yaml: ignore: [255, {outside}]."
        return error("out_of_range_label", file, message, fix)

    def describe(self) -> str:
        """The table in one line: what each class is in a mask, and what is ignored.

        Example:
            >>> Classes(("soil", "crop"), ((0, 0, 0), (9, 9, 9)), ((0,), (1, 2))).describe()
            'soil 0, crop 1 or 2; ignored 255'
        """
        rows = zip(self.names, self.values, self.colors, strict=True)
        shown = [self._describe(name, values, color) for name, values, color in rows]
        more = f" and {len(shown) - 24} more" if len(shown) > 24 else ""
        ignored = ", ".join([*map(str, self.ignore), *map(to_hex, self.ignore_colors)]) or "nothing"
        return f"{', '.join(shown[:24])}{more}; ignored {ignored}"

    def _describe(self, name: str, values: Sequence[int], color: Color) -> str:
        written = " or ".join(map(str, values))
        return " ".join(part for part in (name, written, to_hex(color) if self.color_coded else "") if part)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON and YAML; `from_dict` reads them."""
        rows = zip(self.names, self.values, self.colors, strict=True)
        classes = [{"name": name, "value": list(values), "color": to_hex(color)} for name, values, color in rows]
        ignore: list[Any] = [*self.ignore, *map(to_hex, self.ignore_colors)]
        table = {"classes": classes, "ignore": ignore, "color_coded": self.color_coded}
        return table | ({"flip_pairs": self.named_flip_pairs()} if self.flip_pairs else {})

    def named_flip_pairs(self) -> list[list[str]]:
        """The pairs as `classes.yaml` has them."""
        return [[self.names[number] for number in pair] for pair in self.flip_pairs]

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> "Classes":
        """Build a table from what `to_dict` gave."""
        rows = table["classes"]
        names = tuple(row["name"] for row in rows)
        return cls(
            names=names,
            colors=tuple(from_hex(row["color"]) for row in rows),
            values=tuple(tuple(row["value"]) for row in rows),
            ignore=tuple(value for value in table["ignore"] if isinstance(value, int)),
            ignore_colors=tuple(from_hex(value) for value in table["ignore"] if isinstance(value, str)),
            color_coded=table["color_coded"],
            flip_pairs=tuple((names.index(one), names.index(other)) for one, other in table.get("flip_pairs", ())),
        )


def count_values(raw: np.ndarray, *, file: str | Path) -> dict[int, int]:
    """Pixels of each value of an index mask.

    Raises:
        DataError: if it is a colour mask that is not grey.
    """
    if raw.ndim == 3:
        if (raw[..., :1] != raw).any():
            raise FindingError(no_color_table(_color_codes(raw), file))
        raw = np.ascontiguousarray(raw[..., 0])
    if raw.dtype in (np.uint8, np.uint16):
        counts = np.bincount(raw.ravel())
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    values, numbers = np.unique(raw, return_counts=True)
    return {int(value): int(number) for value, number in zip(values, numbers, strict=True)}


def no_color_table(codes: np.ndarray, file: str | Path) -> Any:
    """The finding about an RGB mask without a table, with the lines that are to be pasted."""
    colors, counts = np.unique(codes, return_counts=True)
    order = np.argsort(-counts)
    message = f"is an RGB mask of {len(colors)} colours, and there is no colour table"
    if len(colors) > 64:
        fix = "So many colours come from JPEG or from smooth edges: export the mask again as an index PNG."
        return error("rgb_mask", file, message, fix)
    shown = [f'{{name: class {i}, color: "{_code_hex(colors[k])}"}}' for i, k in enumerate(order)]
    share = ", ".join(f"{_code_hex(colors[k])} {100 * counts[k] / codes.size:.1f} %" for k in order[:8])
    fix = f"Write classes.yaml, and give the names: classes: [{', '.join(shown)}] (shares: {share})."
    return error("rgb_mask", file, message, fix)


def _color_codes(raw: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 as one number per pixel."""
    wide = raw.astype(np.uint32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _unknown_color(codes: np.ndarray, pixels: int, file: str | Path) -> Any:
    colors, counts = np.unique(codes, return_counts=True)
    order = np.argsort(-counts)[:5]
    some = ", ".join(f"{_code_hex(colors[k])} ({counts[k]} pixels)" for k in order)
    more = f" and {len(colors) - 5} more" if len(colors) > 5 else ""
    message = f"colour {some}{more} of {pixels} pixels is not in the colour table"
    return error(
        "out_of_range_label",
        file,
        message,
        "Correct the mask, or put the colour into classes.yaml, as a class or under 'ignore'.",
    )


def _code_hex(code: Any) -> str:
    return f"#{int(code):06x}"


def _ranges(values: Iterable[int]) -> str:
    """Numbers as words: 0-11, 20."""
    ordered, parts = sorted(values), []
    start = 0
    for i in range(1, len(ordered) + 1):
        if i == len(ordered) or ordered[i] != ordered[i - 1] + 1:
            first, last = ordered[start], ordered[i - 1]
            parts.append(str(first) if first == last else f"{first}-{last}")
            start = i
    return ", ".join(parts) or "none"


@lru_cache(maxsize=8)
def _value_table(classes: Classes) -> np.ndarray:
    """Class + 1 of every mask value; 0 marks values that are not in the table."""
    table = np.zeros(MAX_VALUE + 1, np.uint16)
    for number, values in enumerate(classes.values):
        table[list(values)] = number + 1
    table[[value for value in classes.ignore if 0 <= value <= MAX_VALUE]] = IGNORE_INDEX + 1
    return table


@lru_cache(maxsize=64)
def _palette_table(classes: Classes, palette: tuple[Color, ...]) -> np.ndarray:
    """Class + 1 of every index of a palette; 0 marks those whose colour is not in the table."""
    codes = np.array([red << 16 | green << 8 | blue for red, green, blue in palette[:256]], np.int64)
    table = np.zeros(256, np.uint16)
    table[: len(codes)] = _color_table(classes)[codes]
    return table


@lru_cache(maxsize=64)
def _agrees_with_values(classes: Classes, palette: tuple[Color, ...]) -> bool:
    """Whether each index of a palette whose colour is in the table is there as a value too, of the same class."""
    by_color, by_value = _palette_table(classes, palette), _value_table(classes)[:256]
    return bool(((by_color == 0) | (by_color == by_value)).all())


@lru_cache(maxsize=4)
def _color_table(classes: Classes) -> np.ndarray:
    """Class + 1 of every colour; 0 marks unknown ones. Of its 32 MB only the pages that are touched take memory."""
    table = np.zeros(1 << 24, np.uint16)
    for number, (red, green, blue) in enumerate(classes.colors):
        table[red << 16 | green << 8 | blue] = number + 1
    for red, green, blue in classes.ignore_colors:
        table[red << 16 | green << 8 | blue] = IGNORE_INDEX + 1
    return table
