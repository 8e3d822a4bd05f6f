"""A class table from the values of masks, where nobody wrote one; what could be read in two ways is refused.

- masks of two values, {0, 1} or {0, 255}, are background and foreground;
- otherwise 255 is ignored, and the other values are the classes "class 0", "class 1", ... If most numbers from 0 to the
  largest occur, the missing ones are classes too, so that a class keeps its mask value as its number;
- palette masks are read by index, and the colours of their palette are the classes' colours.

Refused, with the lines to write or the folder to rename:

- palettes that give one index different colours in different files: an index then means nothing;
- 255 beside 0 alone in some masks, and beside 1 in others: it may be the object or the pixels that count for nothing;
- 255 as the last of a few grey levels, such as 0, 128, 255: it may be a class or ignored;
- masks of 0 and 255 with all greys between them, or with values that lie in thin pieces between others alone: they were
  resized or smoothed;
- masks that number objects: 1, 2, 3, ..., each in one piece;
- negative values, which many tools write for "unlabelled", and nobody says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np

from atrous.data.classes import Classes, count_values
from atrous.data.instance_maps import INVENTED, invented_values
from atrous.findings import Finding, FindingError, error
from atrous.images.colors import Color, default_colors, to_hex
from atrous.images.files import JPEG_SUFFIXES, MaskFile, read_mask, read_palette
from atrous.types import IGNORE_INDEX

__all__ = ["Palettes", "discover_classes", "mixed_255"]

SMOOTHED = 8
"""Greys between 0 and 255 from which on masks of two values count as smoothed."""
SMOOTHED_SHARE = 0.2
"""Most pixels that such greys may be: edges are thin."""
NUMBERED = 8
"""Values in one mask from which on they may be numbers of objects."""
FEW_MASKS, FEW_COUNTS = 6, 4
"""Masks that have to number fewer objects than that, and different counts among them, to be taken for numbered."""
OBJECT_PIXELS = 9
"""Mean size of what is taken for numbered objects."""


@dataclass
class _Mask:
    """One mask that was read: its file, the pixels of each value, and whether its values look like object numbers."""

    file: MaskFile
    counts: dict[int, int]
    numbered: bool
    few: int
    invented: set[int]


@dataclass
class Palettes:
    """The colour of every palette index in use, over files, and the first two files that disagree."""

    colors: dict[int, tuple[Color, str]] = field(default_factory=dict)
    conflict: tuple[int, Color, str, Color, str] | None = None

    def add(self, palette: Sequence[Color], used: Sequence[int], file: object) -> None:
        """Take a file's palette; indices that no pixel has say nothing."""
        for index in used:
            if index >= len(palette) or self.conflict is not None:
                continue
            color, first = self.colors.setdefault(index, (palette[index], str(file)))
            if color != palette[index]:
                self.conflict = (index, color, first, palette[index], str(file))

    def finding(self) -> Finding | None:
        """The error about two files, or None."""
        if self.conflict is None:
            return None
        index, color, first, other, file = self.conflict
        message = (
            f"gives palette index {index} the colour {to_hex(other)}, and {first} gives it {to_hex(color)}: the files "
            "have palettes of their own, so an index is no class"
        )
        fix = f'Write classes.yaml with the colours: classes: [{{name: ..., color: "{to_hex(color)}"}}, ...].'
        return error("mixed_palettes", file, message, fix)


def discover_classes(masks: Sequence[MaskFile], *, file: str | Path) -> Classes:
    """Derive the class table from the values of masks; every mask that is given is read.

    Args:
        masks: files; those that cannot be read are passed over.
        file: the folder, named in the errors.

    Raises:
        DataError: if the masks are RGB or JPEG, hold more than 255 classes, or can be read in more than one way.
    """
    palettes = Palettes()
    read = list(_read(masks, palettes))
    counts: dict[int, int] = {}
    for mask in read:
        for value, count in mask.counts.items():
            counts[value] = counts.get(value, 0) + count
    lossy = [mask for mask in masks if isinstance(mask, Path) and mask.suffix.lower() in JPEG_SUFFIXES]
    if lossy and len(counts) > 2:
        message = f"is a JPEG, which changes values near every edge: {len(counts)} values were found in the masks"
        _refuse("lossy_mask", lossy[0], message, "Export the masks again as PNG.")
    if (finding := palettes.finding()) is not None:
        raise FindingError(finding)
    names, values, ignore = _table(counts, file)
    _must_be_plain(read, counts, file)
    colors = list(default_colors(names))
    for number, (value,) in enumerate(values):
        colors[number] = palettes.colors.get(value, (colors[number], ""))[0]
    return Classes(names, tuple(colors), values, ignore, discovered=True)


def _read(masks: Sequence[MaskFile], palettes: Palettes) -> Iterator[_Mask]:
    for mask in masks:
        try:
            raw = read_mask(mask)
            palette = read_palette(mask)
        except Exception:  # decoders raise what they like; the check names it when it comes to it
            continue
        counts = count_values(raw, file=str(mask))
        if palette is not None:
            palettes.add(palette, list(counts), mask)
        plane = raw if raw.ndim == 2 else raw[..., 0]
        few = min(counts) >= 0 and len(counts) < IGNORE_INDEX
        yield _Mask(
            mask,
            counts,
            _numbers_objects(plane, counts),
            _few_objects(plane, counts),
            invented_values(plane) if few else set(),
        )


def _table(
    counts: Mapping[int, int], file: str | Path
) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Names, values and ignored values."""
    if set(counts) in ({0, 255}, {255}):
        return ("background", "foreground"), ((0,), (255,)), ()
    found = sorted(set(counts) - {IGNORE_INDEX}) or [0]
    if found[0] < 0:
        negative = [value for value in found if value < 0]
        rows = ", ".join(f"{{name: class {value}, value: {value}}}" for value in found if value >= 0)
        ignored = ", ".join(map(str, [*negative, 255]))
        message = f"its masks hold {', '.join(map(str, negative[:8]))}, which is no class"
        fix = f"If it means unlabelled, write classes.yaml: classes: [{rows}] and ignore: [{ignored}]."
        _refuse("out_of_range_label", file, message, fix)
    if len(found) > IGNORE_INDEX:
        message = f"its masks hold {len(found)} values, and a class table holds at most {IGNORE_INDEX}"
        fix = "If they number objects, rename masks/ to instances/; if they are pictures, give classes.yaml."
        _refuse("too_many_classes", file, message, fix)
    numbers = range(max(found[-1] + 1, 2)) if _dense(found) else found
    names = ("background", "foreground") if len(numbers) == 2 else tuple(f"class {number}" for number in numbers)
    return names, tuple((number,) for number in numbers), (IGNORE_INDEX,)


def _dense(found: Sequence[int]) -> bool:
    """Most numbers up to the largest occur."""
    return found[-1] < 2 * len(found) and found[-1] < IGNORE_INDEX


def _even(levels: Sequence[int]) -> bool:
    """Values from 0 to 255 in equal steps, but for rounding: how drawing programs show classes as greys."""
    step = 255 / (len(levels) - 1)
    return len(levels) <= SMOOTHED and all(abs(value - k * step) <= 1 for k, value in enumerate(levels))


def _must_be_plain(read: Sequence[_Mask], counts: Mapping[int, int], file: str | Path) -> None:
    """Refuse masks whose values could mean two things."""
    numbered = [mask for mask in read if mask.numbered]
    many = [mask for mask in read if len(mask.counts) > NUMBERED]
    if not many and _numbers_few(read):
        numbered = [mask for mask in read if mask.few]
    if numbered and len(numbered) >= 0.9 * len(many):
        top = max(numbered, key=lambda mask: len(mask.counts))
        message = (
            f"holds the values 1 to {max(top.counts)}, each in one piece: they look like numbers of objects, not like "
            f"classes, as in {len(numbered)} of {len(read)} masks"
        )
        fix = "Rename masks/ to instances/ to learn objects; or write classes.yaml if they are classes."
        _refuse("numbered_objects", top.file, message, fix)
    between = {value: count for value, count in counts.items() if 0 < value < 255} if 255 in counts else {}
    if len(between) >= SMOOTHED and sum(between.values()) < SMOOTHED_SHARE * sum(counts.values()):
        worst = max(read, key=lambda mask: sum(0 < value < 255 for value in mask.counts))
        message = f"holds 0, 255 and {sum(0 < value < 255 for value in worst.counts)} greys between: it was smoothed"
        fix = "Resize masks with nearest neighbour, or set them to 255 from 128 on and to 0 below."
        _refuse("smoothed_mask", worst.file, message, fix)
    _must_be_drawn(read, counts)
    if 255 not in counts:
        return
    alone = next((mask for mask in read if 255 in mask.counts and set(mask.counts) <= {0, 255}), None)
    beside = next((mask for mask in read if 1 in mask.counts and 255 not in mask.counts), None)
    if set(between) == {1} and alone is not None and beside is not None:
        raise FindingError(mixed_255(alone.file, beside.file))
    levels = sorted(counts)
    if between and levels[-1] == 255 and _even(levels):
        rows = ", ".join(f"{{name: class {value}, value: {value}}}" for value in levels[:8])
        message = f"its masks hold {', '.join(map(str, levels[:8]))}: 255 may be a class, or count for nothing"
        fix = f"Write classes.yaml, with 255 as a class or under 'ignore': classes: [{rows}]."
        _refuse("ambiguous_255", file, message, fix)


def _must_be_drawn(read: Sequence[_Mask], counts: Mapping[int, int]) -> None:
    """Refuse values that interpolation invented in all masks that hold them."""
    thick = {value for mask in read for value in mask.counts if value not in mask.invented}
    if len(invented := sorted(set(counts) - thick)) < INVENTED:
        return
    worst = max(read, key=lambda mask: len(mask.invented))
    shown = f"{', '.join(map(str, invented[:8]))}{', ...' if len(invented) > 8 else ''}"
    message = (
        f"holds {shown} in thin pieces between other values alone, as all masks do: it was resized by interpolation"
    )
    fix = "Resize masks with nearest neighbour; or write classes.yaml, if these are classes."
    _refuse("resampled_mask", worst.file, message, fix)


def mixed_255(alone: object, beside: object) -> Finding:
    """The error about masks of 0 and 255 among masks of 0 and 1."""
    message = f"holds 0 and 255 alone, and {beside} holds 0 and 1: 255 may be the object, or count for nothing"
    fix = (
        "Write classes.yaml: classes: [{name: background, value: 0}, {name: foreground, value: [1, 255]}] if it is the "
        "object; classes: [{name: background, value: 0}, {name: foreground, value: 1}] and ignore: [255] if not."
    )
    return error("ambiguous_255", alone, message, fix)


def _numbers_objects(plane: np.ndarray, counts: Mapping[int, int]) -> bool:
    """Whether values are 1, 2, 3, ... and each is one piece, as numbered objects are and classes are not."""
    values = sorted(value for value in counts if value > 0)
    if len(values) < NUMBERED or values[-1] > 1.25 * len(values) or (255 in counts and len(values) < 200):
        return False
    if sum(counts[value] for value in values) < OBJECT_PIXELS * len(values):
        return False
    tried = values[:: max(len(values) // 64, 1)]
    single = sum(cv2.connectedComponents((plane == value).astype(np.uint8))[0] == 2 for value in tried)
    return single >= 0.95 * len(tried)


def _few_objects(plane: np.ndarray, counts: Mapping[int, int]) -> int:
    """How many values there are beside 0, if they are 1, 2, 3, ... without a gap and each is one piece; else 0."""
    values = sorted(value for value in counts if value != 0)
    if not values or values[0] < 0 or values[-1] != len(values) or len(values) >= NUMBERED:
        return 0
    return len(values) * all(cv2.connectedComponents((plane == value).astype(np.uint8))[0] == 2 for value in values)


def _numbers_few(read: Sequence[_Mask]) -> bool:
    """Whether all masks number a few objects each, now more and now fewer: classes come and go in another way."""
    shown = [mask for mask in read if set(mask.counts) - {0}]
    if len(shown) < FEW_MASKS or not all(mask.few for mask in shown):
        return False
    return len({mask.few for mask in shown}) >= FEW_COUNTS and max(mask.few for mask in shown) > FEW_COUNTS


def _refuse(code: str, file: object, message: str, fix: str) -> NoReturn:
    raise FindingError(error(code, file, message, fix))
