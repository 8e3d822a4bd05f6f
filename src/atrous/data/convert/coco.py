"""COCO's JSON as annotations to convert; see `datasets/coco.py` for how it is read."""

from collections.abc import Iterator
from pathlib import Path

from atrous.annotations.base import Annotated, Annotations, Format, locate
from atrous.annotations.coco import CocoFile, drawings, read_coco
from atrous.annotations.parsing import refuse
from atrous.data.datasets.coco import coco_files, find_images

__all__ = ["COCO_JSON"]


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
    return all(key in text for key in (b'"images"', b'"annotations"', b'"categories"'))


def _read(path: Path, images: Path | None) -> Annotations:
    found = [(file, read_coco(file)) for file in _files(path)]
    if not found:
        refuse(path, "holds no COCO file", "Name the JSON file.")
    names = found[0][1].names
    for file, coco in found:
        if coco.names != names:
            message = f"has the categories {', '.join(coco.names[1:])}, and {found[0][0]} has {', '.join(names[1:])}"
            refuse(file, message, "Convert them one by one.")
    return Annotations(names[1:], _images(path, found, images))


def _images(path: Path, found: list[tuple[Path, CocoFile]], images: Path | None) -> Iterator[Annotated]:
    root = path if path.is_dir() else path.parent
    for file, coco in found:
        base = find_images(root, file, coco)
        if not path.is_dir() and file.parent.name == "annotations":
            base = find_images(root.parent, file, coco)
        for number, image in enumerate(coco.images):
            where = f"{file} images[{number}]"
            source = locate((image.name, Path(image.name).name), (images, base), f"{where}, file_name")
            yield Annotated(image.name, where, source, image.size, drawings(image, str(file)))


COCO_JSON = Format("COCO JSON", _fits, _read)
