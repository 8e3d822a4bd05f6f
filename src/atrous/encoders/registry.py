"""What timm knows of its networks and their weights: names and tags, tensors, where they are kept, whose they are."""

import re
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atrous.encoders.origin import WeightsOrigin
from atrous.encoders.packaged import IMAGENET, digest_of
from atrous.encoders.sources import Wish, cached
from atrous.errors import ModelError

__all__ = [
    "address_of",
    "architecture",
    "describe",
    "kept",
    "origin_of",
    "skeleton",
    "tagged",
    "trained_for",
    "translated",
]

BUILT = (AssertionError, AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What timm raises where it cannot build a network without numbers, or translate a file's names."""


def architecture(name: str) -> str:
    """The name without its weights tag: `resnet18` of `resnet18.a1_in1k`."""
    return name.split(".")[0]


def tagged(name: str, wish: Wish) -> str:
    """The name with the tag that was asked for.

    Raises:
        ModelError: if timm knows no weights of that name, or two tags are named.
    """
    import timm

    own = name.partition(".")[2]
    if wish.tag and own and own != wish.tag:
        raise ModelError(f"encoder {name!r} names other weights than pretrained: {wish.tag}; leave one of them out")
    tag = wish.tag or own
    if not tag or wish.file or wish.repository:
        return name
    known = f"{architecture(name)}.{tag}"
    tags = timm.list_models(f"{architecture(name)}.*", pretrained=True)
    if known not in tags:
        names = ", ".join(each.partition(".")[2] for each in tags) or "none"
        raise ModelError(
            f"timm has no weights {known!r}; pretrained is true, auto, false, package, cache, hub, hf-hub:OWNER/NAME, "
            f"a file that exists, or one of timm's tags for {architecture(name)}: {names}"
            + (f" (as in {tags[0]})" if tags else "")
        )
    return known


def kept(config: Any) -> Path | None:
    """The weights in the cache of the Hub, or of torch for those that are elsewhere."""
    if config is None or not config.has_weights:
        return None
    if config.hf_hub_id:
        return cached(config.hf_hub_id, config.hf_hub_filename)
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(address_of(config)).name
    return path if path.is_file() else None


def address_of(config: Any) -> str:
    """Where weights are fetched from that the Hub does not have."""
    return str(config.url[0] if isinstance(config.url, tuple) else config.url)


def origin_of(name: str) -> WeightsOrigin:
    """Weights of timm that are on this machine, as an origin."""
    import timm

    config = timm.get_pretrained_cfg(name)
    return _origin(name, config, kept(config))


def _origin(name: str, config: Any, path: Path | None) -> WeightsOrigin:
    return WeightsOrigin(
        architecture(name),
        config.hf_hub_id or address_of(config),
        trained_for(config.tag or ""),
        config.license or "",
        digest_of(path) if path is not None else "",
    )


def describe(name: str) -> tuple[WeightsOrigin, bool]:
    """Weights of timm by their name with a tag, and whether this machine has them."""
    import timm

    config = timm.get_pretrained_cfg(name)
    path = kept(config)
    return _origin(name, config, None), path is not None


def trained_for(tag: str) -> str:
    """What weights of a tag of timm's were trained for; "" where the tag does not say it.

    Example:
        >>> trained_for("augreg_in21k_ft_in1k"), trained_for("lvd142m")
        ('ImageNet', '')
    """
    return IMAGENET if re.search(r"in(1|12|21|22)k", tag) else ""


def translated(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The state dict as timm reads the files of a network's authors; itself where it cannot."""
    import timm

    module = sys.modules[timm.model_entrypoint(architecture(name)).__module__]
    translate = getattr(module, "checkpoint_filter_fn", None) or getattr(module, "_filter_fn", None)
    if translate is None:
        return state
    try:
        with torch.device("meta"):
            network = timm.create_model(architecture(name))
    except BUILT:
        return state
    for arguments in ((network,), ()):
        try:
            return dict(translate(dict(state), *arguments))
        except (*BUILT, KeyError):
            continue
    return state


def skeleton(name: str, **options: Any) -> dict[str, Tensor]:
    """The state of a network without numbers."""
    import timm

    for device in ("meta", "cpu"):
        try:
            with torch.device(device):
                state: dict[str, Tensor] = timm.create_model(architecture(name), **options).state_dict()
        except BUILT:
            continue
        return state
    raise ModelError(f"timm cannot build {name}")
