"""What an encoder can start from: what this machine has, what packages hold, and what the Hub gives."""

from collections.abc import Sequence
from inspect import signature
from textwrap import fill

from atrous.encoders import ENCODERS, WeightsHere, list_weights, timm_catalogue
from atrous.models import MODELS
from atrous.reports.columns import columns

__all__ = ["weights"]

LINE = 120  # letters of a line
TITLES = ("encoder", "weights", "trained for", "size", "licence", "here")
REST = """Every other encoder of timm that has weights fetches them from the Hub at its first use, and keeps them in the
Hugging Face cache (HF_HOME): atrous weights NAME lists them, and * stands for any letters ("convnext_tiny*").
Start from them: model.encoder=NAME model.pretrained=auto, or model.pretrained=TAG for what stands behind the point."""


def weights(name: str | None = None, *, width: int | None = None) -> str:
    """A table of pretrained weights.

    Args:
        name: an encoder of timm, `*` in it standing for any letters: all weights of it. None for what this machine has,
            what packages hold, what the Hub has for the package's own trunks, and which models start from what.
        width: of the terminal, to which the table is broken; None leaves its lines whole.

    Raises:
        ModelError: if there is no such encoder.
    """
    if name is not None:
        found = timm_catalogue(name)
        return _table(found, width) if found else f"timm has no weights for {name}."
    here = list_weights()
    trunks = [each for trunk in ENCODERS for each in timm_catalogue(trunk, usual=True)]
    known = {each.encoder for each in here}
    rows = [*here, *(each for each in trunks if each.encoder not in known)]
    return "\n".join([_table(rows, width), "", *_models(), "", REST])


def _table(found: Sequence[WeightsHere], width: int | None) -> str:
    rows = [
        (
            each.encoder,
            each.source,
            each.trained_for,
            f"{each.megabytes:,} MB" if each.megabytes else "",
            each.licence,
            "yes" if each.here else f"no, {each.how}",
        )
        for each in found
    ]
    return columns(TITLES, rows, right={3}, width=width)


def _models() -> list[str]:
    """Which models can start from what."""
    takers = {name: signature(build).parameters for name, build in MODELS.items()}
    weighty = {name: given for name, given in takers.items() if "pretrained" in given}
    any_encoder = [name for name, given in weighty.items() if "encoder" in given]
    by_default: dict[str, list[str]] = {}
    for name, given in weighty.items():
        usual = str(given["encoder"].default) if "encoder" in given else "vgg16"
        by_default.setdefault(usual, []).append(name)
    lines = [
        f"Models on any encoder (model.encoder=NAME): {', '.join(any_encoder)}.",
        f"On VGG-16 alone: {', '.join(name for name in weighty if name not in any_encoder)}.",
        *(f"On {encoder} if nothing else is named: {', '.join(names)}." for encoder, names in by_default.items()),
    ]
    return [fill(line, LINE, subsequent_indent="  ") for line in lines]
