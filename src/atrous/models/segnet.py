"""SegNet: the decoder puts values back where the encoder's poolings found them.

Badrinarayanan, Kendall, Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation",
PAMI 2017 (2015), https://arxiv.org/abs/1511.00561. Bayesian SegNet: Kendall, Badrinarayanan, Cipolla, BMVC 2017 (2015),
https://arxiv.org/abs/1511.02680.

As in the paper
    - `segnet`: the thirteen 3x3 convolutions of VGG-16 and their mirror image, each with batch normalisation and ReLU,
      but for the last, a 3x3 convolution to the classes. Five 2x2 poolings remember positions; nothing else crosses
      from encoder to decoder. 29,449,355 parameters at 11 classes.
    - `segnet_basic`: four 7x7 convolutions of 64 channels each way; none of the decoder has a ReLU. Its image passes a
      local response normalisation. Batch normalisation before each non-linearity. 1,416,587 parameters at 11 classes.
    - `segnet_bayesian`: `segnet` with dropout of one half after the poolings 3, 4, 5 and the decoder stages 5, 4, 3.
    - Poolings round sizes up, and unpooling restores the size that the encoder had: 360 pixels become 180, 90, 45, 23
      and 12, and come back, and so does every other size.
    - He's initialisation, shifts of the batch normalisations at 0.001; `pretrained` copies VGG-16's convolutions.

Different from the paper
    - The convolutions of `segnet_basic` have biases, as in the authors' release; the paper says they have none, and
      counts 1.425 M parameters, which fits neither form.
    - Batch normalisations keep running statistics; the authors measure them after training, over the training set.
    - The release feeds raw numbers of 0..255. Here the image is normalised first, so the alpha of 1e-4 that the
      response normalisation has there is brought to the same contrast: 8-bit numbers deviate by about 64.
    - `segnet` has no dropout, as the release. The paper's benchmark has 0.5 behind the deeper layers; `dropout=0.5`
      puts it at the six places of the Bayesian network.
    - Dropout is off in evaluation, as everywhere; the Bayesian network's sampling is the view `mc:N` of the predictor.
"""

from itertools import chain
from typing import Annotated

from annotated_types import Ge, Lt
from jaxtyping import Float
from torch import Tensor, nn

from atrous.encoders.base import MeanStd, Pretrained
from atrous.encoders.origin import WeightsOrigin
from atrous.encoders.vgg import DEPTHS, WIDTHS, load_vgg16, vgg_stages
from atrous.layers import BatchNorm
from atrous.layers.upsample import max_pool, max_unpool
from atrous.models.base import DenseModel, Paper
from atrous.types import Outputs

__all__ = ["PAPERS", "SegNet", "segnet", "segnet_basic", "segnet_bayesian"]

PAPERS = {
    "segnet": Paper(
        year=2015,
        title="SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation",
        url="https://arxiv.org/abs/1511.00561",
        idea="The positions of the maxima alone tell the decoder where boundaries lie.",
        num_classes=11,
        parameters=29_449_355,
        facts=(
            "output stride 1",
            "360x480 pools to 12x15",
            "CamVid test mean IoU 60.10 (3,433 training images)",
        ),
    ),
    "segnet_basic": Paper(
        year=2015,
        title="SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation",
        url="https://arxiv.org/abs/1511.00561",
        idea="The same with four layers each way, small enough to compare decoders on.",
        num_classes=11,
        parameters=1_416_587,
        facts=("output stride 1", "106x106 pixels behind a deepest feature", "CamVid test mean IoU 47.7"),
    ),
    "segnet_bayesian": Paper(
        year=2015,
        title="Bayesian SegNet: Model Uncertainty in Deep Convolutional Encoder-Decoder Architectures",
        url="https://arxiv.org/abs/1511.02680",
        idea="Dropout sampled at prediction time says how sure the network is of every pixel.",
        num_classes=11,
        parameters=29_449_355,
        facts=("dropout 0.5 at six places", "same parameters as segnet"),
    ),
}

SHIFT = 0.001  # where the shifts of the batch normalisations start
CONTRAST = 64.0  # deviation of 8-bit images, for which the response normalisation's alpha is made
BAYESIAN = (2, 3, 4)  # stages whose pooled map, and whose decoder's map, are dropped: the three deepest
DropoutRate = Annotated[float, Ge(0.0), Lt(1.0)]


def segnet(
    num_classes: int,
    in_channels: int = 3,
    pretrained: Pretrained = False,
    *,
    width: Annotated[int, Ge(1)] = 64,
    depths: tuple[int, int, int, int, int] = DEPTHS,
    dropout: DropoutRate = 0.0,
) -> DenseModel:
    """SegNet on VGG-16.

    Args:
        num_classes: maps in `out`; 11 in the paper's CamVid.
        in_channels: channels of the image.
        pretrained: start the encoder's convolutions from VGG-16's ImageNet weights.
        width: channels of the first stage; the others have 2, 4, 8 and 8 times as many.
        depths: convolutions of each stage, and of its mirror image.
        dropout: how often a feature of the three deepest stages is left out in training; the paper's benchmark has 0.5.

    Raises:
        ModelError: if weights are asked for that cannot be fetched, or do not fit `width` and `depths`.
    """
    return _vgg_segnet(num_classes, in_channels, pretrained, width, depths, dropout=dropout)


def segnet_bayesian(
    num_classes: int,
    in_channels: int = 3,
    pretrained: Pretrained = False,
    *,
    width: Annotated[int, Ge(1)] = 64,
    depths: tuple[int, int, int, int, int] = DEPTHS,
    dropout: DropoutRate = 0.5,
) -> DenseModel:
    """Bayesian SegNet: `segnet` with dropout in its deeper half, to be sampled by the view `mc:N`.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        pretrained: start the encoder's convolutions from VGG-16's ImageNet weights.
        width: channels of the first stage.
        depths: convolutions of each stage, and of its mirror image.
        dropout: how often a feature is left out.

    Raises:
        ModelError: if weights are asked for that cannot be fetched, or do not fit `width` and `depths`.
    """
    return _vgg_segnet(num_classes, in_channels, pretrained, width, depths, dropout=dropout)


def segnet_basic(
    num_classes: int, in_channels: int = 3, *, width: Annotated[int, Ge(1)] = 64, dropout: DropoutRate = 0.0
) -> DenseModel:
    """SegNet-Basic: four convolutions down, four up.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        width: channels of every convolution.
        dropout: 0.5 is Bayesian SegNet-Basic: features left out after the poolings 3, 4 and the decoder stages 4, 3.
    """
    encoder = [_conv(before, width, 7, nn.ReLU()) for before in (in_channels, width, width, width)]
    model = SegNet(
        num_classes,
        in_channels,
        encoder=nn.ModuleList(encoder),
        decoder=nn.ModuleList(_conv(width, width, 7) for _ in encoder),
        head=nn.Conv2d(width, num_classes, 1),
        # Size, alpha, beta and k of the release.
        contrast=nn.LocalResponseNorm(5, 1e-4 * CONTRAST**2, 0.75, 1.0),
        dropout=dropout,
    )
    model.apply(_initialize)
    return model


def _vgg_segnet(
    num_classes: int, in_channels: int, pretrained: Pretrained, width: int, depths: tuple[int, ...], *, dropout: float
) -> DenseModel:
    encoder = vgg_stages(in_channels, width=width, depths=depths, norm=BatchNorm)
    channels = [width, *(width * times for times in WIDTHS)]
    decoder = [
        _mirrored(depth, wide, narrow) for depth, wide, narrow in zip(depths, channels[1:], channels[:-1], strict=True)
    ]
    decoder[0] = decoder[0][:-3]  # the finest stage ends in the classifier instead
    model = SegNet(
        num_classes,
        in_channels,
        encoder=encoder,
        decoder=nn.ModuleList(reversed(decoder)),
        head=nn.Conv2d(width, num_classes, 3, padding=1),
        dropout=dropout,
    )
    model.apply(_initialize)
    if pretrained:
        # The plain network's kernels, as in the paper: the normalisations between them start anew.
        convs = (
            nn.Sequential(*(layer for layer in stage.children() if isinstance(layer, nn.Conv2d))) for stage in encoder
        )
        weights = load_vgg16(nn.ModuleList(convs), pretrained, in_channels=in_channels)
        if weights is not None:
            model.pretrained_normalization, model.origin = weights.normalization, weights.origin
    return model


class SegNet(DenseModel):
    """Stages with a pooling after each, and as many stages with an unpooling before each.

    Args:
        num_classes: maps in `out`.
        in_channels: channels of the image.
        encoder: stages that keep height and width, finest first.
        decoder: stages that keep height and width, coarsest first.
        head: turns the last map into logits.
        contrast: what the normalised image passes first; nothing by default.
        dropout: share of the features that are left out after the poolings and decoder stages of `BAYESIAN`.
    """

    pretrained_normalization: MeanStd | None = None
    origin: WeightsOrigin | None = None

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        encoder: nn.ModuleList,
        decoder: nn.ModuleList,
        head: nn.Module,
        contrast: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_channels, alignment=2 ** len(encoder))
        self.contrast = contrast if contrast is not None else nn.Identity()
        self.encoder = encoder
        self.decoder = decoder
        self.head = head
        self.encoder_dropouts = _dropouts(len(encoder), dropout)
        self.decoder_dropouts = _dropouts(len(encoder), dropout)[::-1]

    def forward(self, image: Float[Tensor, "B C H W"]) -> Outputs:
        """Logits of every pixel as `out`."""
        x = self.contrast(self.normalize(image))
        pooled = []
        for stage, dropout in zip(self.encoder, self.encoder_dropouts, strict=True):
            x = stage(x)
            size = (x.shape[-2], x.shape[-1])
            x, positions = max_pool(x)
            pooled.append((positions, size))
            x = dropout(x)
        for stage, dropout, (positions, size) in zip(
            self.decoder, self.decoder_dropouts, reversed(pooled), strict=True
        ):
            x = dropout(stage(max_unpool(x, positions, size)))
        return {"out": self.head(x)}


def _mirrored(depth: int, wide: int, narrow: int) -> nn.Sequential:
    """A decoder's stage: as many convolutions as the encoder's, the last to the channels of the next finer stage."""
    outs = [wide] * (depth - 1) + [narrow]
    return nn.Sequential(*chain.from_iterable(_conv(wide, out, 3, nn.ReLU()) for out in outs))


def _dropouts(stages: int, p: float) -> nn.ModuleList:
    """What follows each stage, finest first."""
    return nn.ModuleList(nn.Dropout(p) if p and stage in BAYESIAN else nn.Identity() for stage in range(stages))


def _conv(in_channels: int, out_channels: int, kernel: int, *act: nn.Module) -> nn.Sequential:
    """Convolution with bias that keeps height and width, batch normalisation, perhaps an activation."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
    return nn.Sequential(conv, BatchNorm(out_channels), *act)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, BatchNorm):
        nn.init.constant_(module.bias, SHIFT)
