"""No module outside tasks/ knows one task from another: none asks for a task's name, class or figure."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import atrous
from atrous.tasks import TASKS
from atrous.types import Sample

SOURCE = Path(atrous.__file__).parent
CLASSES = {task.__name__ for task in TASKS.values()}
FIGURES = {f"val_{measure.name}" for task in TASKS.values() for measure in task.measures}
KEYS = set(Sample.__annotations__)  # "instances" is a task, and a part of a sample that data and augmentation look for


def modules() -> list[Path]:
    own = ("tasks", "metrics", "recipes")
    return [path for path in sorted(SOURCE.rglob("*.py")) if path.relative_to(SOURCE).parts[0] not in own]


def branches(tree: ast.AST) -> Iterator[str]:
    """What knows a task, in the words of the code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            names = set(TASKS)
            if any(isinstance(operator, ast.In | ast.NotIn) for operator in node.ops):
                names -= KEYS
            words = {part.value for side in sides for part in ast.walk(side) if isinstance(part, ast.Constant)}
            known = {part.id for side in sides for part in ast.walk(side) if isinstance(part, ast.Name)}
            if names & words or CLASSES & known:
                yield ast.unparse(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            asked = {part.id for argument in node.args for part in ast.walk(argument) if isinstance(part, ast.Name)}
            if node.func.id in ("isinstance", "issubclass") and CLASSES & asked:
                yield ast.unparse(node)
        elif isinstance(node, ast.match_case):
            words = {part.value.value for part in ast.walk(node.pattern)
                     if isinstance(part, ast.MatchValue) and isinstance(part.value, ast.Constant)}  # fmt: skip
            if set(TASKS) & words:
                yield ast.unparse(node.pattern)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("atrous.tasks"):
            if imported := CLASSES & {alias.name for alias in node.names}:
                yield f"imports {imported}"
        elif isinstance(node, ast.Constant) and node.value in FIGURES:
            yield repr(node.value)


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_branch_on_a_task(path: Path) -> None:
    assert list(branches(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "code",
    [
        'if section["name"] == "multilabel": pass',
        'x = 1 if "instances" != name else 2',
        'x = name in ("multilabel", "instances")',
        "isinstance(task, (Instances, str))",
        "type(task) is MultiLabel",
        "from atrous.tasks import Segmentation",
        'scores["val_mean_iou"]',
        'match name:\n    case "segmentation": pass',
    ],
)
def test_each_kind_of_branch_is_found(code: str) -> None:
    assert list(branches(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ['"instances" in sample', 'recipe.section("task", "segmentation")', "folder.multilabel and x == 3"]
)
def test_what_is_no_branch_is_let_be(code: str) -> None:
    assert not list(branches(ast.parse(code)))
