#!/usr/bin/env bash
# A GeoTIFF whose nodata value is the lowest float32 (what GDAL tools write by default for elevation models), with blocks
# that were never written (SPARSE_OK).
#
# Versions:  tifffile 2026.3.3 (imagecodecs 2026.3.6, numpy 2.4.6), file written by rasterio 1.4.4.
# Behaviour: tifffile's `page.nodata` is 0, because "-3.4028234663852886e+38" is "not castable to float32"; the blocks
#            that the file does not hold come back as 0.0, a valid elevation. GDAL itself gives -3.4028235e+38 there.
# Guess:     nodata is -3.4028235e+38, which float32 holds exactly, and missing blocks are filled with it.
# Output seen: "tag -3.4028234663852886e+38, page.nodata 0, missing block 0.0, GDAL -3.4028234663852886e+38"
# Fails if the behaviour changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet --disable-pip-version-check \
    tifffile==2026.3.3 imagecodecs==2026.3.6 numpy==2.4.6 rasterio==1.4.4
cd "$place"
"$place/env/bin/python" - <<'PY'
import logging

import numpy as np
import rasterio
import tifffile
from rasterio.transform import from_origin
from rasterio.windows import Window

logging.disable(logging.CRITICAL)
lowest = float(np.finfo(np.float32).min)
layout = {"driver": "GTiff", "width": 64, "height": 64, "count": 1, "dtype": "float32", "nodata": lowest}
blocks = {"tiled": True, "blockxsize": 32, "blockysize": 32, "SPARSE_OK": True}
with rasterio.open("dem.tif", "w", transform=from_origin(0, 64, 1, 1), crs="EPSG:32633", **layout, **blocks) as file:
    file.write(np.full((32, 32), 7, np.float32), 1, window=Window(0, 0, 32, 32))

with rasterio.open("dem.tif") as file:
    by_gdal = float(file.read(1)[63, 63])
with tifffile.TiffFile("dem.tif") as file:
    page = file.pages[0]
    tag, nodata, missing = page.tags["GDAL_NODATA"].value, page.nodata, float(page.asarray()[63, 63])
print(f"tag {tag}, page.nodata {nodata}, missing block {missing}, GDAL {by_gdal}")
assert by_gdal == lowest and float(tag) == lowest
assert nodata == 0 and missing == 0.0, "tifffile's behaviour has changed"
PY
