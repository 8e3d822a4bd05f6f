"""Weights of other libraries' networks in ours, by explicit tables of names.

What fits is copied; what does not is told by name and shape. Nothing is guessed: a network that no table knows is
refused with those that are known.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from atrous.encoders.state_files import read_state, unwrapped
from atrous.errors import ModelError
from atrous.fetch import fetch
from atrous.surgery.loaded import Loaded
from atrous.surgery.names import TABLES, TRUNKS, Table, place_of

__all__ = ["load_weights", "read_weights"]

# Mean and standard deviation of ImageNet's images in 0..1, by which these networks were trained.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def load_weights(model: nn.Module, source: str | Path | Mapping[str, Tensor], *, sha256: str | None = None) -> Loaded:
    """Copy the weights of another library's network into a model.

    Known are torchvision's FCN and DeepLabV3 (onto `fcn` and `deeplabv3_torchvision`), VGG-16 with and without batch
    normalisation and AlexNet as torchvision and timm name them (onto the FCNs, SegNet, DeconvNet, DeepLab v1 and the
    dilated front end), HRNet of timm and of its authors and the ResNets of torchvision and timm (onto the encoder of
    any model that has the same one), the authors' HRNet with OCR and NVIDIA's hierarchical attention,
    segmentation_models_pytorch's Unet, PSPNet, DeepLabV3 and DeepLabV3Plus (onto `unet`, `pspnet_smp`,
    `deeplabv3_smp`, `deeplabv3plus_smp`), and the weights of the model itself.

    Where the other network was trained on images normalised as ImageNet's, a model of three channels is set to do the
    same with 8-bit images.

    Args:
        model: what `create_model` made; it is changed.
        source: a file (.pth, .pt, .bin or .safetensors), a state dict, or the address of a file.
        sha256: of the file that an address leads to, or its first digits. Without it the digits in the file's name are
            checked, where it ends in some as torchvision's and timm's do.

    Returns:
        What was taken over, what starts fresh, what was not used. `str()` of it is a line for the reader.

    Raises:
        ModelError: if the file cannot be had or read, no table knows its names, or its first layer does not fit.
    """
    label, weights = read_weights(source, sha256=sha256)
    spec = getattr(model, "spec", None)
    own = {name: value for name, value in model.state_dict().items() if name not in ("mean", "std")}
    if own.keys() <= weights.keys():
        placed, table = {name: (name, value) for name, value in weights.items() if name in own}, None
    else:
        table = _choose(label, weights, spec.name if spec else None, own)
        placed = _placed(
            weights, table, "encoder.body." if hasattr(model, "encoder") and _is_timm(model) else "encoder."
        )
    _check_numbers(label, own, placed)
    loaded = _copy(own, weights, placed)
    _check_start(label, model, placed, loaded)
    if table is not None and table.imagenet and getattr(model, "in_channels", 0) == 3:
        model.set_normalization(*([255 * value for value in values] for values in IMAGENET))  # type: ignore[operator]
    return loaded


def read_weights(
    source: str | Path | Mapping[str, Tensor], *, sha256: str | None = None
) -> tuple[str, dict[str, Tensor]]:
    """A name for messages and the state dict of a file, an address, or a state dict; wrappers are taken off.

    Raises:
        ModelError: if there is no such file, or it holds no weights.
    """
    if isinstance(source, Mapping):
        return "the state dict", unwrapped(source, "the state dict")
    path = fetch(source, digest=sha256 or None) if isinstance(source, str) and _is_address(source) else Path(source)
    return str(path), read_state(path)


def _is_address(source: str) -> bool:
    return source.split("://")[0].lower() in ("http", "https")


def _is_timm(model: nn.Module) -> bool:
    return isinstance(getattr(model.get_submodule("encoder"), "body", None), nn.Module)


def _choose(label: str, weights: Mapping[str, Tensor], key: str | None, own: Mapping[str, Tensor]) -> Table:
    """The table of the format for the model; formats of the model itself go before those of any trunk."""
    tables = [*TABLES.get(key or "", ()), *(TRUNKS if any(name.startswith("encoder.") for name in own) else ())]
    for table in tables:
        if table.fits(weights.keys()):
            return table
    known = ", ".join(dict.fromkeys(table.source for table in tables)) or "its own weights only"
    other = next((table.source for group in TABLES.values() for table in group if table.fits(weights.keys())), None)
    what = f"these are weights of {other}" if other else f"its names (such as {next(iter(weights))!r}) are not known"
    raise ModelError(f"{label}: {what}; model {key or 'without a name'!r} takes: {known}")


def _placed(weights: Mapping[str, Tensor], table: Table, trunk: str) -> dict[str, tuple[str, Tensor]]:
    """The model's name -> the other's name and value."""
    places = ((name, place_of(name, table, trunk)) for name in weights)
    return {place: (name, weights[name]) for name, place in places if place is not None}


def _copy(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], placed: Mapping[str, tuple[str, Tensor]]) -> Loaded:
    taken, used, misfits = [], set(), []
    with torch.no_grad():
        for place, (name, value) in placed.items():
            if place not in own:
                continue
            used.add(name)
            target = own[place]
            # A fully connected layer is a convolution over its whole input: the same numbers in the same order.
            if value.ndim == 2 and target.ndim == 4 and value.shape[0] == target.shape[0]:
                value = value.reshape(target.shape) if value.numel() == target.numel() else value
            if value.shape == target.shape:
                target.copy_(value)
                taken.append(place)
            else:
                misfits.append(f"{place} {tuple(value.shape)} there, {tuple(target.shape)} here")
    done = set(taken)
    return Loaded(
        taken=tuple(taken),
        fresh=tuple(name for name in own if name not in done),
        unused=tuple(name for name in weights if name not in used),
        misfits=tuple(misfits),
    )


def _check_numbers(label: str, own: Mapping[str, Tensor], placed: Mapping[str, tuple[str, Tensor]]) -> None:
    """Refuse weights that a network cannot compute with."""
    for place, (name, value) in placed.items():
        if place not in own:
            continue
        if not bool(value.isfinite().all()):
            raise ModelError(f"{label}: {name} has numbers that are not finite; the file is damaged: copy it again")
        if own[place].is_floating_point() and not value.is_floating_point():
            raise ModelError(
                f"{label}: {name} is {str(value.dtype).removeprefix('torch.')}, as in a quantised network; give the "
                "weights that it was made from"
            )


def _check_start(label: str, model: nn.Module, placed: Mapping[str, tuple[str, Tensor]], loaded: Loaded) -> None:
    """Refuse weights whose first layer puts out other channels: everything after it would be taken out of its place."""
    name, kernel = next(((name, weight) for name, weight in model.named_parameters() if weight.ndim == 4), ("", None))
    other = placed[name][1] if name in placed else None
    if kernel is not None and other is not None and other.shape[0] != kernel.shape[0]:
        raise ModelError(
            f"{label}: the first layer, {name}, has {other.shape[0]} kernels there and {kernel.shape[0]} here; "
            "build the model at the width of the weights"
        )
    if not any(name.endswith("weight") for name in loaded.taken):
        shown = f" ({loaded.misfits[0]})" if loaded.misfits else ""
        raise ModelError(f"{label}: not one of its kernels fits the model{shown}; build the model as the weights' own")
