"""What class names may be, and the folders that are made from them."""

import unicodedata
from collections.abc import Sequence

__all__ = ["folder_names", "is_plain"]

_CONTROL = ("Cc", "Cs", "Zl", "Zp")
_LONGEST = 80  # letters, of up to three bytes: file systems take 255 bytes
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


def is_plain(name: str) -> bool:
    r"""Whether a name can be printed on one line: it is not blank, and holds no control characters.

    Example:
        >>> is_plain("<5 mm"), is_plain("a\x1b[31m"), is_plain(" ")
        (True, False, False)
    """
    return bool(name.strip()) and not any(unicodedata.category(letter) in _CONTROL for letter in name)


def folder_names(names: Sequence[str]) -> tuple[str, ...]:
    """A folder for each of several names, no two the same on any system.

    Letters, digits, spaces, and `-_.` stay, anything else becomes `_`; of names that then agree, or differ in upper and
    lower case alone, the later ones get a number.

    Example:
        >>> folder_names(["cell", "a/b", "a:b", "..", "Cell"])
        ('cell', 'a_b', 'a_b_2', '__', 'Cell_2')
    """
    taken: set[str] = set()
    found = []
    for name in names:
        plain = "".join(letter if letter.isalnum() or letter in " -_." else "_" for letter in name)[:_LONGEST].strip()
        end = plain.rstrip(". ")
        base = end + "_" * (len(plain) - len(end)) or "_"
        base = f"{base}_" if base.partition(".")[0].lower() in _DEVICES else base
        base = f"_{base[1:]}" if base.startswith(".") else base
        folder, number = base, 1
        while folder.casefold() in taken:
            number += 1
            folder = f"{base}_{number}"
        taken.add(folder.casefold())
        found.append(folder)
    return tuple(found)
