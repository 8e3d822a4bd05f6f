#!/usr/bin/env bash
# A network with an operation that OpenVINO does not know is converted; the error is caught, and the program goes on.
#
# Versions:  openvino 2026.4.1, torch 2.15.0, numpy 2.4.6.
# Behaviour: convert_model sets the level of Python's root logger to ERROR while it works. Where it succeeds the level is put
#            back; where it raises it stays, so that from then on no warning of any library is shown or written.
# Guess:     a call that fails leaves the program's logging as it was, or touches only a logger of its own.
# Output seen: "before WARNING; after a conversion WARNING; after a failed conversion ERROR"
# Fails if the behaviour changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export HOME="$place" OPENVINO_TELEMETRY_OPT_OUT=1
python3 -m venv "$place/env"
"$place/env/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 torch==2.15.0 numpy==2.4.6
cd "$place"
"$place/env/bin/python" - <<'PY' 2>/dev/null
import logging

import openvino
import torch


class Plain(torch.nn.Module):
    def forward(self, x):
        return x * 2


class Unknown(torch.nn.Module):
    def forward(self, x):
        return torch.linalg.eigvalsh(x)


def level():
    return logging.getLevelName(logging.getLogger().level)


seen = [f"before {level()}"]
openvino.convert_model(Plain(), example_input=torch.eye(3))
seen.append(f"after a conversion {level()}")
try:
    openvino.convert_model(Unknown(), example_input=torch.eye(3))
except Exception:
    seen.append(f"after a failed conversion {level()}")
print("; ".join(seen))
assert seen == ["before WARNING", "after a conversion WARNING", "after a failed conversion ERROR"], "it has changed"
PY
