"""Networks with the weights of independent implementations that install from the registry and are no dependency.

    pip install --no-deps pytorch-stacked-hourglass==1.0.0a9
    python -m benchmarks.oracles

Of each the largest difference of the maps of every stack, as a share of how much they vary: rounding, or a fault.
The implementation is of 2020 and under the GPL, so that the tests compare with a plain form of their own instead.
"""

import argparse
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from atrous.models import create_model

PARTS = {"bn1": 0, "conv1": 2, "bn2": 3, "conv2": 5, "bn3": 6, "conv3": 8}
"""Their names of the layers of a residual, and our places in its branch."""
PLACES = ("skip", "before", "after", "inner")


def peer(folder: Path | None) -> ModuleType:
    """Their file of the network alone: the package around it wants more."""
    if folder is None:
        spec = importlib.util.find_spec("stacked_hourglass")
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit("pip install --no-deps pytorch-stacked-hourglass==1.0.0a9")
        folder = Path(spec.submodule_search_locations[0])
    found = importlib.util.spec_from_file_location("peer_model", folder / "model.py")
    if found is None or found.loader is None:
        raise SystemExit(f"{folder}: no model.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def renamed(name: str) -> str:
    """Where a weight of theirs belongs in ours."""
    name = re.sub(r"\bdownsample\.0\b", "shortcut", name)
    name = re.sub(r"^layer1\.0", "encoder.fine", name)
    name = re.sub(r"^layer([23])\.0", lambda found: f"encoder.coarse.{int(found[1]) - 2}", name)
    name = re.sub(r"^hg\.(\d)\.hg\.(\d)\.(\d)\.", _place, name)
    name = re.sub(r"^res\.(\d)\.", r"stacks.\1.features.", name)
    name = re.sub(r"^score\.(\d)", r"stacks.\1.head", name)
    name = re.sub(r"^fc_\.(\d)", r"merges.\1.features", name)
    name = re.sub(r"^score_\.(\d)", r"merges.\1.logits", name)
    if found := re.match(r"^fc\.(\d)\.(\d)\.", name):
        name = name.replace(found[0], f"stacks.{found[1]}.features.{BLOCKS + int(found[2])}.")
    if name.startswith(("conv1.", "bn1.")):
        return re.sub(r"^(conv1|bn1)", lambda found: f"encoder.conv.{int(found[1] == 'bn1')}", name)
    return re.sub(r"\b(bn\d|conv\d)\.", lambda found: f"branch.{PARTS[found[1]]}.", name)


BLOCKS, DEPTH = 2, 4


def _place(found: re.Match[str]) -> str:
    inner = ".inner" * (DEPTH - 1 - int(found[2]))
    return f"stacks.{found[1]}.hourglass{inner}.{PLACES[int(found[3])]}."


def differences(module: ModuleType, stacks: int) -> list[float]:
    """One a stack."""
    torch.manual_seed(0)
    theirs = module.hg(num_stacks=stacks, num_blocks=BLOCKS, num_classes=16)
    for part in theirs.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.1, 0.1)
            nn.init.uniform_(part.running_var, 0.8, 1.2)
            nn.init.uniform_(part.weight, 0.6, 1.0)
            nn.init.uniform_(part.bias, -0.1, 0.1)
    ours = create_model("hourglass_bearpaw", num_classes=16, stacks=stacks, blocks=BLOCKS)
    weights = {renamed(name): value for name, value in theirs.state_dict().items()}
    missing = ours.load_state_dict(weights, strict=False)
    if missing.unexpected_keys or set(missing.missing_keys) - {"mean", "std"}:
        raise SystemExit(f"weights without a place: {missing}")
    seen: list[Tensor] = []
    for stack in ours.eval().stacks:
        stack.head.register_forward_hook(lambda module, args, output: seen.append(output))
    image = torch.randn(1, 3, 128, 192)
    with torch.inference_mode():
        ours(image)
        expected = theirs.eval()(image)
    return [((a - b).abs().max() / b.std()).item() for a, b in zip(seen, expected, strict=True)]


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="of the unpacked package, where it is not installed")
    folder = parser.parse_args().folder
    for stacks in (1, 2):
        each = ", ".join(f"{value:.1e}" for value in differences(peer(folder), stacks))
        print(f"hourglass_bearpaw, {stacks} stacks of {BLOCKS} residuals a place: {each}")


if __name__ == "__main__":
    main()
