"""A network as a picture: a block for every stage, placed by the resolution of its map, joined to what it reads from.

Time runs from left to right, resolution from top to bottom: a U-Net is a U, a dilated network goes down three steps and
stays there, a high-resolution network runs on several rows at once. A block is as high as its map is fine (each halving
takes off a step, not a half, or the deep ones could not be seen) and as wide as the root of its channels. A dashed wire
carries the positions of maxima and no map. Where convolutions have holes, their rates stand below the name.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby, takewhile
from math import log2, sqrt
from typing import TYPE_CHECKING, Any, Literal

from atrous.reports.strokes import fewer_colors, rounded

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from atrous.analysis import Stage

__all__ = ["draw_network"]

INK, MUTED, LINE, WIRE, PAPER = "#1f2a37", "#6b7480", "#e3e6ea", "#8a939e", "#ffffff"
# Fills and edges of the parts of a network, told apart by every kind of colour vision (after Okabe and Ito).
PARTS = (("#8fc1e3", "#2b6c99"), ("#f2b880", "#b35c00"), ("#8fd3b6", "#1c7a58"), ("#e3a7c8", "#97477a"))
PLAIN = ("#eceef1", "#8a939e")

GAP = 26.0  # between columns, where wires turn
TALLEST, SHORTEST, STEP = 84.0, 18.0, 14.0  # heights of blocks: at the image's resolution, at least, per halving
ROW_GAP = 40.0  # between rows: room for a block's name
DOWN, UP = "to the coarsest map", "back to the image"
CARD = 7.0  # from one of several parallel blocks to the next
MANY = 4  # rates that are all written out
LINE_HEIGHT = 12.0  # of text
LANE = 7.0  # between wires that run over the same row


@dataclass
class _Block:
    """A box of the picture: one stage, or several that do the same beside each other."""

    name: str
    part: str
    channels: str
    width: float
    height: float
    row: int
    cards: int = 1
    sources: list[int] = field(default_factory=list)
    switches: list[int] = field(default_factory=list)  # those of the sources that only say where maxima were
    rates: str = ""
    x: float = 0.0
    y: float = 0.0
    below: list["_Block"] = field(default_factory=list)  # further outputs of the stage, on coarser rows

    @property
    def right(self) -> float:
        return self.x + self.width + CARD * (self.cards - 1)


def draw_network(
    stages: "Sequence[Stage]", size: tuple[int, int], *, title: str = "", kind: Literal["png", "svg"] | str = "png"
) -> bytes:
    """Draw the stages of a network.

    Args:
        stages: from `analysis.stages`.
        size: height and width of the image that they were found with.
        title: over the picture.
        kind: "png" or "svg".

    Returns:
        The content of the file.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = _Rows(stages, size)
    blocks = _blocks(stages, rows)
    width = _place(blocks, rows)
    top = rows.height + (36 if title else 14)
    with mpl.rc_context({"font.family": "sans-serif", "svg.fonttype": "none", "svg.hashsalt": title}):
        foot = 42 + (LINE_HEIGHT if any(block.rates for block in blocks) else 0)
        canvas = Figure(figsize=(width / 96, (top + foot) / 96), dpi=96, facecolor=PAPER)
        axes = canvas.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set_xlim(0, width)
        axes.set_ylim(-foot, top)
        axes.axis("off")
        _draw_rows(axes, rows, width)
        _draw_wires(axes, blocks, rows)
        for block in blocks:
            for box in (block, *block.below):
                _draw_block(axes, box, _colors(blocks)[box.part])
            if block.below:  # one stage on several rows
                column = block.x + block.width / 2
                axes.plot([column, column], [block.y, block.below[-1].y], color=WIRE, linewidth=1, ls=":", zorder=1)
        _draw_parts(axes, blocks, 20 - foot)
        if any(block.switches for block in blocks):
            words = "dashed: positions of the maxima, not their map"
            axes.text(width - 14, top - 12, words, fontsize=7.5, color=MUTED, ha="right", va="top")
        if title:
            axes.text(14, top - 10, title, fontsize=12, fontweight="bold", color=INK, va="top")
        buffer = io.BytesIO()
        metadata: dict[str, Any] = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        canvas.savefig(buffer, format=kind, dpi=144, metadata=metadata)
    return fewer_colors(buffer.getvalue()) if kind == "png" else buffer.getvalue()


class _Rows:
    """The resolutions of the picture, finest on top; maps pooled to a few cells share the last."""

    def __init__(self, stages: "Sequence[Stage]", size: tuple[int, int]) -> None:
        self.size = size
        grids = [stage for stage in stages if _keeps_a_grid(stage)]
        regular = {stride for stage in grids for stride in (stage.stride, *self._others(stage)) if stride is not None}
        regular |= {stride for stage in stages for _, stride in stage.dips}
        self.strides = sorted({Fraction(1), *regular})
        pooled = any(self.row(stage.stride) >= len(self.strides) for stage in stages)
        self.names = [self._name(stride) for stride in self.strides] + (["whole image"] if pooled else [])
        self.heights = [self.block_height(i) for i in range(len(self.names))]
        self.lanes = [0] * len(self.names)  # wires that pass over each row

    def _others(self, stage: "Stage") -> list[Fraction]:
        """Strides of the further outputs of a stage, from their sizes beside the first."""
        if stage.stride is None:
            return []
        first = stage.shape[1]
        return [stage.stride * round(first / shape[1]) for shape in stage.outputs[1:] if len(shape) == 3 and shape[1]]

    def row(self, stride: Fraction | None) -> int:
        """The row of a stride; the last one where it is none of the grid's."""
        return self.strides.index(stride) if stride in self.strides else len(self.strides)

    def rows_of(self, stage: "Stage") -> list[int]:
        """The rows of all outputs of a stage."""
        return [self.row(stage.stride), *(self.row(stride) for stride in self._others(stage))]

    def block_height(self, row: int) -> float:
        """How high a block on a row is."""
        stride = self.strides[row] if row < len(self.strides) else Fraction(64)
        return max(SHORTEST, TALLEST - STEP * log2(stride))

    def _name(self, stride: Fraction) -> str:
        height, width = (max(1, round(side / stride)) for side in self.size)
        fraction = "full size" if stride == 1 else f"1/{stride}"
        return f"{fraction}\n{height} x {width}"

    def settle(self) -> None:
        """Heights of rows are known: set their middles, the last row at the bottom."""
        self.middles: list[float] = []
        y = 0.0
        for height, lanes in zip(reversed(self.heights), reversed(self.lanes), strict=True):
            self.middles.insert(0, y + height / 2)
            y += height + ROW_GAP + LANE * lanes
        self.height = y - ROW_GAP + 12  # room for the number of channels


def _keeps_a_grid(stage: "Stage") -> bool:
    return stage.receptive_field is None or stage.receptive_field.stride is not None


def _width(channels: int) -> float:
    return 9.0 + 1.25 * sqrt(channels)


def _blocks(stages: "Sequence[Stage]", rows: _Rows) -> list[_Block]:
    """The image, a block for each stage or each pile of parallel ones, and the logits."""
    blocks = [_Block("image", "", "", 14.0, rows.heights[0], 0)]
    home: dict[int, int] = {}
    parts = _parts(stages)
    for _, pile in groupby(enumerate(stages), key=lambda item: _pile_key(*item)):
        indices, members = zip(*pile, strict=True)
        block = _block(members, parts[indices[0]], rows)
        values, switches = (
            {home[source] for stage in members for source in sources(stage) if source in home}
            for sources in (lambda stage: {*stage.sources} - {*stage.switches}, lambda stage: stage.switches)
        )
        for source, stride in {(home[i], stride) for stage in members for i, stride in stage.dips if i in home}:
            blocks.append(_pooled(blocks[source], source, rows, stride))
            values = values - {source} | {len(blocks) - 1}
        block.sources, block.switches = sorted(values | switches) or [0], sorted(switches - values)
        home |= dict.fromkeys(indices, len(blocks))
        blocks.append(block)
    ends = sorted(set(range(1, len(blocks))) - {source for block in blocks for source in block.sources})
    return [*blocks, _Block("logits", "", "", 14.0, rows.heights[0], 0, sources=ends)]


def _pooled(block: _Block, source: int, rows: _Rows, stride: Fraction) -> _Block:
    """The map of a block on a coarser grid, which no stage has: the model pools it itself."""
    row = rows.row(stride)
    width = block.width
    return _Block("pooled", block.part, block.channels, width, rows.block_height(row), row, sources=[source])


def _rates(stages: "Sequence[Stage]") -> str:
    """The rates of convolutions with holes, of one stage or of several beside each other; "" where there are none."""
    rates = [stage.rates for stage in stages if stage.rates]
    shown = list(rates[0]) if len(stages) == 1 and rates else [max(each) for each in rates]
    if not shown:
        return ""
    numbers = f"{shown[0]} to {shown[-1]}" if len(shown) > MANY else ", ".join(map(str, shown))
    plain = "1x1, " if len(rates) < len(stages) else ""
    return f"{plain}rate{'s' if len(shown) > 1 else ''} {numbers}"


def _block(stages: "Sequence[Stage]", part: str, rows: _Rows) -> _Block:
    """One block for stages that stand beside each other, most often for a single one."""
    stage, count = stages[0], len(stages)
    channels, places = stage.shape[0], rows.rows_of(stage)
    last = stages[-1].name.rpartition(".")[2]
    block = _Block(
        name=_short(stage.name) if count == 1 else f"{_short(stage.name)}-{last}",
        part=part,
        channels=f"{channels}" if count == 1 else f"{count} x {channels}",
        width=_width(channels),
        height=rows.block_height(places[0]),
        row=places[0],
        cards=count,
        rates=_rates(stages),
    )
    for row, shape in zip(places[1:], stage.outputs[1:], strict=False):
        if row not in (block.row, *(box.row for box in block.below)):
            block.below.append(_Block("", part, str(shape[0]), _width(shape[0]), rows.block_height(row), row))
    return block


def _pile_key(index: int, stage: "Stage") -> tuple[Any, ...]:
    """Stages beside each other in one list, on one grid, that read the same: drawn as one pile."""
    parent, _, name = stage.name.rpartition(".")
    if not name.isdigit() or not stage.sources:
        return (index,)
    return parent, stage.sources, stage.shape[0], stage.shape if _keeps_a_grid(stage) else None


def _short(name: str) -> str:
    """The end of a path; a number with the list that it is in, several layers as first and last."""
    first, _, last = name.partition("..")
    parts = first.split(".")
    label = ".".join(parts[-2:]) if len(parts) > 1 and parts[-1].isdigit() else parts[-1]
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(parts[-1], last, strict=False)))
    return f"{label}-{last[same:]}" if last else label


def _parts(stages: "Sequence[Stage]") -> list[str]:
    """The part of the network that each stage belongs to, for its colour and the line below.

    Where the stages have no parts, what comes after the coarsest map is told from what comes before.
    """
    paths = [stage.name.split("..")[0].split(".") for stage in stages]
    depth = 1 + (len({path[0] for path in paths}) == 1)
    names = [".".join(path[:depth]) for path in paths]
    if len(set(names)) <= len(PARTS):
        return names
    strides = [stage.stride or Fraction(1) for stage in stages]
    turn = max(i for i, stride in enumerate(strides) if stride == max(strides))
    return [DOWN if i <= turn else UP for i in range(len(stages))]


def _place(blocks: list[_Block], rows: _Rows) -> float:
    """Columns in the order of execution; the width of the picture."""
    x = 96.0
    for block in blocks:
        block.x = x
        widest = max(
            [
                block.right - block.x,
                *(b.width for b in block.below),
                6.2 * len(block.name) - 8,
                5.0 * len(block.rates) - 8,
            ]
        )
        block.x += (widest - (block.right - block.x)) / 2
        for below in block.below:
            below.x = x + (widest - below.width) / 2
        x += widest + GAP
    for block in blocks:
        rows.heights[block.row] = max(rows.heights[block.row], block.height + CARD * (block.cards - 1))
        rows.lanes[block.row] = max(rows.lanes[block.row], _lanes(blocks, block.row))
    rows.settle()
    for block in blocks:
        for box in (block, *block.below):
            box.y = rows.middles[box.row]
    return x + 12


def _lanes(blocks: list[_Block], row: int) -> int:
    """How many wires have to pass over the blocks of a row."""
    return sum(_must_pass_over(blocks, s, t) for t, b in enumerate(blocks) for s in b.sources if blocks[s].row == row)


def _must_pass_over(blocks: list[_Block], source: int, target: int) -> bool:
    between = blocks[source + 1 : target]
    row = blocks[source].row
    return any(row in (block.row, *(b.row for b in block.below)) for block in between)


def _colors(blocks: list[_Block]) -> dict[str, tuple[str, str]]:
    parts = dict.fromkeys(block.part for block in blocks if block.part)
    return {"": PLAIN, **{part: PARTS[i % len(PARTS)] for i, part in enumerate(parts)}}


def _draw_rows(axes: "Axes", rows: _Rows, width: float) -> None:
    for name, middle in zip(rows.names, rows.middles, strict=True):
        axes.plot([88, width - 12], [middle, middle], color=LINE, linewidth=0.8, zorder=0)
        axes.text(14, middle, name, fontsize=7.5, color=MUTED, va="center", linespacing=1.4)


def _draw_block(axes: "Axes", block: _Block, colors: tuple[str, str]) -> None:
    from matplotlib.patches import FancyBboxPatch

    fill, edge = colors
    for card in reversed(range(block.cards)):
        corner = (block.x + card * CARD, block.y - block.height / 2 + card * CARD)
        axes.add_patch(
            FancyBboxPatch(
                corner, block.width, block.height, boxstyle="round,pad=0,rounding_size=2.5", facecolor=fill,
                edgecolor=edge, linewidth=1.0, zorder=3,
            )
        )  # fmt: skip
    middle = block.x + block.width / 2
    if block.name:
        words = f"{block.name}\n{block.rates}".strip()
        axes.text(
            middle, block.y - block.height / 2 - 4, words, fontsize=7.5, color=INK, ha="center", va="top",
            zorder=4, bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6},
        )  # fmt: skip
    if block.channels:
        upper = block.y + block.height / 2 + CARD * (block.cards - 1)
        axes.text(middle, upper + 3, block.channels, fontsize=7, color=MUTED, ha="center", va="bottom", zorder=4)


def _draw_wires(axes: "Axes", blocks: list[_Block], rows: _Rows) -> None:
    taken: dict[int, int] = {}
    for target, block in enumerate(blocks):
        for source in block.sources:
            start = blocks[source]
            outputs, inputs = [start, *start.below], [block, *block.below]
            pairs = [(a, b) for a in outputs for b in inputs if a.row == b.row] if block.below else []
            if not pairs:
                pairs = [(a, block) for a in outputs]
            for begin, end in pairs:
                height = None
                if begin is start and _must_pass_over(blocks, source, target):
                    lane = taken[start.row] = taken.get(start.row, 0) + 1
                    height = rows.middles[start.row] + rows.heights[start.row] / 2 + 8 + LANE * lane
                _wire(axes, begin, end, height, dashed=source in block.switches)


def _wire(axes: "Axes", start: _Block, end: _Block, height: float | None, *, dashed: bool) -> None:
    """A rounded line from one block to another, over the blocks between them where a height is given."""
    from matplotlib.patches import FancyArrowPatch, PathPatch
    from matplotlib.path import Path

    x0, y0, x1, y1 = start.x + start.width, start.y, end.x, end.y
    points = [(x0, y0)]
    if height is not None:
        points += [(start.right + 9, y0), (start.right + 9, height), (x1 - 11, height), (x1 - 11, y1)]
    elif abs(y0 - y1) > 0.5:
        points += [(x1 - 13, y0), (x1 - 13, y1)]
    points.append((x1, y1))
    path = rounded(points, 6.0)
    skip = height is not None or x1 - x0 > 2.2 * GAP
    width, style = 1.1 if skip else 1.3, (0, (4, 3)) if dashed else "-"
    axes.add_patch(PathPatch(Path(*path), facecolor="none", edgecolor=WIRE, linewidth=width, ls=style, zorder=2))
    axes.add_patch(
        FancyArrowPatch((x1 - 5, y1), (x1 - 0.5, y1), arrowstyle="-|>", mutation_scale=7, color=WIRE, zorder=2)
    )


def _draw_parts(axes: "Axes", blocks: list[_Block], y: float) -> None:
    """Names of the parts under the columns that they take."""
    colors = _colors(blocks)
    for part, group in groupby(blocks, key=lambda block: block.part):
        if part:
            members = list(group)
            left, right = members[0].x, max(b.right for m in members for b in (m, *m.below))
            axes.plot([left, right], [y, y], color=colors[part][1], linewidth=2.2, solid_capstyle="round")
            axes.text((left + right) / 2, y - 4, part, fontsize=8, color=INK, ha="center", va="top")
