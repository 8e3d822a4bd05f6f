"""The input of specs/losses.md: three classes, two rows of three pixels, the last of them ignored."""

import torch

LOGITS = torch.tensor(
    [[[2, 0, -1], [1, 0.5, 0]], [[0, 1, 0], [1, -0.5, 2]], [[-1, 0, 3], [0, 0.5, 1]]], dtype=torch.float32
)[None]
MASK = torch.tensor([[[0, 1, 2], [1, 0, 255]]])
WEIGHTS = torch.tensor([1.0, 2.0, 0.5])
BINARY_LOGITS = torch.tensor([[1.2, -0.3, 0.4], [-2.0, 0.1, 0.0]])[None, None]
BINARY_TARGET = torch.tensor([[1, 0, 1], [0, 0, 1]])[None, None]


def scene(seed=0, *, batch=2, classes=3, size=(16, 20)):
    """Random logits and a mask with ignored pixels: large enough for every loss to do all that it does."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, *size, generator=generator)
    mask = torch.randint(0, classes, (batch, *size), generator=generator)
    mask[:, :3, 5:] = 255
    return logits, mask
