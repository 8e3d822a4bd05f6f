"""What every test shares: shape annotations checked at run time, and the real data where it is."""

import importlib
import time
from pathlib import Path

import hypothesis
import jaxtyping
import pytest
from jaxtyping import install_import_hook

# No test asserts a time, and a busy machine is no failure.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# The annotations of these packages are checked while the tests run; the user never pays for it.
CHECKED = ("adversarial", "losses", "metrics", "tasks", "layers", "encoders", "models")
_HOOK = install_import_hook([f"atrous.{name}" for name in CHECKED], "beartype.beartype")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


_BEGUN = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of `make quick`."""
    group = parser.getgroup("quick")
    group.addoption("--seconds", type=int, help="skip the tests that would begin later than this after the start")
    group.addoption("--models", metavar="FILE,...", help="try the contract on the models of these files alone")


def pytest_collection(session: pytest.Session) -> None:
    """Import the files whose doctests are asked for as everybody does: else pytest makes second copies of them."""
    root = session.config.rootpath / "src"
    for path in [Path(argument).absolute() for argument in session.config.args if argument.endswith(".py")]:
        if path.is_relative_to(root) and path.name != "__main__.py":
            importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests on real data where it is absent; leave out the contract of models that were not asked for."""
    if not SHARED.is_dir():
        skip = pytest.mark.skip(reason="the real data sets are not beside the repository")
        for item in items:
            if "shared" in item.keywords:
                item.add_marker(skip)
    if files := config.getoption("models"):
        left_out = [item for item in items if _contract_of_another(item, files.split(","))]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def _contract_of_another(item: pytest.Item, files: list[str]) -> bool:
    from atrous.models import MODELS

    if item.path.name != "test_contract.py" or not isinstance(item, pytest.Function):
        return False
    return MODELS[item.callspec.params["name"]].__module__.rpartition(".")[2] not in files


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what would begin after the time that was given, before its fixtures are made."""
    seconds = item.config.getoption("seconds")
    if seconds is not None and time.monotonic() - _BEGUN > seconds:
        pytest.skip(f"not reached in {seconds} s; `make test` runs it")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data sets; ask for it only in tests marked `shared`."""
    return SHARED


@pytest.fixture
def unchecked():
    """Without the shape checks of the test suite, which a compiler cannot trace; users never have them."""
    import torch

    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    torch._dynamo.reset()
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
