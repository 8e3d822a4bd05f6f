"""How many images of a folder get their channels by a rule: repeated grey, an alpha channel that is left out."""

from collections import Counter
from collections.abc import Iterator

from atrous.findings import Finding, warning
from atrous.images.channels import ALPHA, GREY
from atrous.images.files import ImageFile

__all__ = ["BROUGHT", "BroughtImages", "by_channels"]

BROUGHT = {GREY: "grey_images", ALPHA: "alpha_left_out"}
"""Codes of the findings, by what was done."""


def by_channels(came: int, needed: int | None) -> str:
    """What was done with an image that was read with `needed` channels, and has `came` without a constant alpha."""
    if needed == 3 and came in (1, 2):
        return GREY
    return ALPHA if needed is not None and came == needed + 1 else ""


class BroughtImages:
    """Counts them, and remembers the first of each kind."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, ImageFile] = {}

    def add(self, how: str, image: ImageFile) -> None:
        """Count an image, if anything was done with it."""
        if how:
            self._counts[how] += 1
            self._first.setdefault(how, image)

    def findings(self, total: int) -> Iterator[Finding]:
        """One warning for each kind.

        Args:
            total: images that were looked at.
        """
        for how, count in self._counts.items():
            some = f"as {'are' if how == GREY else 'have'} {count} of {total} images" if count > 1 else ""
            if how == GREY:
                message = f"is grey, {some + ', ' if some else ''}and others have colours: its grey is repeated"
                fix = "Nothing to do if the grey ones belong here; else take them out."
            else:
                message = f"has an alpha channel that varies, {some + ', ' if some else ''}and others have none: "
                message += "it is left out"
                fix = "Nothing to do if the alpha says nothing about the mask."
            yield warning(BROUGHT[how], self._first[how], message, fix)
