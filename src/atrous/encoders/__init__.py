"""Encoders: an image becomes feature maps. The papers' own trunks stand here beside any backbone of timm."""

from atrous.encoders.base import Encoder, EncoderSection, Pretrained, measure_levels
from atrous.encoders.catalogue import timm_catalogue
from atrous.encoders.create import ENCODERS, create_encoder, encoder_name
from atrous.encoders.here import WeightsHere, list_weights
from atrous.encoders.origin import WeightsOrigin, origins_of
from atrous.encoders.timm import timm_encoder
from atrous.encoders.vgg import load_vgg16, vgg_stages

__all__ = [
    "ENCODERS",
    "Encoder",
    "EncoderSection",
    "Pretrained",
    "WeightsHere",
    "WeightsOrigin",
    "create_encoder",
    "encoder_name",
    "list_weights",
    "load_vgg16",
    "measure_levels",
    "origins_of",
    "timm_catalogue",
    "timm_encoder",
    "vgg_stages",
]
