"""A classifier becomes fully convolutional: the same weights, any image size, a map of scores instead of one.

Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
https://arxiv.org/abs/1411.4038, section 3.1; Sermanet et al., "OverFeat", ICLR 2014, https://arxiv.org/abs/1312.6229.

A fully connected layer on a map of h x w is a convolution whose kernel covers the map; one on a vector is a 1x1
convolution. A pooling over the whole map becomes a pooling over windows of the size that the map had. Run on a larger
image, the network then gives the scores of every window of the classifier's size, one every `stride` pixels, and
computes what overlapping windows share once.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, fx, nn

from atrous.analysis.probe import in_channels_of, skeleton
from atrous.errors import ModelError
from atrous.layers import fit, resize, unfit
from atrous.surgery.rewrite import rewrite
from atrous.surgery.trace import trace

__all__ = ["DenseClassifier", "WindowDifference", "convolutionalize", "window_difference"]

_MADE_FOR = 224  # height and width that most classifiers of ImageNet are made for
_FAR = 20160  # pixels more, for measuring the stride; a multiple of 2, 3, ... 10, 12, 16, 32 and 64, and of 7 x 32


def convolutionalize(
    classifier: nn.Module,
    *,
    size: int | tuple[int, int] | None = None,
    num_classes: int | None = None,
    normalization: tuple[Sequence[float], Sequence[float]] | None = None,
) -> "DenseClassifier":
    """Turn a classifier into a fully convolutional network with the same weights.

    Classifiers with fully connected layers on a map (AlexNet, VGG) become what the FCN paper describes. In classifiers
    that average the whole map first (ResNet, DenseNet, EfficientNet, ConvNeXt) the average becomes one over sliding
    windows of the size that the map had, 7x7 for a ResNet at 224, followed by a 1x1 convolution.

    Where no convolution and no pooling of the classifier is padded, the map equals the classifier on every window.
    Padded layers put zeros around each window, and real pixels in the dense pass: only the window that is the whole
    image is then equal. `window_difference` measures by how much the others differ. What looks at the whole image on
    the way (squeeze-and-excitation) looks at the whole larger image.

    Args:
        classifier: a network from images (B, C, H, W) to logits (B, K), for example of torchvision or timm. It is
            copied, and not changed.
        size: height and width of the images that it was made for; by default what timm says of it, else 224.
        num_classes: replace the last layer by a 1x1 convolution to so many maps that starts at zero, for training; by
            default the last layer is kept.
        normalization: mean and deviation per channel that the images are normalised with; by default they are taken as
            they come, as the classifier takes them.

    Raises:
        ModelError: if the classifier cannot be followed, or has a part whose dense form is not known; it is named.

    Example:
        >>> classifier = nn.Sequential(
        ...     nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 3 * 3, 5)
        ... ).eval()
        >>> dense = convolutionalize(classifier, size=8)
        >>> dense.stride
        2
        >>> image = torch.rand(1, 3, 12, 16)
        >>> dense.scores(image).shape
        torch.Size([1, 5, 3, 5])
        >>> torch.allclose(dense.scores(image)[:, :, 1, 2], classifier(image[:, :, 2:10, 4:12]), atol=1e-6)
        True
        >>> dense(image)["out"].shape
        torch.Size([1, 5, 12, 16])
    """
    in_channels = in_channels_of(classifier)
    window = _window(classifier, size)
    traced = trace(classifier, in_channels, window)
    net = rewrite(copy.deepcopy(classifier), traced, num_classes=num_classes)
    return DenseClassifier(net, in_channels, window, normalization)


class DenseClassifier(nn.Module):
    """A fully convolutional classifier, with what a `DenseModel` has: it can be given to a `Predictor`.

    Attributes:
        net: the converted network; its parts keep their names.
        window: height and width of the images that the classifier was made for.
        stride: pixels between windows.
        num_classes: maps of scores.
        in_channels: channels of the image.
        alignment: pixels of shift under which the scores shift along; the stride.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: fx.GraphModule,
        in_channels: int,
        window: tuple[int, int],
        normalization: tuple[Sequence[float], Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.in_channels = in_channels
        self.window = window
        self.num_classes, self.stride = _measure(net, in_channels, window)
        self.alignment = self.stride
        mean, std = normalization or ([0.0] * in_channels, [1.0] * in_channels)
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.as_tensor(std, dtype=torch.float32))

    def scores(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H2 W2"]:
        """Scores of all windows: [..., i, j] is the window whose upper left corner is pixel (i stride, j stride).

        Args:
            image: at least as large as `window`.

        Raises:
            ModelError: if the image is smaller.
        """
        height, width = self.window
        if image.shape[-2] < height or image.shape[-1] < width:
            raise ModelError(
                f"the image has {image.shape[-2]}x{image.shape[-1]} pixels, the classifier sees windows of "
                f"{height}x{width}: give a larger image, or call the network itself, which pads"
            )
        return self.net(self.normalize(image))

    def normalize(self, image: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """(image - mean) / std."""
        return (image - self.mean[:, None, None]) / self.std[:, None, None]

    def forward(self, image: Float[Tensor, "B C H W"]) -> dict[str, Tensor]:
        """Scores of every pixel as `out`: those of the windows around it, interpolated; zeros lie around the image."""
        height, width = image.shape[-2:]
        x = fit(self.normalize(image), self.stride)
        # The first window is put half a stride before the first pixel's own, where interpolation expects it.
        around = [side - self.stride for side in self.window]
        top, left = around[0] // 2, around[1] // 2
        x = self.net(F.pad(x, (left, around[1] - left, top, around[0] - top)))
        x = resize(x, (x.shape[-2] * self.stride, x.shape[-1] * self.stride))
        return {"out": unfit(x, height, width)}


@dataclass(frozen=True)
class WindowDifference:
    """How the dense pass differs from the classifier on every window.

    Attributes:
        windows: number of windows compared.
        largest: largest difference of a score.
        mean: mean absolute difference of a score.
        spread: standard deviation of the classifier's scores, to compare with.
        same_class: share of windows with the same highest score.
    """

    windows: int
    largest: float
    mean: float
    spread: float
    same_class: float


def window_difference(
    classifier: nn.Module, dense: DenseClassifier, image: Float[Tensor, "B C H W"]
) -> WindowDifference:
    """Compare the dense pass with the classifier on each window, in evaluation.

    Args:
        classifier: what `dense` was made from.
        dense: from `convolutionalize`, with the classifier's last layer.
        image: at least as large as the window, with room for some more.

    Example:
        >>> classifier = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8 * 8, 5))
        >>> report = window_difference(classifier, convolutionalize(classifier, size=8), torch.rand(1, 1, 10, 9))
        >>> report.windows, report.largest > 0                                           # its convolution is padded
        (6, True)
    """
    was_training = classifier.training, dense.training
    classifier.eval(), dense.eval()
    height, width = dense.window
    tops = range(0, image.shape[-2] - height + 1, dense.stride)
    lefts = range(0, image.shape[-1] - width + 1, dense.stride)
    with torch.inference_mode():
        # A padded network may give more scores than windows fit into the image.
        ours = dense.scores(image)[..., : len(tops), : len(lefts)]
        x = dense.normalize(image)
        windows = [classifier(x[..., top : top + height, left : left + width]) for top in tops for left in lefts]
    classifier.train(was_training[0]), dense.train(was_training[1])
    # (windows, B, K) -> (B, K, rows, columns)
    theirs = torch.stack(windows).permute(1, 2, 0).reshape(ours.shape)
    gap = (ours - theirs).abs()
    return WindowDifference(
        windows=ours[:, 0].numel(),
        largest=gap.max().item(),
        mean=gap.mean().item(),
        spread=theirs.std().item(),
        same_class=(ours.argmax(1) == theirs.argmax(1)).float().mean().item(),
    )


def _window(classifier: nn.Module, size: int | tuple[int, int] | None) -> tuple[int, int]:
    """The size that was given, that timm knows, or the usual one."""
    if size is None:
        known = getattr(classifier, "default_cfg", None) or {}
        size = tuple(known.get("input_size", (0, _MADE_FOR, _MADE_FOR))[1:])
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _measure(net: fx.GraphModule, in_channels: int, window: tuple[int, int]) -> tuple[int, int]:
    """Maps of scores, and pixels between them, found by running a copy without numbers."""
    bare = skeleton(net)
    maps = [bare(torch.empty(1, in_channels, *(side + more for side in window), device="meta")) for more in (0, _FAR)]
    first, second = maps[0].shape, maps[1].shape
    steps = second[-1] - 1
    if first[-2:] != (1, 1) or second[-2] != second[-1] or steps < 1 or _FAR % steps:
        raise ModelError(
            f"the converted classifier gives {tuple(first[-2:])} scores at {window[0]}x{window[1]} and "
            f"{tuple(second[-2:])} with {_FAR} pixels more; a single one and a regular grid are needed: give the size "
            f"that the classifier was made for"
        )
    return first[1], _FAR // steps
