"""COCO's JSON as annotations to convert; see `datasets/coco.py` for how it is read."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from atrous.annotations.base import Annotated, Annotations, Format, last_part, locate, names_alone, one_by_one, size_of
from atrous.annotations.coco import CocoFile, drawings, join_names, read_coco
from atrous.annotations.parsing import Gathered, refuse
from atrous.data.datasets.coco import coco_files, find_images

__all__ = ["COCO_JSON"]

_KEYS = (b'"images"', b'"annotations"', b'"categories"')


def _files(path: Path) -> list[Path]:
    """The file, or those of a folder."""
    return [path] if path.is_file() else [file for _, file in coco_files(path)]


def _fits(path: Path) -> bool:
    if path.is_dir():
        return bool(_files(path))
    if path.suffix.lower() != ".json":
        return False
    with path.open("rb") as file:
        text = file.read()
    return all(key in text for key in _KEYS) and b'"segments_info"' not in text


def _read(path: Path, images: Path | None, gathered: Gathered) -> Annotations:
    found = [(file, read_coco(file, gathered)) for file in _files(path)]
    if not found:
        refuse(path, "holds no COCO file", "Name the JSON file.")
    for _, coco in found:
        for what, count in coco.left_out.items():
            gathered.note(what, count)
    names = join_names(coco for _, coco in found)
    return Annotations(names[1:], _images(path, found, images, gathered))


def _images(
    path: Path, found: list[tuple[Path, CocoFile]], images: Path | None, gathered: Gathered
) -> Iterator[Annotated]:
    root = path if path.is_dir() else path.parent
    for file, coco in found:
        base = find_images(root, file, coco)
        if root == file.parent and root.name == "annotations":
            base = find_images(root.parent, file, coco)
        named = None if images is None else images / file.stem.removeprefix("instances_")
        read = partial(_image, file, coco, (named, images, base), names_alone(image.name for image in coco.images))
        yield from one_by_one(range(len(coco.images)), read, gathered)


def _image(
    file: Path, coco: CocoFile, folders: tuple[Path | None, ...], alone: frozenset[str], number: int
) -> Annotated:
    """One image of a file."""
    image, where = coco.images[number], f"{file} images[{number}]"
    last = last_part(image.name)
    source = locate(image.name, folders, f"{where}, file_name", others=[last] if last in alone else [])
    size = size_of(source, image.size, where)
    subset = file.parent.name if file.name.startswith("_") else file.stem
    return Annotated(image.name, where, source, size, drawings(image, str(file)) if coco.labelled else None, subset)


COCO_JSON = Format("COCO JSON", _fits, _read)
