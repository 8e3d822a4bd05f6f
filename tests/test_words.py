"""One concept, one name: no class and no type alias is defined in two modules of the package."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import atrous

SOURCE = Path(atrous.__file__).parent


def named(tree: ast.Module) -> Iterator[str]:
    """The classes and type aliases of a module, a leading underscore left out: readers see the word."""
    for node in tree.body:
        names: list[str] = []
        if isinstance(node, ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        for name in names:
            word = name.lstrip("_")
            if word[:1].isupper() and not word.isupper():  # CamelCase: a constant is another matter
                yield word


def test_no_name_means_two_things() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for file in sorted(SOURCE.rglob("*.py")):
        for word in named(ast.parse(file.read_text(encoding="utf-8"))):
            places[word].append(str(file.relative_to(SOURCE)))
    assert len(places) > 300
    assert {word: files for word, files in places.items() if len(files) > 1} == {}


def test_what_counts_as_a_name() -> None:
    text = "class Plan: ...\nclass _Grid: ...\nSpan = tuple[int, int]\nView: type = int\nTABLE = {}\nplain = 1\n"
    assert list(named(ast.parse(text))) == ["Plan", "Grid", "Span", "View"]
