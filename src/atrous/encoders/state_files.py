"""Weights in a file: read without running anything that it holds, and freed from what they are wrapped in."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from atrous.errors import ModelError

__all__ = ["WEIGHT_FILES", "check_fit", "misfits", "read_state", "unwrapped"]

WEIGHT_FILES = (".pth", ".pt", ".bin", ".safetensors")
"""Endings of files with weights."""
CONTAINERS = ("state_dict", "model_state", "model", "net")  # entries that checkpoints keep the weights under
PREFIXES = ("module.", "_orig_mod.", "model.")  # what wrappers put before every name
WRAPPERS = 4  # so many of them, at most
SHOWN = 3  # tensors that a message names
POSITIONS = ("pos_embed", "relative_position")  # embeddings that are interpolated to another size


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pth, .pt, .bin or .safetensors file by name; nothing in it is run (`weights_only`).

    Raises:
        ModelError: if there is no such file, or it holds no weights.
    """
    return unwrapped(_read(path), str(path))


def unwrapped(content: Mapping[str, Any], label: str) -> dict[str, Tensor]:
    """The state dict inside of a checkpoint, without the prefixes of wrappers.

    Args:
        content: what a file held.
        label: its name, for messages.

    Raises:
        ModelError: if there are no weights in it.
    """
    for _ in range(WRAPPERS):
        inner = next((content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = dict(inner)
    weights = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not weights:
        raise ModelError(
            f"{label}: holds no weights by name; give a state dict, as torch.save(model.state_dict()) writes"
        )
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def check_fit(state: Mapping[str, Tensor], needed: Mapping[str, Tensor], *, label: str, network: str) -> None:
    """Refuse weights that do not fill a network.

    Args:
        state: by the network's names.
        needed: those of its tensors that must be filled, numbers or not.
        label: of the weights, for messages.
        network: its name.

    Raises:
        ModelError: naming the tensors that are missing, of another shape, or no numbers to start from.
    """
    if found := misfits(state, needed):
        more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise ModelError(
            f"{label}: does not fit {network}: {', '.join(found[:SHOWN])}{more}; give a state dict of that network "
            f"with timm's names (the file's begin with {next(iter(state))!r})"
        )
    for key in needed.keys() & state.keys():
        if not state[key].is_floating_point() and needed[key].is_floating_point():
            raise ModelError(f"{label}: {key} is {state[key].dtype}, as in a quantised network; give its originals")
        if not bool(state[key].isfinite().all()):
            raise ModelError(f"{label}: {key} has numbers that are not finite; the file is damaged: copy it again")


def misfits(state: Mapping[str, Tensor], needed: Mapping[str, Tensor]) -> list[str]:
    """What keeps a state dict from filling a network, in words: tensors that are missing, or of another shape.

    A first kernel of 3 channels becomes one of any number, and position embeddings are interpolated.
    """
    found = []
    first = next((key for key, value in needed.items() if value.ndim == 4 and key.endswith("weight")), "")
    for key, value in needed.items():
        if key not in state:
            if not key.endswith("num_batches_tracked"):  # old files have none
                found.append(f"{key} is missing")
            continue
        came, here = list(state[key].shape), list(value.shape)
        if key == first and len(came) == 4 and came[1] == 3:
            came[1] = here[1]
        if came != here and not any(word in key for word in POSITIONS):
            found.append(f"{key} is {tuple(state[key].shape)} there and {tuple(value.shape)} here")
    return found


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file; give the path of a .pth or .safetensors file, or its address")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about formats of old releases
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever pickle, zip or safetensors raise on a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise ModelError(
            f"{path}: cannot be read as weights ({reason}); copy the file again, or save its state dict alone"
        ) from error
    if not isinstance(content, Mapping):
        raise ModelError(f"{path}: holds {type(content).__name__}, not weights by name; save the state dict alone")
    return dict(content)
