"""What every test shares: shape annotations checked at run time, and the real data where it is."""

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests on real data where it is absent."""
    if SHARED.is_dir():
        return
    skip = pytest.mark.skip(reason="the real data sets are not beside the repository")
    for item in items:
        if "shared" in item.keywords:
            item.add_marker(skip)


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
