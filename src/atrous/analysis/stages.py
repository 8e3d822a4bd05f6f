"""A network as the list of its stages, in the order in which they run: sizes, costs, and who reads from whom.

A stage is a part that its author gave a name: a child of the model, the children of an encoder or a decoder, the
entries of a list. Activations and poolings that stand alone belong to the stage beside them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from torch import nn

from atrous.analysis.counts import parameters
from atrous.analysis.receptive_field import ReceptiveField, receptive_fields
from atrous.analysis.trace import IMAGE, Trace, kept_for_backward, trace
from atrous.errors import ModelError

__all__ = ["Stage", "stages"]

Shape = tuple[int, ...]

_COARSEST = 64  # stride of a grid; what is coarser is a summary of the image
_LONG = 6  # convolutions that make a plain sequence worth taking apart where its resolution changes


@dataclass(frozen=True)
class Stage:
    """A part of a network, at one size of the image.

    Attributes:
        name: path of the part inside the model.
        kind: its class.
        outputs: shapes (channels, height, width) of what it puts out, without the batch; the first is the main one.
        stride: input pixels per pixel of the main output; None where that is no map.
        parameters: weights, a shared one counted in the first stage that has it.
        multiply_adds: of convolutions and matrix products, for one image.
        training_memory: bytes that it keeps between forward and backward, for one image in float32.
        inference_memory: bytes of all maps that exist while it runs without gradients, at most: what earlier stages
            left for later ones too.
        receptive_field: what its main output sees of the image; None where an operation is not known.
        sources: positions in the list of the stages that it reads from, earlier ones for a network without recurrence;
            empty for the image alone.
        switches: those of the sources of which it reads the positions of maxima, and no values.
        dips: of the sources whose map comes here by a coarser grid than both have, such as a pooling that the model
            does itself: input pixels per pixel of that grid.
        rates: of its convolutions with holes, in their order, each once; 1 for those without where there are others.
    """

    name: str
    kind: str
    outputs: tuple[Shape, ...]
    stride: Fraction | None
    parameters: int
    multiply_adds: int
    training_memory: int
    inference_memory: int
    receptive_field: ReceptiveField | None
    sources: tuple[int, ...]
    switches: tuple[int, ...] = ()
    dips: tuple[tuple[int, Fraction], ...] = ()
    rates: tuple[int, ...] = ()

    @property
    def shape(self) -> Shape:
        """The main output's (channels, height, width)."""
        return self.outputs[0]


def stages(model: nn.Module, size: tuple[int, int], *, in_channels: int | None = None) -> list[Stage]:
    """The stages that a model runs through in evaluation. Nothing is computed for real.

    What the model does between its stages (resizing, joining) counts for the stage before. So the sums over the stages
    are the model's multiply-adds and training memory, and the largest inference memory is the model's.

    Args:
        model: any network; it is not changed.
        size: height and width of the image.
        in_channels: channels of the image; by default what the model or its first convolution says.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))
        >>> [(stage.name, stage.shape, int(stage.stride), stage.sources) for stage in stages(model, (32, 64))]
        [('0', (8, 16, 32), 2, ()), ('2', (4, 16, 32), 2, (0,))]
    """
    run = trace(model, size, in_channels)
    groups = _groups(model, run)
    if not groups:
        raise ModelError(f"{type(model).__name__} has no parts that could be its stages")
    macs, live, read = _follow(run, groups)
    kept, owner, last = [0] * len(groups), _Owners(groups), 0
    for place, memory in kept_for_backward(model, size, in_channels).items():
        stage = owner.of(place)
        last = last if stage is None else stage
        kept[last] += memory
    try:
        fields: Mapping[str, ReceptiveField] = receptive_fields(model, in_channels=in_channels)
    except ModelError:
        fields = {}
    weights = _weights(model, groups)
    return [
        Stage(
            name=group.name,
            kind=type(model.get_submodule(group.path)).__name__,
            outputs=tuple(shape[1:] for shape in run.outputs[group.output]),
            stride=_stride(run, group.output, fields.get(group.output)),
            parameters=weights[i],
            multiply_adds=macs[i],
            training_memory=kept[i],
            inference_memory=live[i],
            receptive_field=fields.get(group.output),
            sources=tuple(sorted({*read[i].values, *read[i].switches})),
            switches=tuple(sorted(read[i].switches - read[i].values.keys())),
            dips=_dips(run, groups, i, read[i].values),
            rates=_rates(model, group),
        )
        for i, group in enumerate(groups)
    ]


@dataclass
class _Group:
    """Modules that count as one stage: its first and last layers, the one whose output is its output, all of them."""

    path: str
    last: str
    output: str
    members: list[str]

    @property
    def name(self) -> str:
        return self.path if self.path == self.last else f"{self.path}..{self.last.rpartition('.')[2]}"


def _groups(model: nn.Module, run: Trace) -> list[_Group]:
    """The stages, each with the light modules beside it, in the order of execution."""
    order = {path: i for i, path in enumerate(run.outputs)}
    parts = sorted(_parts(model, run, "", 0), key=order.__getitem__)
    if not any(_kernels(model.get_submodule(path)) for path in parts):
        return []
    alone = [_Group(path, path, path, [path]) for path in parts]
    *_, found = _follow(run, alone)
    sources = [tuple(sorted({*read.values, *read.switches})) for read in found]
    groups: list[_Group] = []
    home: list[int] = []  # of each part: the group that it went to
    waiting: list[str] = []  # a pooling belongs to the stage after it: a skip leaves from before
    for path, reads in zip(parts, sources, strict=True):
        if _kernels(model.get_submodule(path)):
            groups.append(_Group(path, path, path, [*waiting, path]))
            waiting = []
        elif (
            groups
            and not waiting
            and {home[i] for i in reads if i < len(home)} == {len(groups) - 1}
            and _resolution(run, path) == _resolution(run, groups[-1].output)
        ):
            groups[-1].members.append(path)
            groups[-1].output = path
        else:
            waiting.append(path)
        home.append(len(groups) - (not waiting))
    groups[-1].members += waiting
    return _join_chains(model, run, groups)


def _parts(model: nn.Module, run: Trace, path: str, depth: int) -> Iterator[str]:
    """Paths of the modules that may be stages: lists are opened, and modules that are made of parts."""
    for name, child in model.get_submodule(path).named_children():
        place = f"{path}.{name}" if path else name
        if place not in run.outputs:
            if any(other.startswith(f"{place}.") for other in run.outputs):  # a list: it holds parts and does not run
                yield from _parts(model, run, place, depth + (depth > 0))
        elif not run.outputs[place]:
            continue
        elif depth == 0 and (_is_network(child) or _is_shell(run, place, child)):
            yield from _parts(model, run, place, depth)
        elif _is_made_of_parts(model, run, place, depth):
            yield from _parts(model, run, place, depth + 1)
        else:
            yield place


def _is_network(module: nn.Module) -> bool:
    """Whether a module is a whole network of ours, with another one around it."""
    return hasattr(module, "num_classes") and hasattr(module, "alignment")


def _is_shell(run: Trace, path: str, module: nn.Module) -> bool:
    """Whether a module is one other module with something around it."""
    rich = {f"{path}.{name}": child for name, child in module.named_children() if _kernels(child)}
    inner = list(rich.values())
    return (
        type(module) is not nn.Sequential
        and len(inner) == 1
        and rich.keys() <= run.outputs.keys()
        and (len(list(inner[0].children())) > 1)
    )


def _is_made_of_parts(model: nn.Module, run: Trace, path: str, depth: int) -> bool:
    """Whether a module is opened: one of the model's own with several blocks in it, one in it that is all lists."""
    module = model.get_submodule(path)
    rich = {f"{path}.{name}": child for name, child in module.named_children() if _kernels(child)}
    if type(module) is nn.Sequential:
        sizes = {_resolution(run, place) for place in rich}
        return len(sizes) > 1 and _kernels(module) >= _LONG
    lists = [child for place, child in rich.items() if place not in run.outputs]
    if depth == 0:
        blocks = [child for place, child in rich.items() if place in run.outputs and list(child.children())]
        return len(blocks) + sum(len(list(entries.children())) for entries in lists) > 1
    return depth == 1 and len(lists) == len(rich) > 0


def _join_chains(model: nn.Module, run: Trace, groups: Sequence[_Group]) -> list[_Group]:
    """Single layers of one list, each reading only the one before it and of its size, are a stage: conv1_1, conv1_2."""
    *_, found = _follow(run, groups)
    sources = [tuple(sorted({*read.values, *read.switches})) for read in found]
    readers = [sum(i in read for read in sources) for i in range(len(groups))]
    joined: list[_Group] = []
    for i, group in enumerate(groups):
        before = joined[-1] if joined else group
        single = not any(list(model.get_submodule(path).children()) for path in (before.last, group.path))
        beside = before.path.rpartition(".")[0] == group.path.rpartition(".")[0]
        alone = sources[i] == (i - 1,) and readers[i - 1] == 1
        if single and beside and alone and run.outputs[before.output] == run.outputs[group.output]:
            joined[-1] = _Group(before.path, group.path, group.output, [*before.members, *group.members])
        else:
            joined.append(group)
    return joined


def _kernels(module: nn.Module) -> int:
    """Layers with kernels or matrices."""
    return sum(any(w is not None and w.ndim > 1 for w in part._parameters.values()) for part in module.modules())


def _resolution(run: Trace, path: str) -> Shape:
    shapes = run.outputs.get(path) or ((),)
    return shapes[0][2:]


def _stride(run: Trace, path: str, field: ReceptiveField | None) -> Fraction | None:
    """By what the map sees where that is known: a map of an image with a margin around it is larger than it looks."""
    shape = run.outputs[path][0]
    if len(shape) != 4:
        return None
    return field.stride if field and field.stride else Fraction(max(1, round(run.image[0] / shape[2])))


class _Owners:
    """Which stage a module belongs to, by its path."""

    def __init__(self, groups: Sequence[_Group]) -> None:
        self.known: dict[str, int | None] = {path: i for i, group in enumerate(groups) for path in group.members}

    def of(self, place: str) -> int | None:
        if place not in self.known:
            self.known[place] = self.of(place.rpartition(".")[0]) if place else None
        return self.known[place]


@dataclass
class _Read:
    """Where something comes from: stages, by their values or by the positions of their maxima.

    Attributes:
        values: stage -> the coarsest grid on the way, None where there was none.
        switches: stages.
    """

    values: dict[int, tuple[int, int] | None] = field(default_factory=dict)
    switches: set[int] = field(default_factory=set)

    def add(self, other: "_Read", by_switches: bool) -> None:
        """What another one has, by its values or by its positions."""
        self.switches |= other.switches
        if by_switches:
            self.switches |= other.values.keys()
        else:
            for stage, grid in other.values.items():
                self.values.setdefault(stage, grid)  # the first way: a network that runs twice has others


def _coarser(one: tuple[int, int] | None, other: tuple[int, int] | None) -> tuple[int, int] | None:
    return min((grid for grid in (one, other) if grid is not None), default=None)


def _follow(run: Trace, groups: Sequence[_Group]) -> tuple[list[int], list[int], list[_Read]]:
    """Multiply-adds, largest live memory and sources of each stage, from the operations of the run."""
    owner = _Owners(groups)
    macs, live = [0] * len(groups), [0] * len(groups)
    found = [_Read() for _ in groups]
    origins: list[_Read] = []  # of each operation's result: the stages that it comes from
    last = 0
    for operation in run.operations:
        stage = owner.of(operation.place)
        read = _Read()
        for source in operation.sources - {IMAGE}:
            read.add(origins[source], source in operation.switches)
        last = last if stage is None else stage
        macs[last] += operation.multiply_adds
        live[last] = max(live[last], operation.live)
        if stage is None:
            read.values = {origin: _coarser(grid, operation.grid) for origin, grid in read.values.items()}
            origins.append(read)
        else:
            own = _Read({k: v for k, v in read.values.items() if k != stage}, read.switches - {stage})
            found[stage].add(own, by_switches=False)
            origins.append(_Read({stage: None}))
    return macs, live, found


def _dips(
    run: Trace, groups: Sequence[_Group], stage: int, values: Mapping[int, tuple[int, int] | None]
) -> tuple[tuple[int, Fraction], ...]:
    """Sources whose map was on a coarser grid of the image before it came to a stage."""
    found = []
    own = _resolution(run, groups[stage].output)
    for source, grid in sorted(values.items()):
        ends = [_resolution(run, groups[source].output), own]
        if grid is None or any(len(end) != 2 or grid[0] >= end[0] or grid[1] >= end[1] for end in ends):
            continue
        strides = {Fraction(side, cells) for side, cells in zip(run.image, grid, strict=True)}
        if len(strides) == 1 and max(strides) <= _COARSEST and max(strides).denominator == 1:
            found.append((source, strides.pop()))
    return tuple(found)


def _rates(model: nn.Module, group: _Group) -> tuple[int, ...]:
    """Dilations of the convolutions of a stage that have kernels to spread; none where all are 1."""
    modules = [part for path in group.members for part in model.get_submodule(path).modules()]
    convs = [part for part in modules if isinstance(part, nn.Conv2d) and max(part.kernel_size) > 1]
    rates = tuple(dict.fromkeys(int(max(conv.dilation)) for conv in convs))
    return rates if any(rate > 1 for rate in rates) else ()


def _weights(model: nn.Module, groups: Sequence[_Group]) -> list[int]:
    """Parameters of each stage, a shared one in the first that has it."""
    seen: set[int] = set()
    counts = []
    for group in groups:
        own = nn.ModuleList(model.get_submodule(path) for path in group.members)
        counts.append(parameters(own) - sum(w.numel() for w in own.parameters() if id(w) in seen))
        seen |= {id(w) for w in own.parameters()}
    return counts
