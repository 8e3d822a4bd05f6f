"""Which weights timm knows for an encoder: whose they are, how large, under which licence."""

from atrous.encoders.here import WeightsHere
from atrous.encoders.registry import architecture, describe, skeleton
from atrous.encoders.timm import check_name

__all__ = ["timm_catalogue"]

MEGABYTE = 1e6
NUMBER = 4  # bytes


def timm_catalogue(name: str, *, usual: bool = False) -> list[WeightsHere]:
    """All weights of timm for an encoder, those on this machine among them.

    Args:
        name: of timm, with or without a tag; `*` stands for any letters.
        usual: only those that a name without a tag means.

    Raises:
        ModelError: if timm knows no such name.
    """
    import timm

    if "*" in name:
        names = timm.list_models(name, pretrained=True)
    else:
        check_name(architecture(name))
        pattern = name if "." in name else f"{name}.*"
        names = timm.list_models(pattern, pretrained=True)
    if usual:
        tags = {each: timm.get_pretrained_cfg(each).tag for each in map(architecture, names)}
        names = [each for each in names if each.partition(".")[2] == tags[architecture(each)]]
    sizes = {each: _megabytes(each) for each in dict.fromkeys(map(architecture, names))}
    found = []
    for each in names:
        origin, here = describe(each)
        size = sizes[architecture(each)]
        found.append(WeightsHere(each, origin.weights, size, origin.licence, here, origin.trained_for, "from the Hub"))
    return found


def _megabytes(name: str) -> int:
    """Size of the whole network's numbers, by building it without any."""
    return round(sum(value.numel() for value in skeleton(name).values()) * NUMBER / MEGABYTE)
