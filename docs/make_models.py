"""Fills in the cost tables of the pages in docs/models/ and draws the networks.

    python docs/make_models.py              # all pages and pictures
    python docs/make_models.py segnet unet  # the pages of those names

A table stands between `<!-- costs: KEY, ... -->` and `<!-- end -->`; the drawings are docs/images/models/KEY.png. A
second run changes nothing.
"""

import re
import sys
from pathlib import Path

from atrous.reports.model_figures import SIZE, Figures, figures_of, known_figures
from atrous.workflows.model_table import describe

PAGES = Path(__file__).parent / "models"
IMAGES = Path(__file__).parent / "images" / "models"
BLOCK = re.compile(r"(<!-- costs: (?P<keys>[^>]*?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def filled(page: str, known: dict[str, Figures]) -> str:
    """The text of a page with its tables of costs."""
    return BLOCK.sub(lambda found: f"{found[1]}{costs(keys_of(found), known)}{found[4]}", page)


def keys_of(found: re.Match[str]) -> list[str]:
    """The networks that a block names."""
    return [key.strip() for key in found["keys"].split(",")]


def costs(keys: list[str], known: dict[str, Figures]) -> str:
    """A Markdown table of the costs of networks."""
    lines = [
        "| network | classes | parameters | GMACs | training | inference | receptive field |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for key in keys:
        found = known[key] if key in known else figures_of(key)
        sees = found.sees if found.receptive_field is None else f"{found.sees} pixels"
        lines.append(
            f"| `{key}` | {found.num_classes} | {found.parameters:,} | {found.multiply_adds / 1e9:,.1f} "
            f"| {found.training_memory / 1e6:,.0f} MB | {found.inference_memory / 1e6:,.0f} MB | {sees} |"
        )
    note = (
        f"For one image of {SIZE[0]} x {SIZE[1]} in float32. GMACs: multiply-adds / 10^9. Training: memory of the "
        "activations kept for the backward\npass. Inference: peak memory of the activations. Weights come on top. "
        f"Stage by stage: `atrous models {keys[0]}`."
    )
    return "\n".join(["", *lines, "", note, "", ""])


def main(names: list[str]) -> None:
    """Fill pages and draw their networks."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    known = known_figures()
    for path in sorted(PAGES.glob("*.md")):
        if names and path.stem not in names:
            continue
        text = path.read_text(encoding="utf-8")
        path.write_text(filled(text, known), encoding="utf-8")
        for key in [key for found in BLOCK.finditer(text) for key in keys_of(found)]:
            print(path.name, key)
            describe(key, out=IMAGES / f"{key}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
