"""The house keeps its measures: no circles, small files and functions, few parameters, no room that holds too much."""

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1] / "src" / "atrous"
FILES = sorted(ROOT.rglob("*.py"))

FILE_LINES, WORKFLOW_LINES, FUNCTION_LINES, PARAMETERS = 400, 150, 50, 8
ROOM_SHARE = 0.15
SHARED = {"num_classes", "in_channels", "encoder", "pretrained"}
"""Parameters that nearly every builder of a network has; beside them it may take as many as any function."""
WIDER = {
    "crf/learn.py learn_compatibility": "the numbers of two terms and of their descent, each a name of the paper",
    "encoders/resnet.py ResNet.__init__": "the ways in which papers build the network; its builders take few of them",
    "inference/predictor.py Predictor.__init__": "what a bundle says of a model, and where and how it is computed",
    "postprocess/refine.py local_crf": "its parameters are the keys of a recipe's section",
    "training/module.py TrainingModule.__init__": "the parts of a training, put together in one place of the engine",
}
"""What may take more parameters, and why."""


Function = ast.FunctionDef | ast.AsyncFunctionDef
Named = tuple[str, Function, bool]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def within(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports_of(module: str) -> set[str]:
    """The modules of the package that another one names in an import, inside functions and for type checkers too."""
    found: set[str] = set()
    for node in ast.walk(tree(MODULES[module])):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in MODULES}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
    return found & MODULES.keys()


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that lead to each other: what is left when modules without a way on are taken out.

    A module is in a circle where it can be reached from itself.
    """
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting += graph[module]
        reached[start] = seen
    groups = {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in graph
        if module in reached[module]
    }
    return [list(group) for group in sorted(groups)]


def test_a_circle_is_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d"}, "e": set()}) == [["b", "c"], ["d"]]


def test_no_module_imports_itself_through_others() -> None:
    assert circles({module: imports_of(module) for module in MODULES}) == []


def lines_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_files_are_short() -> None:
    assert {within(path): lines_of(path) for path in FILES if lines_of(path) > FILE_LINES} == {}


def test_a_workflow_is_thin() -> None:
    workflows = [path for path in FILES if path.parent.name == "workflows"]
    assert workflows
    assert {within(path): lines_of(path) for path in workflows if lines_of(path) > WORKFLOW_LINES} == {}


def functions_of(path: Path) -> Iterator[Named]:
    """The functions of a file with their names, and whether each is part of what others may call."""
    public_file = not any(part.startswith("_") and part != "__init__.py" for part in path.relative_to(ROOT).parts)

    def walk(node: ast.AST, name: str, public: bool) -> Iterator[Named]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                yield from walk(child, f"{name}{child.name}.", public and not child.name.startswith("_"))
            elif isinstance(child, Function):
                known = public and (child.name == "__init__" or not child.name.startswith("_"))
                yield f"{name}{child.name}", child, known
                yield from walk(child, f"{name}{child.name}.", False)
            else:
                yield from walk(child, name, public)

    yield from walk(tree(path), "", public_file)


def length_of(function: Function) -> int:
    """Lines from `def` to the end, the docstring left out."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        text = function.body[0]
        lines -= (text.end_lineno or 0) - text.lineno + 1
    return lines


def test_functions_are_short() -> None:
    counted = {
        f"{within(path)} {name}": length_of(function) for path in FILES for name, function, _ in functions_of(path)
    }
    assert len(counted) > 1000
    assert {name: lines for name, lines in counted.items() if lines > FUNCTION_LINES} == {}


def parameters_of(path: Path, function: Function, name: str) -> int:
    """How many parameters a caller may give."""
    given = function.args
    names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    if "." in name and names[:1] in (["self"], ["cls"]):
        names = names[1:]
    shared = SHARED if path.parent.name == "models" else set()
    return len([each for each in names if each not in shared])


def too_wide(path: Path) -> dict[str, int]:
    counted = {
        f"{within(path)} {name}": parameters_of(path, function, name)
        for name, function, public in functions_of(path)
        if public
    }
    return {name: count for name, count in counted.items() if count > PARAMETERS}


def test_public_functions_take_few_parameters() -> None:
    # In a command a parameter is an option; in a kernel it is an array.
    counted = [path for path in FILES if path.parent.name != "cli" and not path.stem.endswith("kernels")]
    wide = {name: count for path in counted for name, count in too_wide(path).items()}
    assert {name: count for name, count in wide.items() if name not in WIDER} == {}
    assert wide.keys() >= WIDER.keys(), "what no longer needs the exception stands in WIDER"


def test_no_room_holds_too_much() -> None:
    lines: Counter[str] = Counter()
    for path in FILES:
        lines[path.relative_to(ROOT).parts[0]] += lines_of(path)
    room, most = lines.most_common(1)[0]
    assert most < ROOM_SHARE * lines.total(), f"{room} holds {most} of {lines.total()} lines"
