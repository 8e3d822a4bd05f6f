"""Networks with random weights for the tests of this room."""

from tests.networks import any_model, small_model  # noqa: F401
