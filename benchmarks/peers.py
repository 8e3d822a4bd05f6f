"""The peers' own networks with our weights in them, so that both sides decide the same pixels."""

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
