"""A network whose dropouts draw while it predicts: what the view `mc:N` runs."""

import copy
from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from atrous.analysis.probe import meta_image, watch_modules
from atrous.layers.dropout import placed_dropout

__all__ = ["Grid", "Sampled", "find_dropouts"]

_DROPOUTS = (nn.Dropout, nn.Dropout2d)
_FAR = 512  # pixels: grids are measured on images larger than the windows that networks are made for


class Grid(NamedTuple):
    """How the positions of a map lie on the image: `positions` of them every `pixels`; no positions in a global map."""

    positions: tuple[int, int]
    pixels: int

    def origin(self, place: tuple[int, int]) -> tuple[int, int]:
        """The position where a window of the image begins."""
        row, column = (count * start // self.pixels for count, start in zip(self.positions, place, strict=True))
        return row, column


def find_dropouts(bare: nn.Module, in_channels: int, alignment: int) -> dict[str, list[Grid]]:
    """Dropouts that a prediction passes: for each, the grids of the maps that it meets, in order.

    Dropouts of vectors and tokens are not among them: they have no place in the image.

    Args:
        bare: a network on the meta device, in evaluation.
        in_channels: channels of its image.
        alignment: pixels of shift under which it is exactly equivariant.
    """
    side = -(-_FAR // alignment) * alignment
    seen = [_sizes(bare, in_channels, side + more) for more in (0, alignment)]
    return {
        name: [
            Grid((larger[0] - size[0], larger[1] - size[1]), alignment)
            for size, larger in zip(sizes, seen[1][name], strict=True)
        ]
        for name, sizes in seen[0].items()
    }


def _sizes(bare: nn.Module, in_channels: int, side: int) -> dict[str, list[tuple[int, int]]]:
    """Heights and widths of the maps that come out of each dropout."""
    sizes: dict[str, list[tuple[int, int]]] = defaultdict(list)

    def left(name: str, output: object) -> None:
        module = bare.get_submodule(name)
        if isinstance(module, _DROPOUTS) and module.p > 0 and isinstance(output, Tensor) and output.ndim == 4:
            sizes[name].append((output.shape[2], output.shape[3]))

    with torch.no_grad(), watch_modules(bare, left):
        bare(meta_image(bare, in_channels, (side, side)))
    return dict(sizes)


class Sampled:
    """Passes of a network with its dropouts on, each a function of (seed, number of the pass, place in the image).

    It belongs to one call in one thread. The weights are those of the network, not copies.

    Args:
        network: in evaluation.
        dropouts: from `find_dropouts`.
        run: gives the scores of an image by a network.
        seed: other seeds give other passes.
    """

    def __init__(
        self,
        network: nn.Module,
        dropouts: dict[str, list[Grid]],
        run: Callable[[nn.Module, Tensor], Tensor],
        seed: int,
    ) -> None:
        shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
        self._network = copy.deepcopy(network, shared)  # type: ignore[arg-type]
        self._run, self._seed = run, seed
        self._drawing = []
        for index, (name, grids) in enumerate(dropouts.items()):
            layer = _Drawing(network.get_submodule(name), grids, index)
            self._network.set_submodule(name, layer)
            self._drawing.append(layer)

    def __call__(
        self, image: Float[Tensor, "B C H W"], number: int, place: tuple[int, int] = (0, 0)
    ) -> Float[Tensor, "B K H W"]:
        """Scores of a window by one pass.

        Args:
            image: the window.
            number: of the pass.
            place: row and column of the whole image where it begins.
        """
        for layer in self._drawing:
            layer.begin((self._seed, number), place)
        return self._run(self._network, image)


class _Drawing(nn.Module):
    """Dropout by key and place; begins anew with every pass."""

    def __init__(self, dropout: nn.Module, grids: list[Grid], index: int) -> None:
        super().__init__()
        self.p = float(dropout.p)  # type: ignore[arg-type]
        self.whole_maps = isinstance(dropout, nn.Dropout2d)
        self.grids, self.index = grids, index
        self.begin((0, 0), (0, 0))

    def begin(self, key: tuple[int, int], place: tuple[int, int]) -> None:
        self.key, self.place, self.call = key, place, 0

    def forward(self, x: Tensor) -> Tensor:
        grid = self.grids[self.call]
        key = int(np.random.SeedSequence([*self.key, self.index, self.call]).generate_state(1)[0])
        self.call += 1
        if self.whole_maps:
            return x * placed_dropout(x.new_ones(1, x.shape[1], 1, 1), self.p, key)
        return placed_dropout(x, self.p, key, grid.origin(self.place))
