"""Encoders: an image becomes feature maps. The papers' own trunks stand here beside any backbone of timm."""

from atrous.encoders.base import Encoder, measure_levels
from atrous.encoders.timm import timm_encoder

__all__ = ["Encoder", "measure_levels", "timm_encoder"]
