"""The peers' own networks with our weights in them, so that both sides decide the same pixels."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from atrous.models.base import DenseModel, EncoderDecoder


def leaves(module: nn.Module) -> list[nn.Module]:
    """Modules that own parameters themselves, in the order in which they were registered."""
    return [part for part in module.modules() if any(True for _ in part.parameters(recurse=False))]


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy parameters and statistics, leaf by leaf; both networks must have the same leaves in the same order."""
    ours, theirs = leaves(source), leaves(target)
    assert len(ours) == len(theirs), f"{len(ours)} leaves against {len(theirs)}"
    with torch.no_grad():
        for a, b in zip(ours, theirs, strict=True):
            state, wanted = a.state_dict(), b.state_dict()
            assert state.keys() == wanted.keys(), f"{type(a).__name__} against {type(b).__name__}"
            b.load_state_dict(state)


def copy_named(source: nn.Module, target: nn.Module) -> None:
    """Copy what has the same name; every tensor of the source must find its place."""
    result = nn.Module.load_state_dict(target, source.state_dict(), strict=False)  # smp has its own, which says nothing
    assert not result.unexpected_keys, result.unexpected_keys


def smp_unet(model: DenseModel, encoder: str = "resnet18") -> nn.Module:
    """segmentation-models-pytorch's `Unet` as its users build it, with our weights."""
    import segmentation_models_pytorch as smp

    peer = smp.Unet(encoder, encoder_weights=None, in_channels=model.in_channels, classes=model.num_classes)
    copy_weights(model, peer)
    return peer


def torchvision_fcn(model: EncoderDecoder) -> nn.Module:
    """torchvision's `fcn_resnet50` as its users build it, with our weights."""
    from torchvision.models.segmentation import fcn_resnet50

    aux = len(model.aux_heads) > 0
    peer = fcn_resnet50(weights=None, weights_backbone=None, num_classes=model.num_classes, aux_loss=aux)
    copy_weights(model, peer)
    return peer


def torchvision_deeplabv3(model: EncoderDecoder, name: str) -> nn.Module:
    """torchvision's DeepLabV3 by its function's name, with our weights."""
    from torchvision.models import segmentation

    aux = len(model.aux_heads) > 0
    peer = getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=model.num_classes, aux_loss=aux)
    copy_weights(model, peer)
    return peer


def smp_network(model: DenseModel, name: str, encoder: str, **options: Any) -> nn.Module:
    """A network of segmentation-models-pytorch by its class's name, with our weights."""
    import segmentation_models_pytorch as smp

    peer = getattr(smp, name)(
        encoder, encoder_weights=None, in_channels=model.in_channels, classes=model.num_classes, **options
    )
    copy_weights(model, peer)
    return peer


def smp_pspnet(model: EncoderDecoder, encoder: str) -> nn.Module:
    """smp's `PSPNet`, which keeps the stages of its encoder that it never runs."""
    import segmentation_models_pytorch as smp

    peer = smp.PSPNet(encoder, encoder_weights=None, in_channels=model.in_channels, classes=model.num_classes)
    copy_named(getattr(model.encoder, "body", model.encoder), peer.encoder)
    copy_weights(nn.ModuleList([model.decoder, model.head]), nn.ModuleList([peer.decoder, peer.segmentation_head]))
    return peer


class _HRNetHead(nn.Module):
    """timm's HRNet, its four maps brought together and classified as its authors do."""

    def __init__(self, name: str, num_classes: int) -> None:
        super().__init__()
        import timm

        self.body = timm.create_model(name, features_only=True, feature_location="")
        channels = sum(info["num_chs"] for info in self.body.feature_info[-4:])
        self.head = nn.Sequential(
            nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, num_classes, 1)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        maps = self.body(image)[-4:]
        size = maps[0].shape[-2:]
        joined = torch.cat([maps[0], *[nn.functional.interpolate(m, size, mode="bilinear") for m in maps[1:]]], dim=1)
        return nn.functional.interpolate(self.head(joined), image.shape[-2:], mode="bilinear")


def timm_hrnet(model: EncoderDecoder) -> nn.Module:
    """timm's HRNet-W18 with the authors' head."""
    peer = _HRNetHead("hrnet_w18", model.num_classes)
    copy_named(model.encoder, peer.body)
    copy_weights(nn.ModuleList([model.decoder, model.head]), peer.head)
    return peer


def monai_attention_unet(model: DenseModel) -> nn.Module:
    """MONAI's `AttentionUnet` at the widths of ours."""
    from monai.networks.nets import AttentionUnet

    widths = (64, 128, 256, 512, 1024)
    return AttentionUnet(2, model.in_channels, model.num_classes, widths, strides=(2, 2, 2, 2))


Peer = tuple[str, dict[str, Any], Callable[[Any], nn.Module], str]


def _torchvision(name: str, encoder: str) -> Peer:
    build = partial(torchvision_deeplabv3, name=name)
    return "deeplabv3_torchvision", {"encoder": encoder, "aux": True}, build, ""


def _smp(key: str, name: str, encoder: str) -> Peer:
    return key, {"encoder": encoder}, partial(smp_network, name=name, encoder=encoder), ""


PEERS: dict[str, Peer] = {
    "torchvision fcn_resnet50": ("fcn", {"encoder": "resnet50", "aux": True}, torchvision_fcn, ""),
    "torchvision deeplabv3_resnet50": _torchvision("deeplabv3_resnet50", "resnet50"),
    "torchvision deeplabv3_resnet101": _torchvision("deeplabv3_resnet101", "resnet101"),
    "smp Unet resnet18": _smp("unet", "Unet", "resnet18"),
    "smp PSPNet resnet34": ("pspnet_smp", {"encoder": "resnet34"}, partial(smp_pspnet, encoder="resnet34"), ""),
    "smp DeepLabV3 resnet34": _smp("deeplabv3_smp", "DeepLabV3", "resnet34"),
    "smp DeepLabV3Plus resnet34": _smp("deeplabv3plus_smp", "DeepLabV3Plus", "resnet34"),
    "timm hrnet_w18": (
        "hrnet",
        {"encoder": "hrnet_w18"},
        timm_hrnet,
        "timm has the trunk; the authors' head was put on it",
    ),
    "MONAI AttentionUnet": (
        "attention_unet",
        {},
        monai_attention_unet,
        "another network of the same widths: 169 GMACs at 512x512, ours 266",
    ),
}
"""Peer's name -> our key, its arguments, the peer with our weights, and what differs."""
