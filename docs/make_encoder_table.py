"""Writes docs/encoders.md: which families of timm's networks run as encoders, at which strides, which do not, and why.

    python docs/make_encoder_table.py            # families that are missing, or all after a new release of timm
    python docs/make_encoder_table.py vit swin   # these again

Each family (a module of timm) is tried by its smallest network, without numbers, which takes some minutes in all. Rows
are kept in docs/encoders.json as they are found, so that a stopped run goes on.
"""

import json
import logging
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import timm
import torch

from atrous.encoders import create_encoder
from atrous.encoders.pyramid import PlainEncoder
from atrous.errors import ModelError

FACTS = Path(__file__).with_name("encoders.json")
PAGE = FACTS.with_suffix(".md")
STRIDES = (32, 16, 8)
HEAD = """\
<!-- Written by `python docs/make_encoder_table.py`; do not edit. -->
# Encoders

`encoder` in the `model` section is one of the package's own trunks or any network of timm {version}. Networks with maps of
several strides give them as they are. Images of any size are padded inside to what a network can take, with the edge
value, and its maps are cropped to the cells that stand on the image.

**Plain transformers** have one map. A pyramid makes the others from it, as ViTDet does (Li et al., ECCV 2022): each doubling is a
transposed convolution, layer normalisation and GELU stand between two, and coarser maps are maxima. The map is that of the last
block, after the network's own last normalisation. Patches of 14 pixels are brought to 16: the network sees the image at 14/16 of
its size, so that a patch is a square of 16 x 16 pixels and the cells of all maps keep their centres. Grids of positions are
interpolated to the image's size; Hiera's are taken apart into what its windows repeat, which is repeated, and the rest.

**Output strides.** Networks that ask for an encoder at stride 16 or 8 have its last stages *dilated* where timm can. Where it
cannot, the maps that are coarser are *interpolated* to that stride, which gives the decoder its size and no finer detail; the
*pyramid* ends there.

**A transformer sees the whole image.** `receptive_field` names the layer, and prediction by tiles keeps a margin and reports the
seam that remains. Where `optimizer.groups` names the `encoder`, to freeze it or to slow it down, the network of timm is meant:
the pyramid beside it begins with random weights, and has to learn.

`windows of 224` means that images are padded to multiples of 224 pixels, which costs time on small ones: choose crops of that size.

{runs} of {all} families run, each tried by its smallest network.
"""
RUNS = "| family | tried | strides of its maps | at 16 | at 8 | images |\n|---|---|---|---|---|---|"
REFUSED = """\
## Refused

In the words of what refuses. Most are made for one size of image: their positions or attention biases count its cells,
and timm has no way to resize them as an image comes. Others eat their borders, or have maps between powers of two.

| family | tried | why |
|---|---|---|"""


def smallest(family: str) -> str:
    """The network of a family with the fewest parameters; those that are made for timm's own tests aside."""
    sizes = []
    for name in timm.list_models(module=family):
        if name.startswith("test_") and len(timm.list_models(module=family, exclude_filters="test_*")):
            continue
        try:
            with torch.device("meta"):
                network = timm.create_model(name)
        except (AssertionError, NotImplementedError, RuntimeError, TypeError, ValueError):  # cannot be built so
            continue
        sizes.append((sum(parameter.numel() for parameter in network.parameters()), name))
    return min(sizes)[1] if sizes else timm.list_models(module=family)[0]


def row(name: str) -> dict[str, Any]:
    """How a network runs at each output stride, or why it does not."""
    found: dict[str, Any] = {"name": name}
    for stride in STRIDES:
        try:
            with torch.device("meta"):
                encoder = create_encoder(name, output_stride=stride)
        except ModelError as error:
            inside = re.search(r"any size \((.*)\); choose another", str(error))
            return {"name": name, "refused": inside[1] if inside else str(error)}
        if isinstance(encoder, PlainEncoder):
            how = "pyramid"
            found |= {"strides": [encoder.stride], "patch": encoder.patch}
        else:
            native: Any = encoder.native
            coarsest = max(level.stride for level in native)
            found.setdefault("strides", [level.stride for level in native])
            found.setdefault("multiple", encoder.multiple)
            fine_enough = max(found["strides"]) <= stride
            how = "as it is" if fine_enough else "interpolated" if coarsest > stride else "dilated"
        found[str(stride)] = how
    return found


def facts(again: list[str]) -> dict[str, Any]:
    """The rows of all families; those that are kept are not worked out again."""
    kept = json.loads(FACTS.read_text()) if FACTS.exists() else {}
    rows = kept["families"] if kept.get("timm") == timm.__version__ else {}
    for family in timm.list_modules():
        if family not in rows or family in again:
            rows[family] = row(smallest(family))
            print(family, rows[family], flush=True)
            known = {"timm": timm.__version__, "families": {key: rows[key] for key in sorted(rows)}}
            FACTS.write_text(json.dumps(known, indent=1) + "\n")
    return json.loads(FACTS.read_text())


def page(known: dict[str, Any]) -> str:
    """The page, from the rows."""
    families = known["families"]
    runs = {family: found for family, found in families.items() if "refused" not in found}
    lines = [HEAD.format(version=known["timm"], runs=len(runs), all=len(families)), RUNS]
    for family, found in runs.items():
        strides = ", ".join(map(str, found["strides"]))
        patch = found.get("patch")
        if patch:
            strides = f"one, patches of {patch}" + (f" brought to {strides}" if [patch] != found["strides"] else "")
        elif found["multiple"] > max(found["strides"]):
            strides += f"; windows of {found['multiple']}"
        images = "any" if found.get("multiple") == 1 else "padded inside"
        lines.append(f"| {family} | `{found['name']}` | {strides} | {found['16']} | {found['8']} | {images} |")
    lines += ["", REFUSED]
    lines += [
        f"| {family} | `{found['name']}` | {found['refused'].replace('|', '/')} |"
        for family, found in families.items()
        if "refused" in found
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    PAGE.write_text(page(facts(sys.argv[1:])), encoding="utf-8")
    print(f"written: {PAGE}")
