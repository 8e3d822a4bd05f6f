"""What the tests of models share."""

import jaxtyping
import pytest
import torch


@pytest.fixture
def unchecked():
    """Without the shape checks of the test suite, which a compiler cannot trace; users never have them."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    torch._dynamo.reset()
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
