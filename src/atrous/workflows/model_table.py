"""The networks side by side, and one of them stage by stage: what each costs and sees, beside what its paper says.

After a change of a network

    python -m atrous.workflows.model_table          # all of them
    python -m atrous.workflows.model_table unet     # these alone

works out its figures and writes them into `models/figures.json`, see `atrous.reports.model_figures`.
"""

import logging
import sys
from pathlib import Path

from atrous import analysis
from atrous.disk import write_bytes
from atrous.errors import ModelError, UsageError
from atrous.models import MODELS, paper
from atrous.reports.description import Description
from atrous.reports.lineage import Entry, Lineage
from atrous.reports.model_figures import SIZE, Figures, blank_model, figures_of, known_figures, write_figures

__all__ = ["SIZE", "Description", "Figures", "Lineage", "describe", "figures_of", "known_figures", "lineage"]

PICTURES = (".png", ".svg")


def lineage() -> Lineage:
    """All networks that `create_model` knows, oldest first.

    Figures come from the package where it has them; they are worked out otherwise, in a second or so each.
    """
    known = known_figures()
    entries = []
    for key in MODELS:
        published = paper(key)
        found = known[key] if key in known else figures_of(key)
        entries.append(Entry(key, published.year if published else None, published.idea if published else "", found))
    return Lineage(tuple(sorted(entries, key=lambda entry: entry.year or 0)))


def describe(key: str, *, size: tuple[int, int] = SIZE, out: str | Path | None = None) -> Description:
    """One network as its paper has it: its stages, what they cost, and the paper's facts beside ours.

    Args:
        key: a name from `list_models`.
        size: height and width of the image.
        out: where to draw it: a file that ends in .png or .svg.

    Raises:
        ModelError: if there is no such network.
        UsageError: if the file has another ending or cannot be written, or the size is none.
    """
    target = None if out is None else Path(out)
    if target is not None and target.suffix.lower() not in PICTURES:
        raise UsageError(f"{target}: a picture ends in {' or '.join(PICTURES)}; give -o {target.stem or key}.png.")
    if min(size) < 1:
        raise UsageError(f"size {size[0]} {size[1]}: give a height and a width of at least 1, for example 512 512.")
    model = blank_model(key)
    try:
        field = analysis.receptive_field(model)
    except ModelError:
        field = None
    found = Description(
        key, paper(key), size, model.num_classes, analysis.stages(model, size), analysis.parameters(model), field
    )
    if target is not None:
        # Matplotlib is heavy, and needed only here.
        from atrous.reports.architecture import draw_network

        title = f"{key} ({found.paper.year})" if found.paper else key
        write_bytes(target, draw_network(found.stages, size, title=title, kind=target.suffix[1:].lower()))
    return found


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print(write_figures(sys.argv[1:]))
