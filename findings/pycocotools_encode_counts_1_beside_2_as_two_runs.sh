#!/usr/bin/env bash
# A mask of uint8 as segmentation code often has it: nonzero where the object is, here 1 with one row of 2 beneath.
#
# Versions:  pycocotools 2.0.11, numpy 2.4.6.
# Behaviour: `encode` ends a run wherever the value changes, not where it changes between zero and nonzero. The run
#            lengths then stand for another mask: area and decoded pixels are no longer those of the object.
# Guess:     any nonzero value is the object, or an error: the argument is "a binary mask".
# Output seen: "object 12 pixels, area 38, decoded pixels that agree 28 of 64"
# Fails if the behaviour changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet --disable-pip-version-check pycocotools==2.0.11 numpy==2.4.6
"$place/env/bin/python" - <<'PY'
import numpy as np
from pycocotools import mask

labels = np.zeros((8, 8), np.uint8)
labels[1:4, 2:5] = 1
labels[4, 2:5] = 2
runs = mask.encode(np.asfortranarray(labels))
area, decoded = int(mask.area(runs)), mask.decode(runs)
agree = int((decoded.astype(bool) == labels.astype(bool)).sum())
print(f"object {int((labels > 0).sum())} pixels, area {area}, decoded pixels that agree {agree} of {labels.size}")
clean = mask.encode(np.asfortranarray((labels > 0).astype(np.uint8)))
assert int(mask.area(clean)) == 12
assert area != 12 and agree < labels.size, "pycocotools' behaviour has changed"
PY
