"""CSV files that `predict` adds lines to, image by image: a line that is there stays, unless its image is made anew."""

import csv
import io
from collections.abc import Collection, Sequence
from pathlib import Path

from atrous.disk import write_errors, write_text
from atrous.errors import DataError, UsageError
from atrous.findings import readable
from atrous.tasks import ResultTable
from atrous.types import Prediction

__all__ = ["RowFile", "TableFile", "read_rows"]


class RowFile:
    """Lines about the images of a folder. Lines are added as images are done; those of others stay.

    Args:
        path: the file.
        head: the names of the columns; the first says which image a line is about.
        about: what the file is for, for messages.

    Raises:
        UsageError: if a file of that name is none of these.
    """

    def __init__(self, path: Path, head: Sequence[str], about: str) -> None:
        self.path, self.head, self.about = path, tuple(head), about
        self._rows = read_rows(path, self.head, about)

    @property
    def images(self) -> set[str]:
        """What lines are about so far."""
        return {row[0] for row in read_rows(self.path, self.head, self.about)}

    def begin(self, images: Collection[str]) -> None:
        """Take out the lines of images that are made anew."""
        anew = {readable(image) for image in images}
        if any(row[0] in anew for row in self._rows):
            self._rows = [row for row in self._rows if row[0] not in anew]
            write_text(self.path, _text([self.head, *self._rows]), error=DataError, durable=False)

    def write(self, lines: Sequence[Sequence[object]]) -> None:
        """Add the lines of an image that is done."""
        with write_errors(self.path, error=DataError, instead="choose another place with -o"):
            new = not self.path.exists()
            with self.path.open("a", encoding="utf-8", errors="surrogateescape", newline="") as file:
                file.write(_text([self.head, *lines] if new else lines))


class TableFile(RowFile):
    """What a task tells of each image, in its own columns behind `file` and `page`; and what is made of all lines.

    Args:
        folder: where it lies.
        table: of the task.
    """

    def __init__(self, folder: Path, table: ResultTable) -> None:
        super().__init__(folder / table.name, ("file", "page", *table.columns), f"the {table.about} of images go")
        self.table = table

    def add(self, rows: Sequence[tuple[str, str, Prediction]]) -> None:
        """Write the lines of an image that is done: its name, and number and prediction of each page."""
        self.write(
            [(readable(name), page, *row) for name, page, prediction in rows for row in self.table.rows(prediction)]
        )

    def finish(self) -> list[Path]:
        """Write what is made of all lines.

        Returns:
            All files of the table.
        """
        if not self.path.exists():
            return []
        rows = read_rows(self.path, self.head, self.about)
        made = {self.path.with_name(name): make(rows) for name, make in self.table.made_of.items()}
        for path, text in made.items():
            write_text(path, text, error=DataError)
        return [self.path, *made]


def read_rows(path: Path, head: Sequence[str], about: str) -> list[list[str]]:
    """The lines of such a file; none where there is no file.

    Raises:
        UsageError: if it has other columns.
    """
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            first, *rows = [*csv.reader(file)] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error):
        first, rows = [], []
    if tuple(first) != tuple(head):
        raise UsageError(f"{path}: {about} into this file, and it holds something else; move it.")
    return [row for row in rows if len(row) == len(head)]  # a killed process may leave a part of a line


def _text(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
