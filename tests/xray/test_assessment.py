"""Figures of pictures whose errors were put in, and the picture of what was found."""

import numpy as np
import pytest

from atrous.errors import DataError
from atrous.xray import Projector, Volume, c_arm, grid
from atrous.xray.anatomy import LANDMARKS, template
from atrous.xray.assessment import assess
from atrous.xray.picture import draw_landmarks, edges_of
from atrous.xray.tables import KnownView

ANGLES = [(0.0, 0.0), (40.0, 5.0), (-45.0, 10.0), (5.0, 40.0)]
VIEWS = [
    KnownView(f"{n}.png", "one", angles, c_arm(*angles, distances=(1200.0, 900.0), pitch=1.72, centre=(0, 12, 25)))
    for n, angles in enumerate(ANGLES)
]
PLACES = {"one": template()}


def found(shift: float) -> list[np.ndarray]:
    return [
        np.column_stack([view.beam.project(PLACES["one"]) + np.array([shift, 0]), np.full(23, 0.9)]) for view in VIEWS
    ]


def test_exact_pixels_have_no_error() -> None:
    figures, each = assess(VIEWS, PLACES, found(0))
    for name in ("mean", "median", "std", "two_views", "four_views", "pose", "degrees"):
        assert figures.figures()[name] == pytest.approx(0, abs=1e-4), name
    assert (figures.detected, figures.registered, figures.images) == (1, 1, 4)
    assert each.shape == (23, 2)


def test_pixels_are_turned_into_millimetres_at_the_landmarks_depth() -> None:
    figures, _ = assess(VIEWS, PLACES, found(2.0))
    true = np.concatenate([2 * view.beam.millimetres_per_pixel(PLACES["one"]) for view in VIEWS])
    assert figures.mean == pytest.approx(true.mean(), rel=0.01)
    assert 2.3 < figures.mean < 2.9  # two pixels of 1.72 mm, by a magnification of 4/3
    assert figures.two_views > 1
    assert figures.pose > 1


def test_lost_and_invented_landmarks_are_counted() -> None:
    marks = found(0)
    marks[0][3, 2] = 0.1  # not believed
    marks[1][4] = [10.0, 10.0, 0.9]  # believed in a wrong place
    near = [view._replace(beam=c_arm(*view.angles, size=100, pitch=1.72)) for view in VIEWS]
    figures, _ = assess(VIEWS, PLACES, marks)
    assert figures.detected == pytest.approx(1 - 1 / figures.landmarks)
    assert figures.mean > 0.5
    assert figures.median == pytest.approx(0, abs=1e-6)
    assert figures.registered == 1  # the wrong one is an outlier
    figures, _ = assess(
        near, PLACES, [np.column_stack([view.beam.project(PLACES["one"]), np.ones(23)]) for view in near]
    )
    assert figures.invented == 1
    assert figures.landmarks < 4 * 23


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(DataError, match="4 views and 3 pictures"):
        assess(VIEWS, PLACES, found(0)[:3])
    with pytest.raises(DataError, match="x, y and belief are needed"):
        assess(VIEWS, PLACES, [marks[:, :2] for marks in found(0)])


def test_marks_stand_where_they_belong() -> None:
    image = np.zeros((40, 60), np.uint8)
    places = np.full((23, 2), np.nan)
    places[0] = [20.0, 10.0]
    drawn = draw_landmarks(image, places, names=(), scale=4)
    assert drawn.shape == (160, 240, 3)
    rows, columns = np.nonzero(drawn.any(2))
    assert rows.mean() == pytest.approx(10.5 * 4 - 0.5, abs=0.6)
    assert columns.mean() == pytest.approx(20.5 * 4 - 0.5, abs=0.6)
    assert draw_landmarks(image, places, names=LANDMARKS).any()


def test_epipolar_lines_go_through_the_landmarks_of_the_other_view() -> None:
    first, second = VIEWS[0].beam, VIEWS[1].beam
    seen = np.full((23, 2), np.nan)
    seen[4] = first.project(PLACES["one"])[4]
    nothing = np.full((23, 2), np.nan)
    drawn = draw_landmarks(np.zeros((256, 256), np.uint8), nothing, other=(first, seen, second), scale=1)
    x, y = second.project(PLACES["one"])[4].round().astype(int)
    assert drawn[y - 1 : y + 2, x - 1 : x + 2].any()
    assert np.count_nonzero(drawn.any(2).any(0)) == 256 or np.count_nonzero(drawn.any(2).any(1)) == 256


def test_edges_are_those_of_the_projection() -> None:
    cube = Volume(np.full((20, 20, 20), 0.02), grid((20, 20, 20), 5.0))
    image = Projector(cube)(c_arm(size=100, pitch=3.0))
    edges = edges_of(image)
    middle = np.flatnonzero(edges[50])
    # The front face is 650 mm away and 100 mm wide.
    assert middle[[0, -1]] == pytest.approx([49.5 - 50 * 1020 / 650 / 3, 49.5 + 50 * 1020 / 650 / 3], abs=2.5)
    assert not edges_of(np.zeros((9, 9))).any()
    drawn = draw_landmarks(np.zeros((100, 100), np.uint8), np.full((23, 2), np.nan), projection=image, scale=1)
    assert drawn.any()
