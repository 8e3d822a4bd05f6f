"""The loop of the watershed, compiled at first use."""

from typing import Any

import numpy as np

from atrous.compilation import kernel

__all__ = ["flood"]


@kernel
def flood(labels: Any, levels: Any, mask: Any) -> None:
    """Grow labels over the mask, lowest levels first, in the order of arrival within a level.

    A queue for each level, as a chain of pixels: a pixel enters once, when it gets its label.
    """
    height, width = labels.shape
    first, last = np.full(256, -1, np.int64), np.full(256, -1, np.int64)
    following = np.full(height * width, -1, np.int64)
    for y in range(height):
        for x in range(width):
            if labels[y, x] > 0:
                level, place = levels[y, x], y * width + x
                if first[level] < 0:
                    first[level] = place
                else:
                    following[last[level]] = place
                last[level] = place
    level = 0
    while level < 256:
        place = first[level]
        if place < 0:
            level += 1
            continue
        first[level] = following[place]
        y, x = place // width, place % width
        for side in range(4):
            ny, nx = y + (side == 0) - (side == 1), x + (side == 2) - (side == 3)
            if ny < 0 or nx < 0 or ny >= height or nx >= width or labels[ny, nx] > 0 or mask[ny, nx] == 0:
                continue
            labels[ny, nx] = labels[y, x]
            # What lies lower than the water stands comes at once.
            new, at = ny * width + nx, int(levels[ny, nx])
            if at < level:
                at = level
            if first[at] < 0:
                first[at] = new
            else:
                following[last[at]] = new
            last[at] = new
