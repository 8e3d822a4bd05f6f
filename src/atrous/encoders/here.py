"""Which pretrained weights this machine has, and which it can get without the Hugging Face Hub."""

from typing import NamedTuple

from atrous.encoders.packaged import PACKAGED

__all__ = ["WeightsHere", "list_weights"]


class WeightsHere(NamedTuple):
    """Weights for an encoder, and where they are.

    Attributes:
        encoder: as recipes name it.
        source: the package, or the repository of the Hub.
        megabytes: on disk; 0 if nothing tells.
        licence: of the weights; empty if nothing here tells.
        here: whether this machine has them.
        trained_for: what they were trained for; empty if nothing here tells.
        how: what brings them here.
    """

    encoder: str
    source: str
    megabytes: int
    licence: str
    here: bool
    trained_for: str = ""
    how: str = ""


def list_weights() -> list[WeightsHere]:
    """Those of packages, installed or not, then those in the Hugging Face cache."""
    packages = [
        WeightsHere(
            encoder,
            weights.distribution,
            weights.megabytes,
            weights.licence,
            weights.path() is not None,
            weights.trained_for,
            weights.command,
        )
        for encoder, weights in PACKAGED.items()
    ]
    return packages + _cached()


def _cached() -> list[WeightsHere]:
    """What timm has fetched before."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except (CacheNotFound, OSError, ValueError):
        return []
    return [
        WeightsHere(repo.repo_id.removeprefix("timm/"), repo.repo_id, round(repo.size_on_disk / 1e6), "", True)
        for repo in sorted(repositories, key=lambda repo: repo.repo_id)
        if repo.repo_id.startswith("timm/") and repo.size_on_disk > 1e6
    ]
