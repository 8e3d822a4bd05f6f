"""Made files for the tests of this room."""

from tests.folders import make_folder, picture  # noqa: F401
