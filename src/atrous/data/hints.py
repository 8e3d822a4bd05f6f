"""What else a path may be that is no data folder: annotations of a labelling tool, an archive."""

from pathlib import Path

from atrous.data.convert import FORMATS
from atrous.data.listing import IMAGE_FOLDERS, first_folder
from atrous.data.splits import MASK_FOLDERS
from atrous.findings import Finding, FindingError

__all__ = ["hint_for", "with_hint"]

_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar")


def hint_for(path: Path) -> str:
    """What to do with a path that is no data folder, "" where nobody knows.

    Args:
        path: a file or a folder.
    """
    if path.name.lower().endswith(_ARCHIVES) and path.is_file():
        return f"It is an archive: unpack it, and name the folder that comes out, as in `unzip {path.name} -d data`."
    places = [path]
    if path.is_dir():
        places += [found for names in (MASK_FOLDERS, IMAGE_FOLDERS) if (found := first_folder(path, names))]
    for place in places:
        if (title := _format_of(place)) is not None:
            return f"{_it(place, path)} annotations of a labelling tool ({title}): `atrous convert {place} -o DATA`."
    if not path.is_dir():
        return ""
    if archive := next((one for one in sorted(path.iterdir()) if one.name.lower().endswith(_ARCHIVES)), None):
        return f"It holds the archive {archive.name}: unpack it first."
    labels = first_folder(path, MASK_FOLDERS)
    if labels is not None and any(one.suffix == ".txt" for one in labels.iterdir()):
        return f"{labels.name}/ holds text, such as the outlines of YOLO, and masks are images: convert them first."
    return ""


def _it(place: Path, path: Path) -> str:
    return "It holds" if place == path else f"{place.name}/ holds"


def _format_of(place: Path) -> str | None:
    """The title of the format of annotations that a file or folder holds."""
    for one in FORMATS.values():
        try:
            if one.fits(place):
                return one.title
        except Exception:  # a look at foreign files, which may be anything
            continue
    return None


def with_hint(problem: FindingError, path: Path) -> FindingError:
    """An error about a path that is no data folder, with what it may be instead."""
    hint = hint_for(path)
    found = problem.finding
    return FindingError(Finding(found.severity, found.code, found.file, found.message, hint)) if hint else problem
