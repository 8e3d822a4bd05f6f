#!/usr/bin/env bash
# The same tensor and the same four entries of metadata, saved as safetensors by twelve processes.
#
# Versions:  safetensors 0.8.0, numpy 2.4.6.
# Behaviour: the files differ from process to process: the entries of the metadata stand in another order each time. With
#            one entry, all twelve files are the same bytes.
# Guess:     the same call gives the same bytes, so that a hash of the file tells whether a training was repeated exactly,
#            and so that a store of files by content holds the weights once.
# Output seen: "four entries: 9 different files; one entry: 1" (the first number varies)
# Fails if the behaviour changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
cd "$place"
cat > save.py <<'PY'
import hashlib
import sys

import numpy as np
from safetensors.numpy import save

said = {name: "x" for name in sys.argv[1:]}
print(hashlib.sha256(save({"weight": np.zeros(3, np.float32)}, metadata=said)).hexdigest())
PY
for each in $(seq 12); do
  "$place/env/bin/python" save.py width depth classes version >> four
  "$place/env/bin/python" save.py width >> one
done
four=$(sort -u four | wc -l)
one=$(sort -u one | wc -l)
echo "four entries: $four different files; one entry: $one"
test "$one" -eq 1
test "$four" -gt 1
