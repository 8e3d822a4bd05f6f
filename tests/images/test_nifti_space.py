"""Where voxels lie in the patient, and pairs whose files disagree about it."""

import numpy as np
import pytest

from atrous.images.nifti_space import read_space
from tests.nifti import LPS, placed

VOLUME = np.zeros((3, 12, 16), np.uint8)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_two_ways_of_a_header_agree(tmp_path, wide, order):
    """Half a turn about z, b = c = 0 and d = 1, is the matrix with x and y reversed."""
    (tmp_path / "s.nii").write_bytes(placed(VOLUME, sform=LPS, wide=wide, order=order))
    (tmp_path / "q.nii").write_bytes(placed(VOLUME, qform=(0, 0, 1, 9, 4, 1, 1, 2, 2, 5), wide=wide, order=order))
    s, q = read_space(tmp_path / "s.nii"), read_space(tmp_path / "q.nii")
    assert str(s) == str(q) == "LPS, 2 x 2 x 5 mm, from (9, 4, 1)"
    assert s.same_steps(q)
    assert s.same_origin(q)
    (tmp_path / "n.nii").write_bytes(placed(VOLUME, wide=wide, order=order))
    assert read_space(tmp_path / "n.nii") is None


def test_a_quarter_turn_and_a_reversed_third_axis(tmp_path):
    """Turned by 90 degrees about z, x becomes y and y becomes -x; a sign of -1 reverses the third axis."""
    half = np.sqrt(0.5)
    (tmp_path / "q.nii").write_bytes(placed(VOLUME, qform=(0, 0, half, 1, 2, 3, -1, 2, 3, 4)))
    space = read_space(tmp_path / "q.nii")
    np.testing.assert_allclose(space.steps, [[0, -3, 0], [2, 0, 0], [0, 0, -4]], atol=1e-5)
    assert str(space) == "ALI, 2 x 3 x 4 mm, from (1, 2, 3)"
