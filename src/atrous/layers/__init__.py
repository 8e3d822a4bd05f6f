"""Blocks that networks are made of, and the arithmetic that makes every image size work.

One file a subject: `basic` (any size, convolution with normalisation), `upsample` (coarse maps become fine, earlier
maps return), `atrous` (convolution with holes, ASPP), `pyramid` (pooling over regions), `residual` (units of
RefineNet and GCN), `unet` (steps down and up), `ocr` (object regions), `dropout` (seeded by place).
"""

from atrous.layers.atrous import ASPP, ImagePooling, atrous_convolution, effective_size, separable_conv_bn_relu
from atrous.layers.basic import BatchNorm, conv_bn_relu, fit, mirror, resize, shrink, unfit, unfit_grid
from atrous.layers.pyramid import PyramidPooling, averaging_matrix, block_average, pyramid_average
from atrous.layers.residual import BoundaryRefinement, ChainedResidualPooling, GlobalConvolution, ResidualConvUnit
from atrous.layers.upsample import (
    BilinearUpsample,
    bed_of_nails,
    bilinear_kernel,
    cut,
    gate,
    max_pool,
    max_unpool,
    nearest_neighbour,
    overlaps,
    shortcut,
    skip,
    zeros_then_filter,
)

__all__ = [
    "ASPP",
    "BatchNorm",
    "BilinearUpsample",
    "BoundaryRefinement",
    "ChainedResidualPooling",
    "GlobalConvolution",
    "ImagePooling",
    "PyramidPooling",
    "ResidualConvUnit",
    "atrous_convolution",
    "averaging_matrix",
    "bed_of_nails",
    "bilinear_kernel",
    "block_average",
    "conv_bn_relu",
    "cut",
    "effective_size",
    "fit",
    "gate",
    "max_pool",
    "max_unpool",
    "mirror",
    "nearest_neighbour",
    "overlaps",
    "pyramid_average",
    "resize",
    "separable_conv_bn_relu",
    "shortcut",
    "shrink",
    "skip",
    "unfit",
    "unfit_grid",
    "zeros_then_filter",
]
