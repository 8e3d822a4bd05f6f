#!/usr/bin/env bash
# A grey image (mode "L") of the levels 0 and 2, such as a mask of classes, saved as GIF without options, and opened again.
#
# Versions:  pillow 13.0.0, numpy 2.4.6.
# Behaviour: the file comes back in mode "P", its numbers are 0 and 1, and the palette says that 1 is the grey 2: levels
#            that do not occur were left out of the palette, and the others numbered anew. As PNG, TIFF and BMP the same
#            image comes back in mode "L" with 0 and 2.
# Guess:     saving without loss keeps the numbers, or at least the mode; who reads masks by index reads class 2 as class 1,
#            and the same class as another number in the next file.
# Output seen: "gif P [0, 1] grey of 1: 2; png L [0, 2]; tiff L [0, 2]; bmp L [0, 2]"
# Fails if the behaviour changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
cd "$place"
"$place/env/bin/python" - <<'PY'
import numpy as np
from PIL import Image

mask = Image.fromarray(np.array([[0, 2, 2, 0]], np.uint8))
seen = {}
for form in ("gif", "png", "tiff", "bmp"):
    mask.save(f"mask.{form}")
    with Image.open(f"mask.{form}") as image:
        palette = image.getpalette() if image.mode == "P" else None
        seen[form] = (image.mode, sorted(set(np.array(image).ravel().tolist())), palette and palette[3])
print("; ".join(f"{form} {m} {v}" + (f" grey of 1: {g}" if m == "P" else "") for form, (m, v, g) in seen.items()))
assert seen["gif"] == ("P", [0, 1], 2), "Pillow's behaviour has changed"
assert all(seen[form][:2] == ("L", [0, 2]) for form in ("png", "tiff", "bmp")), "Pillow's behaviour has changed"
PY
