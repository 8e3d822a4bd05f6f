"""What a network was started from: whose weights, what they had been trained for, under which licence."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from torch import nn

__all__ = ["WeightsOrigin", "origins_of"]


@dataclass(frozen=True)
class WeightsOrigin:
    """Weights that a network, or a part of it, was started from.

    Attributes:
        part: what was started from them: the name of an encoder, or "the network".
        weights: what holds them: "the package NAME VERSION", "timm/resnet18.a1_in1k", "the file PATH".
        trained_for: what they had been trained for: "ImageNet", "edges (BSDS500)"; empty where nothing tells.
        licence: of the weights; empty where nothing tells.
        sha256: of the file; empty where there is none, or several.
        normalised: whose mean and deviation the images are normalised by, where that had to be decided.
    """

    part: str
    weights: str
    trained_for: str = ""
    licence: str = ""
    sha256: str = ""
    normalised: str = ""

    def __str__(self) -> str:
        """One line, such as "ImageNet weights of timm/resnet18.a1_in1k, apache-2.0"."""
        kind = f"{self.trained_for} weights" if self.trained_for else "the weights"
        licence = self.licence or "licence unknown"
        images = f", images normalised {self.normalised}" if self.normalised else ""
        return f"{kind} of {self.weights}, {licence}{images}"

    def to_dict(self) -> dict[str, str]:
        """What a file keeps: the fields that say something."""
        return {key: value for key, value in asdict(self).items() if value}

    @classmethod
    def read(cls, value: object) -> "WeightsOrigin | None":
        """An origin from what a file kept, or None where it is none.

        Example:
            >>> print(WeightsOrigin.read({"part": "vgg16", "weights": "timm/vgg16.tv_in1k", "licence": "bsd-3-clause"}))
            the weights of timm/vgg16.tv_in1k, bsd-3-clause
        """
        known = {key: text for key, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}
        fields = {key: text for key, text in known.items() if key in cls.__dataclass_fields__}
        return cls(**fields) if {"part", "weights"} <= fields.keys() else None

    @classmethod
    def read_all(cls, values: object) -> "tuple[WeightsOrigin, ...]":
        """The origins of a list that a file kept; what is none of them is left out."""
        found = [cls.read(value) for value in values] if isinstance(values, list) else []
        return tuple(each for each in found if each is not None)


def origins_of(model: nn.Module) -> tuple[WeightsOrigin, ...]:
    """What the parts of a network were started from, each once."""

    def walk() -> Iterable[WeightsOrigin]:
        for part in model.modules():
            own = getattr(part, "origin", None)
            if isinstance(own, WeightsOrigin):
                yield own
            yield from getattr(part, "origins", ())

    return tuple(dict.fromkeys(walk()))
