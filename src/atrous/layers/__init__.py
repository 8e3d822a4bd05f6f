"""Blocks that more than one model uses, and the arithmetic that makes every image size work."""

from atrous.layers.basic import BatchNorm, conv_bn_relu, fit, mirror, resize, unfit

__all__ = ["BatchNorm", "conv_bn_relu", "fit", "mirror", "resize", "unfit"]
