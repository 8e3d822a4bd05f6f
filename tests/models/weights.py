"""Weights copied from another library's network into ours, for the tests that compare outputs."""

import torch
from torch import nn


def leaves(module):
    """Modules that own parameters themselves, in the order in which they were registered."""
    return [part for part in module.modules() if any(True for _ in part.parameters(recurse=False))]


def shuffle_norms(module):
    """Give every batch normalisation statistics and an affine part that are not zero and one."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.1, 0.1)
            nn.init.uniform_(part.running_var, 0.8, 1.2)
            nn.init.uniform_(part.weight, 0.6, 1.0)
            nn.init.uniform_(part.bias, -0.1, 0.1)


def copy_weights(source, target):
    """Copy parameters and statistics leaf by leaf, in evaluation; both must have the same leaves in the same order."""
    shuffle_norms(source)
    theirs, ours = leaves(source.eval()), leaves(target.eval())
    assert len(theirs) == len(ours)
    for a, b in zip(theirs, ours, strict=True):
        b.load_state_dict(a.state_dict())


def difference(ours, theirs, size):
    """The largest difference of the logits of one image, as a share of how much the logits vary within it.

    A share, because random weights of a hundred layers make logits of thousands, or of thousandths.
    """
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = theirs(image)
        expected = expected["out"] if isinstance(expected, dict) else expected
        spread = (expected - expected.mean((2, 3), keepdim=True)).std()
        return ((ours(image)["out"] - expected).abs().max() / spread).item()
