"""Made files for the tests of this room."""

from tests.folders import make_folder, picture  # noqa: F401
from tests.networks import small_model  # noqa: F401
