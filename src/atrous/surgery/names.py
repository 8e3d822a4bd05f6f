"""Tables of names: where the weights of other libraries' networks belong in ours.

A table has marks, names that its format has and the others of the same network have not, and rules, each a pattern of a
whole name and what stands for it here. The first rule that fits a name decides; a name that no rule fits has no place.
`{trunk}` stands for the place of the encoder's weights, which is one deeper for an encoder of timm.

Sources: torchvision 0.29 (`models.segmentation`, `models.vgg`, `models.alexnet`, `models.resnet`), timm 1.0 (`vgg`,
`hrnet`, `resnet`), segmentation_models_pytorch 0.6, and the checkpoints of HRNet-Semantic-Segmentation.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

__all__ = ["TABLES", "TRUNKS", "Table", "place_of"]


class Table(NamedTuple):
    """One format onto one kind of model.

    Attributes:
        source: what the weights are from, in words.
        marks: names that tell the format.
        rules: (pattern, replacement), the first that fits decides.
        imagenet: whether the network was trained on images normalised as ImageNet's usually are.
    """

    source: str
    marks: tuple[str, ...]
    rules: tuple[tuple[str, str], ...]
    imagenet: bool = True

    def fits(self, names: Collection[str]) -> bool:
        """Whether weights of these names are of the format."""
        return all(mark in names for mark in self.marks)


def place_of(name: str, table: Table, trunk: str) -> str | None:
    """Where a weight belongs, or None.

    Example:
        >>> place_of("backbone.layer1.0.bn1.bias", TABLES["fcn"][0], trunk="encoder.body.")
        'encoder.body.layer1.0.bn1.bias'
    """
    for pattern, replacement in table.rules:
        found = re.fullmatch(pattern, name)
        if found:
            return found.expand(replacement.replace("{trunk}", trunk))
    return None


# ---------- torchvision.models.segmentation

_AUX = (
    (r"aux_classifier\.([01])\.(.*)", r"aux_heads.aux.0.\1.\2"),
    (r"aux_classifier\.4\.(.*)", r"aux_heads.aux.2.\1"),
)
_RESNET_BACKBONE = ((r"backbone\.((?:conv1|bn1|layer[1-4])\..*)", r"{trunk}\1"),)
_ASPP = (
    (r"classifier\.0\.convs\.([0-3])\.([01])\.(.*)", r"decoder.aspp.branches.\1.\2.\3"),
    (r"classifier\.0\.convs\.4\.1\.(.*)", r"decoder.aspp.branches.4.project.0.\1"),
    (r"classifier\.0\.convs\.4\.2\.(.*)", r"decoder.aspp.branches.4.project.1.\1"),
    (r"classifier\.0\.project\.([01])\.(.*)", r"decoder.aspp.project.\1.\2"),
    (r"classifier\.1\.(.*)", r"decoder.refine.0.\1"),
    (r"classifier\.2\.(.*)", r"decoder.refine.1.\1"),
    (r"classifier\.4\.(.*)", r"head.\1"),
)

# Blocks of each of timm's stages of MobileNet V3 large, and which of the fifteen have squeeze and excitation.
_MOBILE_STAGES = (1, 2, 3, 4, 2, 3)
_MOBILE_EXCITED = {4, 5, 6, 11, 12, 13, 14, 15}


def _mobilenet_backbone() -> Iterator[tuple[str, str]]:
    """Torchvision numbers blocks and their layers through; timm names them by stage and purpose."""
    yield r"backbone\.0\.0\.(.*)", r"{trunk}conv_stem.\1"
    yield r"backbone\.0\.1\.(.*)", r"{trunk}bn1.\1"
    places = [(stage, block) for stage, count in enumerate(_MOBILE_STAGES) for block in range(count)]
    for number, (stage, block) in enumerate(places, start=1):
        here, there = rf"{{trunk}}blocks.{stage}.{block}.", rf"backbone\.{number}\.block\."
        # The first block does not widen, so that its 1x1 convolution at the end is timm's "pointwise".
        layers = ["conv_dw", "conv_pw"] if number == 1 else ["conv_pw", "conv_dw", "conv_pwl"]
        excited = number in _MOBILE_EXCITED
        for i, layer in enumerate(layers):
            index = i + (excited and i == len(layers) - 1)
            yield rf"{there}{index}\.0\.(.*)", rf"{here}{layer}.\1"
            yield rf"{there}{index}\.1\.(.*)", rf"{here}bn{i + 1}.\1"
        if excited:
            yield rf"{there}2\.fc1\.(.*)", rf"{here}se.conv_reduce.\1"
            yield rf"{there}2\.fc2\.(.*)", rf"{here}se.conv_expand.\1"
    yield r"backbone\.16\.0\.(.*)", r"{trunk}blocks.6.0.conv.\1"
    yield r"backbone\.16\.1\.(.*)", r"{trunk}blocks.6.0.bn1.\1"


_TORCHVISION_FCN = Table(
    "torchvision's FCN",
    ("backbone.conv1.weight", "classifier.0.weight", "classifier.4.weight"),
    (
        *_RESNET_BACKBONE,
        (r"classifier\.([01])\.(.*)", r"decoder.conv.\1.\2"),
        (r"classifier\.4\.(.*)", r"head.\1"),
        *_AUX,
    ),
)
_TORCHVISION_DEEPLAB = Table(
    "torchvision's DeepLabV3 on a ResNet",
    ("backbone.conv1.weight", "classifier.0.convs.0.0.weight"),
    (*_RESNET_BACKBONE, *_ASPP, *_AUX),
)
_TORCHVISION_DEEPLAB_MOBILE = Table(
    "torchvision's DeepLabV3 on MobileNetV3",
    ("backbone.0.0.weight", "classifier.0.convs.0.0.weight"),
    (*_mobilenet_backbone(), *_ASPP, *_AUX),
)

# ---------- VGG-16 and AlexNet, as torchvision and timm name them

# Numbers of the convolutions of each stage in `features`, without and with batch normalisation between them.
_VGG = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
_VGG_BN = ((0, 3), (7, 10), (14, 17, 20), (24, 27, 30), (34, 37, 40))
_PLAIN_MARKS, _NORM_MARKS = (
    ("features.2.weight", "features.28.weight"),
    ("features.1.running_mean", "features.40.weight"),
)
_ALEXNET_MARKS = ("features.0.weight", "features.10.weight", "classifier.1.weight")


def _features(numbers: tuple[tuple[int, ...], ...], here: str, *, step: int, norm: bool) -> Iterator[tuple[str, str]]:
    """Convolutions (and their norms) of VGG onto stages of which every layer takes `step` places."""
    for stage, convs in enumerate(numbers):
        for i, number in enumerate(convs):
            place = here.format(stage=stage, number=stage + 1, index=step * i, conv=i + 1)
            yield rf"features\.{number}\.(.*)", rf"{place}\1"
            if norm:
                after = here.format(stage=stage, number=stage + 1, index=step * i + 1, conv=i + 1)
                yield rf"features\.{number + 1}\.(.*)", rf"{after}\1"


def _fully_connected(fc6: str, fc7: str, numbers: tuple[int, int] = (0, 3)) -> tuple[tuple[str, str], ...]:
    """The classifier of torchvision, and timm's, which is convolutional already."""
    return (
        (rf"classifier\.{numbers[0]}\.(.*)", rf"{fc6}.\1"),
        (rf"classifier\.{numbers[1]}\.(.*)", rf"{fc7}.\1"),
        (r"pre_logits\.fc1\.(.*)", rf"{fc6}.\1"),
        (r"pre_logits\.fc2\.(.*)", rf"{fc7}.\1"),
    )


def _vgg(here: str, *, step: int, fc: tuple[tuple[str, str], ...] = ()) -> Table:
    return Table("VGG-16", _PLAIN_MARKS, (*_features(_VGG, here, step=step, norm=False), *fc))


def _vgg_bn(here: str, *, fc: tuple[tuple[str, str], ...] = ()) -> Table:
    return Table("VGG-16 with batch normalisation", _NORM_MARKS, (*_features(_VGG_BN, here, step=3, norm=True), *fc))


_CAFFE_VGG = _vgg("conv{number}_{conv}.", step=1, fc=_fully_connected("fc6", "fc7"))
_STAGES, _ENCODER = "{{trunk}}stages.{stage}.{index}.", "encoder.{stage}.{index}."
_ALEXNET = Table(
    "torchvision's AlexNet",
    _ALEXNET_MARKS,
    (
        *((rf"features\.{number}\.(.*)", rf"conv{i}.\1") for i, number in enumerate((0, 3, 6, 8, 10), start=1)),
        *_fully_connected("fc6", "fc7", (1, 4)),
    ),
)

# ---------- segmentation_models_pytorch

_SMP_ENCODER = ((r"encoder\.model\.(.*)", r"{trunk}\1"), (r"encoder\.(.*)", r"{trunk}\1"))
_SMP_ENDS = (*_SMP_ENCODER, (r"segmentation_head\.0\.(.*)", r"head.0.\1"))


def _smp_aspp(there: str, here: str, *, separable: bool) -> tuple[tuple[str, str], ...]:
    wide = (
        (rf"{there}convs\.([1-3])\.0\.([01])\.(.*)", rf"{here}branches.\1.\2.\3"),
        (rf"{there}convs\.([1-3])\.1\.(.*)", rf"{here}branches.\1.2.\2"),
    )
    return (
        *(wide if separable else ((rf"{there}convs\.([1-3])\.([01])\.(.*)", rf"{here}branches.\1.\2.\3"),)),
        (rf"{there}convs\.0\.([01])\.(.*)", rf"{here}branches.0.\1.\2"),
        (rf"{there}convs\.4\.1\.(.*)", rf"{here}branches.4.project.0.\1"),
        (rf"{there}convs\.4\.2\.(.*)", rf"{here}branches.4.project.1.\1"),
        (rf"{there}project\.([01])\.(.*)", rf"{here}project.\1.\2"),
    )


_SMP_UNET = Table(
    "segmentation_models_pytorch's Unet",
    ("decoder.blocks.0.conv1.0.weight", "segmentation_head.0.weight"),
    (
        (r"decoder\.blocks\.(\d+)\.conv1\.(.*)", r"decoder.steps.\1.convs.0.\2"),
        (r"decoder\.blocks\.(\d+)\.conv2\.(.*)", r"decoder.steps.\1.convs.1.\2"),
        (r"segmentation_head\.0\.(.*)", r"head.\1"),
        *_SMP_ENCODER,
    ),
    imagenet=False,
)
_SMP_PSP = Table(
    "segmentation_models_pytorch's PSPNet",
    ("decoder.psp.blocks.0.pool.1.0.weight", "segmentation_head.0.weight"),
    (
        (r"decoder\.psp\.blocks\.(\d+)\.pool\.1\.([01])\.(.*)", r"decoder.pooling.projections.\1.\2.\3"),
        (r"decoder\.conv\.([01])\.(.*)", r"decoder.fuse.0.\1.\2"),
        *_SMP_ENDS,
    ),
    imagenet=False,
)


def _smp_deeplab(*, separable: bool) -> Table:
    return Table(
        "segmentation_models_pytorch's DeepLabV3",
        ("decoder.aspp.convs.1.0.0.weight" if separable else "decoder.aspp.convs.1.0.weight", "decoder.conv.weight"),
        (
            *_smp_aspp(r"decoder\.aspp\.", "decoder.aspp.", separable=separable),
            (r"decoder\.conv\.(.*)", r"decoder.refine.0.\1"),
            (r"decoder\.bn\.(.*)", r"decoder.refine.1.\1"),
            *_SMP_ENDS,
        ),
        imagenet=False,
    )


def _smp_deeplab_plus(*, separable: bool) -> Table:
    return Table(
        "segmentation_models_pytorch's DeepLabV3Plus",
        ("decoder.aspp.0.convs.1.0.0.weight" if separable else "decoder.aspp.0.convs.1.0.weight",),
        (
            *_smp_aspp(r"decoder\.aspp\.0\.", "decoder.context.0.", separable=separable),
            (r"decoder\.aspp\.1\.([01])\.(.*)", r"decoder.context.1.\1.\2"),
            (r"decoder\.aspp\.2\.(.*)", r"decoder.context.1.2.\1"),
            (r"decoder\.block1\.([01])\.(.*)", r"decoder.reduce.\1.\2"),
            (r"decoder\.block2\.0\.([01])\.(.*)", r"decoder.fuse.\1.\2"),
            (r"decoder\.block2\.1\.(.*)", r"decoder.fuse.2.\1"),
            *_SMP_ENDS,
        ),
        imagenet=False,
    )


# ---------- trunks of classifiers

_HRNET_TRUNK = (
    r"((?:conv[12]|bn[12]|layer1|transition[123]|stage[234])\..*)",
    r"{trunk}\1",
)
_HRNET_MARKS = ("conv2.weight", "transition1.0.0.weight", "stage4.0.fuse_layers.0.1.0.weight")
_HRNET = Table("HRNet of timm or its authors", _HRNET_MARKS, (_HRNET_TRUNK,))
_HRNET_SEGMENTATION = Table(
    "the authors' HRNet for segmentation",
    (*_HRNET_MARKS, "last_layer.3.weight"),
    (
        _HRNET_TRUNK,
        (r"last_layer\.0\.(.*)", r"decoder.conv.\1"),
        (r"last_layer\.1\.(.*)", r"decoder.norm.\1"),
        (r"last_layer\.3\.(.*)", r"head.\1"),
    ),
)


def _ocr(blocks: str) -> tuple[tuple[str, str], ...]:
    """The context of objects: convolutions, each followed by a pair of norm and ReLU."""
    attention = rf"{blocks}ocr_distri_head\.object_context_block\."
    doubles = (("f_pixel", "query"), ("f_object", "key"))
    singles = (("f_down", "value"), ("f_up", "up"))
    return (
        (rf"{blocks}aux_head\.(.*)", r"context.regions.\1"),
        (rf"{blocks}conv3x3_ocr\.(.*)", r"context.pixels.\1"),
        *((rf"{attention}{there}\.0\.(.*)", rf"context.attention.{here}.0.0.\1") for there, here in doubles),
        *((rf"{attention}{there}\.1\.0\.(.*)", rf"context.attention.{here}.0.1.\1") for there, here in doubles),
        *((rf"{attention}{there}\.2\.(.*)", rf"context.attention.{here}.1.0.\1") for there, here in doubles),
        *((rf"{attention}{there}\.3\.0\.(.*)", rf"context.attention.{here}.1.1.\1") for there, here in doubles),
        *((rf"{attention}{there}\.0\.(.*)", rf"context.attention.{here}.0.\1") for there, here in singles),
        *((rf"{attention}{there}\.1\.0\.(.*)", rf"context.attention.{here}.1.\1") for there, here in singles),
        (rf"{blocks}ocr_distri_head\.conv_bn_dropout\.0\.(.*)", r"context.fuse.0.\1"),
        (rf"{blocks}ocr_distri_head\.conv_bn_dropout\.1\.0\.(.*)", r"context.fuse.1.\1"),
        (rf"{blocks}cls_head\.(.*)", r"head.\1"),
    )


_HRNET_OCR = Table(
    "the authors' HRNet with OCR", (*_HRNET_MARKS, "cls_head.weight", "aux_head.3.weight"), (_HRNET_TRUNK, *_ocr(""))
)
_HMSA = Table(
    "NVIDIA's hierarchical multi-scale attention",
    (*(f"backbone.{mark}" for mark in _HRNET_MARKS), "ocr.cls_head.weight", "scale_attn.conv2.weight"),
    (
        (rf"backbone\.{_HRNET_TRUNK[0]}", _HRNET_TRUNK[1]),
        *_ocr(r"ocr\."),
        *((rf"scale_attn\.conv{i}\.(.*)", rf"attention.{i}.0.\1") for i in (0, 1)),
        *((rf"scale_attn\.bn{i}\.(.*)", rf"attention.{i}.1.\1") for i in (0, 1)),
        (r"scale_attn\.conv2\.(.*)", r"attention.2.\1"),
    ),
)
_RESNET = Table(
    "a ResNet of torchvision or timm",
    ("conv1.weight", "layer4.0.conv1.weight", "fc.weight"),
    ((r"((?:conv1|bn1|layer[1-4])\..*)", r"{trunk}\1"),),
)
_RESNET_DEEP = Table(
    "a ResNet of timm with a deep stem",
    ("conv1.0.weight", "layer4.0.conv1.weight", "fc.weight"),
    _RESNET.rules,
)

TABLES: Mapping[str, tuple[Table, ...]] = {
    "fcn": (_TORCHVISION_FCN,),
    "deeplabv3_torchvision": (_TORCHVISION_DEEPLAB, _TORCHVISION_DEEPLAB_MOBILE),
    "fcn32s": (_CAFFE_VGG,),
    "fcn16s": (_CAFFE_VGG,),
    "fcn8s": (_CAFFE_VGG,),
    "fcn8s_atonce": (_CAFFE_VGG,),
    "fcn_alexnet": (_ALEXNET,),
    "segnet": (_vgg_bn(_ENCODER), _vgg(_ENCODER, step=3)),
    "segnet_bayesian": (_vgg_bn(_ENCODER), _vgg(_ENCODER, step=3)),
    "deconvnet": (
        _vgg_bn(_ENCODER, fc=_fully_connected("fully_connected.0", "fully_connected.3")),
        _vgg(_ENCODER, step=3, fc=_fully_connected("fully_connected.0", "fully_connected.3")),
    ),
    "deeplabv1": (_vgg(_STAGES, step=2),),
    "dilation": (_vgg(_STAGES, step=2, fc=_fully_connected("encoder.classifier.fc6", "encoder.classifier.fc7")),),
    "unet": (_SMP_UNET,),
    "pspnet_smp": (_SMP_PSP,),
    "deeplabv3_smp": (_smp_deeplab(separable=True), _smp_deeplab(separable=False)),
    "deeplabv3plus_smp": (_smp_deeplab_plus(separable=True), _smp_deeplab_plus(separable=False)),
    "hrnet": (_HRNET_SEGMENTATION,),
    "hrnet_ocr": (_HRNET_OCR,),
    "hmsa": (_HMSA,),
}
"""Formats for each key of `MODELS`, beside `TRUNKS`."""

TRUNKS = (_HRNET, _RESNET, _RESNET_DEEP)
"""Classifiers whose trunk fits the encoder of any model that has the same one."""
