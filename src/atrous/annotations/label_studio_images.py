"""Which images a task of Label Studio has, what their files may be called, and which regions belong to each."""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from atrous.annotations.base import last_part
from atrous.annotations.label_studio_shapes import shape_of
from atrous.annotations.parsing import Gathered, need, refuse
from atrous.images.files import SUFFIXES

__all__ = ["TaskImage", "task_images"]

_UPLOADED = re.compile(r"^[0-9a-f]{8}-")


class TaskImage(NamedTuple):
    """One image of a task.

    Attributes:
        names: what its file may be called: its path, its name, its name before it was uploaded.
        regions: those drawn on it, with their places in the file.
    """

    names: list[str]
    regions: list[tuple[Any, str]]


def _has_area(region: Any) -> bool:
    return shape_of(region) is not None


def task_images(
    task: dict[str, Any],
    regions: list[tuple[Any, str]],
    where: str,
    gathered: Gathered,
    *,
    counts: Callable[[Any], bool] = _has_area,
) -> list[TaskImage]:
    """The images of a task, each with its regions.

    An `<Image>` of several files numbers them by `item_index`. Of several `<Image>`s, each has a key of the task's
    data; the export does not say which, so that they are told by equal names, or by `source`.

    Args:
        task: as exported.
        regions: those of the annotation that was chosen, with their places.
        where: the place of the task.
        gathered: gets what is left out.
        counts: which regions matter: those with an area.

    Raises:
        FindingError: if the task names no image, or it is not clear on which image a region was drawn.
    """
    data = need(task, "data", dict, where, default=task)
    keys = {key: found for key, value in data.items() if (found := list(_files(value)))}
    if not keys:
        refuse(f"{where}, data", "names no image", f"It needs a path that ends in {', '.join(SUFFIXES)}.")
    drawn = [pair for pair in regions if counts(pair[0])]
    controls = {str(region.get("to_name", "")) for region, _ in drawn}
    if len(keys) == 1 or len(controls) < 2:
        gathered.note("further images of tasks have no region", len(keys) - 1)
        return _numbered(_only(keys, drawn, controls, where), regions, where)
    images: list[TaskImage] = []
    for key, files in keys.items():
        own = [pair for pair in regions if _key_of(pair[0]) == key]
        images += _numbered(files, own, where)
    lost = [place for region, place in drawn if _key_of(region) not in keys]
    if lost:
        refuse(lost[0], f"is drawn on one of the images {', '.join(keys)}, and does not say on which", _NAME_THEM)
    return images


_NAME_THEM = "Name each Image of the labelling setup like its key in the data, and export again."


def _only(keys: dict[str, list[str]], drawn: list[Any], controls: set[str], where: str) -> list[str]:
    """The files of the one key that regions are drawn on."""
    if len(keys) == 1:
        return next(iter(keys.values()))
    named = {_key_of(region) for region, _ in drawn} & keys.keys()
    if not named and not ("image" in keys and not controls - {"image", "img", ""}):
        message = f"names several images ({', '.join(keys)}), and its regions do not say which is theirs"
        refuse(f"{where}, data", message, _NAME_THEM)
    return keys[named.pop() if named else "image"]


def _numbered(files: list[str], regions: list[tuple[Any, str]], where: str) -> list[TaskImage]:
    """The images of one key: one, or a list whose pages regions name by number."""
    if len(files) == 1:
        return [TaskImage(_names(files[0]), regions)]
    pages: list[list[tuple[Any, str]]] = [[] for _ in files]
    for region, place in regions:
        page = need(region, "item_index", int, place, default=0) if isinstance(region, dict) else 0
        if not 0 <= page < len(files):
            refuse(f"{place}, item_index", f"is {page}, and the task has {len(files)} images", "Export it again.")
        pages[page].append((region, place))
    return [TaskImage(_names(file), page) for file, page in zip(files, pages, strict=True)]


def _key_of(region: Any) -> str:
    """The key of the data that a region names: what its control is called, or where that says its value is from."""
    if not isinstance(region, dict):
        return ""
    source = region.get("source")
    return source.removeprefix("$") if isinstance(source, str) else str(region.get("to_name", ""))


def _files(value: Any) -> Iterator[str]:
    """The image files that an entry of the data names: one text, or a list of them."""
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and _path(text).lower().endswith(SUFFIXES):
            yield text


def _path(text: str) -> str:
    """The path within an address, without what follows a question mark, except that of a local file."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return text
    local = parse_qs(parts.query).get("d", [""])[0]
    return unquote(local if local.lower().endswith(SUFFIXES) else parts.path)


def _names(text: str) -> list[str]:
    """What the file may be called."""
    path = _path(text)
    base = last_part(path)
    return list(dict.fromkeys((path.lstrip("/"), base, _UPLOADED.sub("", base))))
