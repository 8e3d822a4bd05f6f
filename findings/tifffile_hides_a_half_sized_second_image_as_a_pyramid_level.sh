#!/usr/bin/env bash
# A TIFF of two unrelated images, the second half as high and half as wide as the first; nothing in the file marks it as
# a reduced version (NewSubfileType is 0 in both).
#
# Versions:  tifffile 2026.3.3, numpy 2.4.6, pillow 13.0.0 (which writes the file).
# Behaviour: one series with two pyramid levels: `imread` gives the first image, and counting series says there is one.
#            With a second image of 40 x 32 there are two series.
# Guess:     two series, as the file says that neither page is a reduced-resolution version of the other.
# Output seen: "pages 2, series 1, levels 2, subfile types [0, 0], imread (64, 64); of 40 x 32: series 2"
# Fails if the behaviour changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet --disable-pip-version-check tifffile==2026.3.3 numpy==2.4.6 pillow==13.0.0
cd "$place"
"$place/env/bin/python" - <<'PY'
import numpy as np
import tifffile
from PIL import Image


def write(name: str, second: tuple[int, int]) -> None:
    first = Image.fromarray(np.full((64, 64), 50, np.uint8))
    first.save(name, save_all=True, append_images=[Image.fromarray(np.full(second, 200, np.uint8))])


write("half.tif", (32, 32))
write("other.tif", (40, 32))
with tifffile.TiffFile("half.tif") as file:
    pages, series, levels = len(file.pages), len(file.series), len(file.series[0].levels)
    kinds = [int(page.subfiletype) for page in file.pages]
with tifffile.TiffFile("other.tif") as file:
    others = len(file.series)
read = tifffile.imread("half.tif").shape
print(f"pages {pages}, series {series}, levels {levels}, subfile types {kinds}, imread {read}; of 40 x 32: series {others}")
assert (pages, kinds, others) == (2, [0, 0], 2)
assert (series, levels, read) == (1, 2, (64, 64)), "tifffile's behaviour has changed"
PY
