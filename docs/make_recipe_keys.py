"""Writes docs/recipe-keys.md: every entry of a recipe with its type, range, default and meaning.

    python docs/make_recipe_keys.py

Everything comes from the code: names from the literal tables, types, ranges and defaults from the builders' signatures,
meanings from their docstrings. A test compares the committed page with what this command writes.
"""

import inspect
import json
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from atrous.adversarial import DISCRIMINATORS, INPUTS, USUAL
from atrous.augment import TRANSFORMS
from atrous.data.options import DataOptions
from atrous.encoders.create import ENCODERS
from atrous.inference.engines import ENGINES
from atrous.losses import CLASS_WEIGHTS, LOSSES
from atrous.models import MODELS, paper
from atrous.optim import OPTIMIZERS, SCHEDULES
from atrous.postprocess import REFINERS, Cleaning
from atrous.tables import Place
from atrous.tasks import TASKS
from atrous.training.adversary import AdversaryOptions
from atrous.training.options import TrainingOptions
from atrous.workflows.tuning_after import TUNED

PAGE = Path(__file__).parent / "recipe-keys.md"

HANDED = {
    "model": ("num_classes", "in_channels"),
    "encoder": ("in_channels", "pretrained", "output_stride", "multi_grid"),
    "task": ("num_classes", "frequencies"),
    "loss": ("logits", "mask", "target", "ignore_index", "pixel_weights", "weights"),
    "optimizer": ("model",),
    "schedule": ("max_steps",),
    "discriminator": ("in_channels", "image_channels"),
}
"""Parameters that atrous fills itself, by kind of section: a recipe may not name them."""

WORDS = {int: "integer", float: "number", str: "text", bool: "true or false", NoneType: "null", Path: "path"}
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


class Entry(NamedTuple):
    """A row of the page."""

    name: str
    type: str
    range: str
    default: str
    meaning: str


def type_of(hint: Any) -> str:
    """A type hint in the words of a recipe, without its bounds.

    >>> type_of(int | tuple[int, int] | None)
    'integer, [integer, integer] or null'
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return type_of(arguments[0])
    if origin in (Union, UnionType):
        return either(type_of(argument) for argument in arguments)
    if origin is Literal:
        return either(f"`{written(argument)}`" for argument in arguments)
    if origin is tuple and arguments[-1] is not Ellipsis:
        return f"[{', '.join(map(type_of, arguments))}]"
    base = origin or hint
    if isinstance(base, type) and issubclass(base, Mapping):
        return "mapping"
    if isinstance(base, type) and issubclass(base, Collection) and base is not str:
        inner = type_of(arguments[0]) if arguments and arguments[0] is not Any else ""
        return f"list of {inner}" if inner else "list"
    return WORDS.get(base, "section" if base is Any or base is inspect.Parameter.empty else base.__name__)


def range_of(hint: Any) -> str:
    """The bounds that a type hint carries, wherever they stand in it.

    >>> from annotated_types import Ge, Gt, Lt
    >>> range_of(Annotated[float, Gt(0), Lt(1)] | None)
    '> 0, < 1'
    """
    own = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    found = [f"{sign} {getattr(item, key)}" for item in own for key, sign in SIGNS.items() if hasattr(item, key)]
    inner = [range_of(part) for part in get_args(hint) if get_origin(hint) is not Literal]
    return ", ".join(dict.fromkeys([*found, *(text for text in inner if text)]))


def either(parts: Iterable[str]) -> str:
    """Alternatives in words, each once."""
    unique = list(dict.fromkeys(parts))
    return unique[0] if len(unique) == 1 else f"{', '.join(unique[:-1])} or {unique[-1]}"


def written(value: Any) -> str:
    """A value as a recipe writes it.

    >>> written((1, 2)), written(None), written("auto"), written({"name": "adam"})
    ('[1, 2]', 'null', 'auto', '{name: adam}')
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


def meanings(builder: Callable[..., Any]) -> dict[str, str]:
    """What Google docstrings say of each argument or attribute: a class's own, then those of its bases."""
    documented = builder.__mro__[:-1] if isinstance(builder, type) else [builder]
    texts = [inspect.cleandoc(each.__doc__ or "") for each in documented]
    found: dict[str, str] = {}
    for text in texts:
        for block in re.findall(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)*)", text, flags=re.MULTILINE):
            for name, said in re.findall(r"^    (\w+): (.*(?:\n {8,}.*)*)", block, flags=re.MULTILINE):
                found.setdefault(name, re.sub(r"\bNone\b", "null", " ".join(said.split())))
    return found


def entries(builder: Callable[..., Any], handed: Sequence[str] = (), given: Mapping[str, str] = {}) -> Iterator[Entry]:
    """What a section that names the builder may say.

    Args:
        builder: a function, class or dataclass.
        handed: parameters that atrous fills itself.
        given: defaults that are not those of the signature, in words.
    """
    target = builder.__init__ if isinstance(builder, type) and not is_dataclass(builder) else builder  # type: ignore[misc]
    hints, said = get_type_hints(target, include_extras=True), meanings(builder)
    factories = {each.name: each.default_factory for each in fields(builder)} if is_dataclass(builder) else {}
    for name, parameter in inspect.signature(builder).parameters.items():
        hint = hints.get(name, Any)
        if name in handed or hint is Place or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        default = f"`{written(parameter.default)}`" if writable(parameter.default) else ""
        if parameter.default is inspect.Parameter.empty:
            default = "required"
        elif factories.get(name, MISSING) is not MISSING:
            default = f"`{written(factories[name]())}`"  # type: ignore[operator]
        yield Entry(name, type_of(hint), range_of(hint), given.get(name, default), said.get(name, ""))


def writable(value: Any) -> bool:
    """Whether a recipe could say the value."""
    if isinstance(value, Mapping):
        return all(map(writable, value.values()))
    if isinstance(value, list | tuple):
        return all(map(writable, value))
    return value is None or isinstance(value, bool | int | float | str)


def table(rows: Iterable[Entry]) -> list[str]:
    """Entries as a Markdown table; nothing where there are none."""
    rows = list(rows)
    if not rows:
        return ["No entries beside `name`.", ""]
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    lines = [f"| `{name}` | {kind} | {bounds} | {default} | {said} |" for name, kind, bounds, default, said in escaped]
    return ["| entry | type | range | default | meaning |", "|---|---|---|---|---|", *lines, ""]


def named(kind: str, builders: Mapping[str, Callable[..., Any]], notes: Mapping[str, str] = {}) -> list[str]:
    """The builders of a table, a heading each, neighbours with the same entries together."""
    groups: list[tuple[list[str], list[Entry], str]] = []
    for name, builder in builders.items():
        found = entries(builder, HANDED.get(kind, ()))
        rows = [row._replace(meaning=row.meaning or elsewhere(row.name, builder)) for row in found]
        summary = notes.get(name, summary_of(builder))
        if groups and groups[-1][1] == rows and groups[-1][2] == summary:
            groups[-1][0].append(name)
        else:
            groups.append(([name], rows, summary))
    lines = []
    for names, rows, summary in groups:
        lines += [f"#### {', '.join(f'`{name}`' for name in names)}", "", *([summary, ""] if summary else [])]
        lines += table(rows)
    return lines


def elsewhere(argument: str, builder: Callable[..., Any]) -> str:
    """What the builder's file says of the argument in another docstring: families document it once."""
    own = [each for each in vars(sys.modules[builder.__module__]).values() if callable(each)]
    family = [each for each in own if getattr(each, "__module__", "") == builder.__module__]
    return next((said for other in family if (said := meanings(other).get(argument))), "")


def summary_of(builder: Callable[..., Any]) -> str:
    """The first sentence of a docstring, as a line of the page."""
    text = (inspect.getdoc(builder) or "").split("\n\n")[0]
    return " ".join(text.split())


def ideas() -> dict[str, str]:
    """What each model's paper adds, where its file names a paper."""
    found = {name: paper(name) for name in MODELS}
    return {name: known.idea if known else summary_of(MODELS[name]) for name, known in found.items()}


HEAD = """<!-- Written by `python docs/make_recipe_keys.py`; edit the code or that file instead. -->

# Recipe keys

A recipe is one YAML file. This page lists every entry that it may have. The types, ranges and defaults are those that
the code checks a recipe against, so an entry that is not listed here is refused. The command line can set each of them:
`atrous train DATA --recipe unet model.encoder=resnet34`. [Training](training.md) explains what they are for.

- A **section** is a mapping with a `name` and that builder's arguments: `{name: unet, encoder: resnet34}`. A name alone
  stands for a section without arguments: `model: unet`.
- "required" marks an entry without a default. An empty range means that the type is the only restriction of the schema.
- Numbers may be written as `0.001` or `1e-3`, nothing as `null`.
"""

STAGES = """A list of partial recipes that are trained one after the other, each from the weights of the one before.
Each needs a `name` of letters, digits, dots, dashes and underscores. A stage may change every section but `stages`,
`seed` and `input`. Its mappings are merged with those of the recipe. A section with another `name` replaces the
section, and any other value replaces the value; `null` empties it. See [Stages](training.md#stages).
"""

PRETRAINED = """`pretrained` is `true`, `auto`, `false`, a source or a file, see [Pretrained weights](pretrained.md).
"""

ENCODER = """The entry `encoder` of a model is a name, or a section with these arguments. Every name that is not
listed here is looked up in timm.
"""

LOSS = """A section, or a list of sections that are added up. Every loss also takes `weight`, a number, or [from, to]
over the run; 1 by default. {takers} take class `weights`: a list with a number ≥ 0 per class, or {rules}.
"""

ENGINE = """{engines}; `auto` where the recipe says nothing. What computes predictions on a CPU: see
[Prediction](prediction.md#engines).
"""

INPUT = """Written by atrous into the recipe of a bundle: the data type and the channels of the images. Do not set it.
"""

ORIGIN = """Written by atrous into the recipe of a bundle: what its weights were started from, with licence and SHA-256.
Do not set it.
"""


def page() -> str:
    """The text of docs/recipe-keys.md."""
    usual = {name: f"Usual input: `{given.input}`; usual stride: {given.stride}." for name, given in USUAL.items()}
    tuned = either(f"`{name}`" for name in TUNED)
    takers = [f"`{name}`" for name, loss in LOSSES.items() if "weights" in inspect.signature(loss).parameters]
    weighted = f"{', '.join(takers[:-1])} and {takers[-1]}"
    lines = [
        *[HEAD, "## `model`", "", "A section that names a network; see `atrous models`.", "", PRETRAINED],
        *named("model", MODELS, ideas()),
        "### Encoders", "",
        ENCODER,
        *named("encoder", ENCODERS),
        *["## `data`", "", *table(entries(DataOptions))],
        *["### `data.augment`", "", "A list of sections, applied in this order.", "", *named("transform", TRANSFORMS)],
        *["## `task`", "", *named("task", TASKS)],
        "### `task.loss` and `task.aux_loss`", "",
        LOSS.format(takers=weighted, rules=either(f"`{name}`" for name in CLASS_WEIGHTS)),
        *named("loss", LOSSES),
        *["## `optimizer`", "", *named("optimizer", OPTIMIZERS)],
        *["## `schedule`", "", *named("schedule", SCHEDULES)],
        *["## `training`", "", *table(entries(TrainingOptions))],
        "## `adversary`", "",
        "A section that names a discriminator, with the discriminator's arguments and these:", "",
        *table(entries(AdversaryOptions, given={"input": "by network", "stride": "by network"})),
        *["### Discriminators", "", *named("discriminator", DISCRIMINATORS, usual)],
        *["### `adversary.input`", "", *named("input", INPUTS)],
        *["## `stages`", "", STAGES],
        *["## `engine`", "", ENGINE.format(engines=either(f"`{name}`" for name in ENGINES))],
        *["## `refine`", "", "Post-processing of scores: a section. `none` is no post-processing.", ""],
        *named("refinement", REFINERS),
        *["## `clean`", "", "Post-processing of the predicted classes.", "", *table(entries(Cleaning))],
        "## `tune`", "",
        f"A list of post-processing steps whose settings are chosen on the validation images: {tuned}.", "",
        *["## `seed`", "", "An integer ≥ 0, 0 by default. It determines every random draw of the run.", ""],
        *["## `input`", "", INPUT],
        *["## `origin`", "", ORIGIN],
    ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE}")
