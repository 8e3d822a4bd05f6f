"""A network of timm with the weights that `pretrained` asks for, wherever they are, and word of where they were.

Files and packages are read here and handed to timm. What lies in the Hugging Face cache is read from there without
asking the Hub, and the Hub is asked only if it answers.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from torch import Tensor, nn

from atrous.encoders.base import MeanStd, Pretrained, Weights
from atrous.encoders.first_kernel import RGB, adapt_kernels, first_kernel
from atrous.encoders.here import list_weights
from atrous.encoders.origin import WeightsOrigin
from atrous.encoders.packaged import IMAGENET, PACKAGED, digest_of, packaged_weights
from atrous.encoders.registry import (
    address_of,
    architecture,
    kept,
    origin_of,
    skeleton,
    tagged,
    trained_for,
    translated,
)
from atrous.encoders.sources import SOURCES, FileFacts, Wish, check_online, download, read_facts, read_wish
from atrous.encoders.state_files import check_fit, misfits, read_state
from atrous.errors import ModelError

__all__ = ["fetch_network", "timm_weights", "tolerate"]

LOG = logging.getLogger(__name__)
_T = TypeVar("_T")
Part = Callable[[str], bool]


class _Start(NamedTuple):
    """Weights that were found.

    Attributes:
        origin: where; None for what only timm's download brings here.
        overlay: what timm is told beside the name.
        state: the tensors, where they have been read already.
        images: how their images were normalised (0..255); None where timm's own values hold.
        name: of the encoder with their tag, where it is not the one that was asked for.
    """

    origin: WeightsOrigin | None = None
    overlay: Mapping[str, Any] = {}
    state: dict[str, Tensor] | None = None
    images: MeanStd | None = None
    name: str = ""


def fetch_network(
    name: str, in_channels: int, pretrained: Pretrained, **options: Any
) -> tuple[nn.Module, MeanStd, WeightsOrigin] | None:
    """A network of timm with its weights, how their images were normalised, and where they come from.

    Args:
        name: of timm, with or without a tag.
        in_channels: channels of the image; see `first_kernel`.
        pretrained: what it starts from, not false.
        **options: of `timm.create_model`.

    Returns:
        None where there are no weights and `pretrained` does not insist.

    Raises:
        ModelError: if there are none, or they do not fit.
    """
    import timm

    def needed() -> dict[str, Tensor]:
        plain = {_plain(key) for key in skeleton(name, in_chans=in_channels, **options)}
        return {key: value for key, value in skeleton(name, in_chans=in_channels).items() if _plain(key) in plain}

    def build(known: str, start: _Start) -> nn.Module:
        overlay = dict(start.overlay)
        if start.state is not None:
            wanted = needed()
            overlay["state_dict"] = {key: value for key, value in start.state.items() if key in wanted}
        given = {"pretrained_cfg_overlay": overlay} if overlay else {}
        body = timm.create_model(known, pretrained=True, in_chans=in_channels, **given, **options)
        if in_channels not in (1, RGB) and overlay.get("input_size", (RGB,))[0] == RGB:
            rgb = timm.create_model(known, pretrained=True, **given, **options)
            adapt_kernels(body.state_dict(), rgb.state_dict(), in_channels)
        return body

    found = _first(name, pretrained, needed, build)
    if found is None:
        return None
    body, start = found
    config: Any = body.pretrained_cfg
    return body, start.images or _in_8_bit(config["mean"], config["std"]), _told(start)


def timm_weights(
    name: str, *, in_channels: int = 3, pretrained: Pretrained = True, part: Part = lambda key: True
) -> Weights | None:
    """The weights of a whole network of timm, for a trunk of ours with the same names.

    Args:
        name: a name from `timm.list_models(pretrained=True)`.
        in_channels: channels of the image; see `first_kernel`.
        pretrained: what it starts from, not false.
        part: says of a name whether it must be among them; a file may lack others.

    Returns:
        None where there are no weights and `pretrained` does not insist.

    Raises:
        ModelError: if there are none, or they do not fit.
    """
    import timm

    def needed() -> dict[str, Tensor]:
        return {key: value for key, value in skeleton(name, in_chans=in_channels).items() if part(key)}

    def build(known: str, start: _Start) -> Weights:
        if start.state is not None:
            config, state = timm.get_pretrained_cfg(known).to_dict(), start.state
        else:
            given = {"pretrained_cfg_overlay": dict(start.overlay)} if start.overlay else {}
            body = timm.create_model(known, pretrained=True, **given)
            config, state = body.pretrained_cfg, body.state_dict()
        images = start.images or _in_8_bit(config["mean"], config["std"])
        return Weights(_with_channels(state, config, in_channels), images)

    found = _first(name, pretrained, needed, build)
    if found is None:
        return None
    weights, start = found
    return weights._replace(origin=_told(start))


def tolerate(pretrained: Pretrained, text: str) -> None:
    """Weights that do not fit what is built: an error, or a line where random numbers do.

    Raises:
        ModelError: unless `pretrained` is auto.
    """
    if not read_wish(pretrained).may_fail:
        raise ModelError(text)
    LOG.info("starts from random weights: %s", re.split("[:;] set pretrained", text)[0])


def _first(
    name: str, pretrained: Pretrained, needed: Callable[[], dict[str, Tensor]], build: Callable[[str, _Start], _T]
) -> tuple[_T, _Start] | None:
    """What is built from the first weights that are found."""
    wish = read_wish(pretrained)
    known = tagged(name, wish)
    reasons: list[str] = []
    for look in _looks(known, wish, needed):
        try:
            start = look()
            if start is None:
                continue
            built = build(start.name or known, start)
            return built, start if start.origin else start._replace(origin=origin_of(known))
        except Exception as error:  # whatever the network, the Hub, the disk or timm raises
            reason = (str(error).splitlines() or [""])[0]
            reasons.append(reason if isinstance(error, ModelError) else f"{type(error).__name__}: {reason}")
            if wish.file or wish.repository:
                raise ModelError(f"encoder {name!r}: {reasons[-1]}") from error
            if not wish.may_fail:
                raise ModelError(_refusal(known, reasons[-1])) from error
    reason = "; ".join(dict.fromkeys(reasons or [SOURCES[place] for place in wish.places]))
    if not wish.may_fail:
        raise ModelError(_refusal(known, reason))
    LOG.info("encoder %s: starts from random weights, because pretrained ones are not to be had (%s)", name, reason)
    return None


def _refusal(name: str, reason: str) -> str:
    import timm

    tags = timm.list_models(f"{architecture(name)}.*", pretrained=True) if "." in name else []
    others = f"one of {', '.join(tags)}, " if tags else ""
    edges = PACKAGED.get(architecture(name))
    if edges is not None and edges.trained_for != IMAGENET and edges.path() is not None:
        others += f"pretrained: {edges.distribution} ({edges.trained_for}, which is here), "
    known = [each.encoder for each in list_weights() if each.here and each.trained_for in ("", IMAGENET)]
    here = ", ".join(known) or "none"
    return (
        f"the pretrained weights of encoder {name!r} could not be loaded ({reason}); use pretrained: false, {others}an "
        f"encoder whose weights are here ({here}), or copy the weights into this machine's Hugging Face cache (HF_HOME)"
    )


def _looks(name: str, wish: Wish, needed: Callable[[], dict[str, Tensor]]) -> Iterator[Callable[[], "_Start | None"]]:
    """The places to look at, in their order."""
    if wish.file is not None:
        file = wish.file
        yield lambda: _from_file(file, f"the file {file}", name, needed())
    if wish.repository:
        yield lambda: _from_file(download(wish.repository), wish.repository, name, needed())
    places = {
        "package": lambda: _from_package(name, wish),
        "cache": lambda: _from_cache(name),
        "hub": lambda: _from_hub(name),
    }
    for place in wish.places:
        yield places[place]
    if wish.may_fail or wish.places == ("cache",):
        yield lambda: _from_cache(name, any_tag=True)
    if wish.may_fail:  # better than nothing: kernels that know edges
        yield lambda: _from_package(name, wish, training=None)


def _from_package(name: str, wish: Wish, training: str | None = IMAGENET) -> _Start | None:
    fitting = PACKAGED.get(architecture(name))
    if wish.package and (fitting is None or fitting.distribution != wish.package):
        served = ", ".join(each for each, weights in PACKAGED.items() if weights.distribution == wish.package)
        raise ModelError(f"{wish.package} has the weights of {served}, not of {name}")
    if wish.package and fitting is not None and fitting.path() is None:
        raise ModelError(f"{wish.package} is not installed: {fitting.command}")
    any_training = wish.package or wish.places == ("package",)
    packaged = packaged_weights(name, trained_for=None if any_training else training)
    if packaged is None:
        return None
    return _Start(
        packaged.origin(architecture(name)),
        {"input_size": (3, 224, 224)},
        packaged.read(skeleton(name)),
        packaged.images,
    )


def _from_cache(name: str, *, any_tag: bool = False) -> _Start | None:
    import timm

    names = timm.list_models(f"{name}.*", pretrained=True) if any_tag and "." not in name else [name]
    for each in names:
        path = kept(timm.get_pretrained_cfg(each))
        if path is not None:
            return _Start(origin_of(each), {"file": str(path)}, name=each)
    return None


def _from_hub(name: str) -> _Start:
    import timm

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise ModelError(f"timm has no weights for {name}")
    check_online("" if config.hf_hub_id else address_of(config))
    return _Start()


def _told(start: _Start) -> WeightsOrigin:
    assert start.origin is not None  # `_first` has seen to it
    return start.origin


def _from_file(path: Path, label: str, name: str, needed: Mapping[str, Tensor]) -> _Start:
    """Weights with timm's names, or with those that timm can translate."""
    import timm

    if not path.is_file():
        raise ModelError(f"{path}: there is no such file; a repository of the Hub is written hf-hub:OWNER/NAME")
    config = timm.get_pretrained_cfg(name)
    facts = read_facts(path) or FileFacts("")
    if facts.architecture and facts.architecture != architecture(name):
        raise ModelError(f"{label}: {facts.source} says that these are weights of {facts.architecture}, not of {name}")
    state = read_state(path)
    if not state.keys() <= skeleton(name).keys() and not misfits(other := translated(state, name), needed):
        state = other
    check_fit(state, needed, label=label, network=name)
    mean, std = facts.mean or config.mean, facts.std or config.std
    whose = f"as {facts.source} says" if facts.mean else f"as timm's {name}"
    kernel = state.get(f"{config.first_conv}.weight")
    channels = kernel.shape[1] if kernel is not None and kernel.ndim == 4 else 3
    origin = WeightsOrigin(
        architecture(name),
        f"{label}, SHA-256 {digest_of(path)[:8]}...",
        trained_for(facts.tag),
        facts.licence,
        digest_of(path),
        f"{whose}: mean {_numbers(mean)}, deviation {_numbers(std)}",
    )
    size = (channels, *(config.input_size or (3, 224, 224))[1:])
    return _Start(origin, {"input_size": size, "mean": mean, "std": std}, state, _in_8_bit(mean, std))


def _numbers(values: Any) -> str:
    return " ".join(f"{value:.4g}" for value in values)


def _in_8_bit(mean: Any, std: Any) -> MeanStd:
    return tuple(255.0 * value for value in mean), tuple(255.0 * value for value in std)


def _plain(key: str) -> str:
    """A name without what timm's wrappers of features change in it."""
    return key.removeprefix("model.").replace("_", ".")


def _with_channels(state: dict[str, Tensor], config: Mapping[str, Any], in_channels: int) -> dict[str, Tensor]:
    """The state with a first kernel for the image's channels."""
    from timm.models import adapt_input_conv

    first = f"{config['first_conv']}.weight"
    kernel = state[first]
    if kernel.shape[1] == in_channels:
        return state
    adapt = first_kernel(kernel, in_channels) if kernel.shape[1] == RGB else adapt_input_conv(in_channels, kernel)
    return {**state, first: adapt}
