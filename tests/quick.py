"""The tests of what changed, within two minutes: `make quick`.

Changed is what differs from the commit where this branch left main, with all that is not committed yet; on main itself,
from what was pushed; where nothing differs, from the commit before. A changed file under src/atrous asks for, in order:

1. the tests named after it (src/atrous/losses/rmi.py: tests/losses/test_rmi.py);
2. the other tests of its room (tests/losses);
3. the tests of other rooms that import it by name; where there are none at all, those of the public names;
4. its own doctests.

Changed tests come first of all. The contract of the models is tried on the changed models alone. Tests marked `slow`
and those that would begin after the time is up are left out, and counted. What stands further away is for `make test`.
"""

import argparse
import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "src/atrous"
NOTHING_COLLECTED = 5  # pytest's exit status where, say, all tests of a changed file are marked `slow`
PUBLIC_NAMES = "tests/workflows/test_surface.py"
# Rooms without Python of their own, and the files or folders of tests that read them.
ELSEWHERE = {
    "src/atrous/recipes": ("tests/test_recipe.py", "tests/workflows/test_recipes_run.py"),
    "docs": ("tests/docs", "tests/models/test_adding_a_model.py"),
}


def main() -> int:
    """Run the tests of what changed; returns pytest's exit status, 0 where there is nothing to run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="the commit to compare with, instead of where this branch left main")
    parser.add_argument("--seconds", type=int, default=75, help="how long tests may begin (default %(default)s)")
    parser.add_argument("--list", action="store_true", help="print the files of tests and run nothing")
    options = parser.parse_args()
    base = options.base or base_commit()
    changed = changed_files(base)
    chosen = select(changed)
    print(f"{len(changed)} files changed since {base[:9]}; {len(chosen)} files of tests and doctests", flush=True)
    if options.list or not chosen:
        print(*chosen, sep="\n")
        return 0
    arguments = ["-n", "auto", "--dist", "load", "--maxschedchunk", "4"]  # small chunks keep the order
    arguments += ["-rs", "-m", "not slow and not exhaustive", "--seconds", options.seconds]
    if models := changed_models(changed):
        arguments += ["--models", ",".join(models)]
    # Hand over to the command line: pytest's own process starts the workers.
    status = subprocess.call([sys.executable, "-P", "-m", "pytest", *map(str, arguments), *chosen], cwd=ROOT)
    return 0 if status == NOTHING_COLLECTED else status


def base_commit() -> str:
    """The commit to compare with: where HEAD left main or origin/main, else HEAD or the one before it."""
    head = _git("rev-parse", "HEAD")[0]
    for branch in ("main", "origin/main"):
        found = _git("merge-base", "HEAD", branch)
        if found and found[0] != head:
            return found[0]
    if changed_files(head):
        return head
    return next(iter(_git("rev-parse", "HEAD~1")), head)


def changed_files(base: str) -> list[str]:
    """Paths below the root that differ from a commit and are still there, those that git does not know yet included."""
    known = _git("diff", "--name-only", "--diff-filter=d", base)
    return sorted({*known, *_git("ls-files", "--others", "--exclude-standard")})


def select(changed: Iterable[str]) -> list[str]:
    """The files of tests and doctests that changed files ask for, the closest first, each once."""
    changed = list(changed)
    sources = [path for path in changed if path.startswith(f"{SOURCE}/") and path.endswith(".py")]
    tests = [path for path in changed if path.startswith("tests/") and path.endswith(".py")]
    chosen = [file for path in tests for file in _expanded(path)]
    for closeness in (_named_after, _of_the_room, _importing):
        chosen += [file for path in sources for file in closeness(path)]
    for folder, files in ELSEWHERE.items():
        if any(path.startswith(f"{folder}/") and not path.endswith(".py") for path in changed):
            chosen += [file for path in files for file in (_tests_below(Path(path)) or [path])]
    if sources and not chosen:
        chosen = [PUBLIC_NAMES]
    return list(dict.fromkeys(chosen + sources))


def changed_models(changed: Iterable[str]) -> list[str]:
    """Names of the model files that changed, empty where something that all models share changed with them."""
    files = [Path(path) for path in changed if path.startswith((f"{SOURCE}/models/", "tests/models/test_contract.py"))]
    stems = [file.stem for file in files if file.suffix == ".py"]
    shared = {"__init__", "base", "test_contract"}
    return [] if shared & set(stems) else stems


def _expanded(path: str) -> Iterator[str]:
    """A changed file of tests itself; for a conftest or a helper in a room, the tests beside and below it."""
    folder = Path(path).parent
    if Path(path).name.startswith("test_"):
        yield path
    elif folder != Path("tests"):
        yield from _tests_below(folder)


def _named_after(source: str) -> Iterator[str]:
    relative = Path(source).relative_to(SOURCE)
    for file in _tests_below(Path("tests") / relative.parent):
        if Path(file).stem.startswith(f"test_{relative.stem}"):
            yield file


def _of_the_room(source: str) -> Iterator[str]:
    """The folder of the room, or the file of tests of a room that has only one."""
    room = Path(source).relative_to(SOURCE).parts[0]
    yield from _tests_below(Path("tests") / room)
    if (ROOT / f"tests/test_{room}.py").is_file():
        yield f"tests/test_{room}.py"


def _importing(source: str) -> Iterator[str]:
    module = ".".join(Path(source).relative_to("src").with_suffix("").parts).removesuffix(".__init__")
    if module != "atrous":
        for file in _tests_below(Path("tests")):
            if module in _imports(ROOT / file):
                yield file


def _imports(file: Path) -> set[str]:
    """Dotted names that a file imports; of `from a import b` both a and a.b, since b may be a module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _tests_below(folder: Path) -> list[str]:
    return sorted(file.relative_to(ROOT).as_posix() for file in (ROOT / folder).rglob("test_*.py"))


def _git(*arguments: str) -> list[str]:
    """The lines that git prints, none where it fails (no such branch, no commit before the first)."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []


if __name__ == "__main__":
    raise SystemExit(main())
