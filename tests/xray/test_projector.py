"""Projections against closed forms, against plain loops, and their derivatives against differences."""

import numpy as np
import pytest
import torch

from atrous.errors import DataError, UsageError
from atrous.xray import ConeBeam, Projector, Volume, attenuation, c_arm, grid, rotation_matrix
from atrous.xray._kernels import MARGIN
from atrous.xray.camera import segment_views, turn_about
from atrous.xray.projector import axis_of_pixels
from atrous.xray.torch_rays import integrate

VIEWS = [(0.0, 0.0), (50.0, 10.0), (20.0, 44.0), (45.0, 0.0), (-60.0, -45.0), (90.0, 20.0)]
"""LAO and cranial angles: rays along each axis, between two, and between three."""


def ellipsoid(half_axes: tuple[float, float, float], shape: int, spacing: float) -> Volume:
    """One unit per millimetre inside, falling to zero over three voxels at the surface; lengths in millimetres.

    A sharper surface cannot be told from its voxels: they alone then make 0.002 of the length in slanting views.
    """
    z, y, x = np.mgrid[:shape, :shape, :shape] - (shape - 1) / 2
    scaled = np.stack([x, y, z], -1) * spacing / half_axes
    level = np.linalg.norm(scaled, axis=-1)
    steep = np.linalg.norm(scaled / half_axes, axis=-1) / np.maximum(level, 1e-9)
    inside = np.clip(0.5 + (1 - level) / np.maximum(3 * steep * spacing, 1e-9), 0, 1)
    return Volume(inside, grid((shape,) * 3, spacing))


def chords(beam: ConeBeam, half_axes: tuple[float, float, float]) -> np.ndarray:
    """Lengths of the rays inside an ellipsoid, (H, W), by the quadratic equation."""
    y, x = np.mgrid[: beam.height, : beam.width]
    ray = beam.directions(np.column_stack([x.ravel(), y.ravel()])) / half_axes
    start = beam.source / half_axes
    a, b, c = (ray**2).sum(1), ray @ start, start @ start - 1
    root = np.sqrt(np.maximum(b**2 - a * c, 0))
    return (2 * root / a).reshape(beam.height, beam.width)


@pytest.mark.parametrize("angles", VIEWS)
@pytest.mark.parametrize("half_axes", [(80.0, 80.0, 80.0), (90.0, 70.0, 60.0)], ids=["sphere", "ellipsoid"])
def test_lengths_in_a_sphere_and_an_ellipsoid(
    half_axes: tuple[float, float, float], angles: tuple[float, float]
) -> None:
    # Radii are 30 to 45 voxels. The bounds are by the chord's share of the longest: 0.436 is 0.9 of a sphere's radius.
    beam = c_arm(*angles, size=65, pitch=4.4)
    found, true = Projector(ellipsoid(half_axes, 96, 2.0))(beam), chords(beam, half_axes)
    off = np.abs(found - true) / true.max()
    assert off[32, 32] < 1e-3
    share = true / true.max()
    assert off[share > 0.8].max() < 2e-3
    assert off[share > 0.436].max() < 8e-3
    assert off.max() < 0.12  # at the rim, within a voxel of which the chord is a fifth of the longest
    beyond = chords(beam, tuple(each + 8.0 for each in half_axes)) == 0
    assert not found[beyond].any()  # four voxels away


def test_the_length_in_a_cube_of_ten_millimetres() -> None:
    cube = Volume(np.full((10, 10, 10), 0.02), grid((10, 10, 10), 1.0))
    image = Projector(cube)(c_arm(size=3, pitch=0.01))
    assert np.exp(-image[1, 1]) == pytest.approx(0.818731, abs=1e-5)  # exp(-0.2)


@pytest.mark.parametrize("angles", [(0.0, 0.0), (30.0, 20.0)])
def test_a_cube_within_a_thousandth_at_its_centre(angles: tuple[float, float]) -> None:
    # Voxels of three sizes: the ray through the middle leaves by two opposite faces, whose distance is known.
    spacing, shape = (1.0, 2.0, 0.5), (160, 40, 80)
    beam = c_arm(*angles, size=3, pitch=0.01)
    ray = beam.directions(np.array([[1.0, 1.0]]))[0]
    true = min(80 / abs(part) for part in ray if part)
    assert Projector(Volume(np.ones(shape), grid(shape, spacing)))(beam)[1, 1] == pytest.approx(true, rel=1e-3)


def test_a_volume_whose_axes_are_turned_and_mirrored_is_projected_where_it_lies() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((12, 14, 10))
    affine = grid((12, 14, 10), (3.0, 2.0, 4.0))
    beam = c_arm(20, 10, size=(40, 33), pitch=3.0)
    straight = Projector(Volume(values, affine))(beam)
    mirrored = affine.copy()
    mirrored[:3, 3] += affine[:3, 0] * 9
    mirrored[:3, 0] *= -1
    np.testing.assert_allclose(Projector(Volume(values[:, :, ::-1], mirrored))(beam), straight, rtol=1e-5, atol=1e-5)
    swapped = affine[:, [1, 0, 2, 3]]  # x and y of the grid exchanged
    np.testing.assert_allclose(
        Projector(Volume(values.transpose(0, 2, 1), swapped))(beam), straight, rtol=1e-5, atol=1e-5
    )


def reference(values: np.ndarray, beam: ConeBeam, affine: np.ndarray, step: float) -> np.ndarray:
    """Samples of the trilinear interpolant at equal steps, eight voxels for each."""
    into = np.linalg.inv(affine)
    y, x = np.mgrid[: beam.height, : beam.width]
    rays = beam.directions(np.column_stack([x.ravel(), y.ravel()]))
    along = np.arange(400.0, 1000.0, step)
    places = beam.source + along[:, None, None] * rays
    places = places @ into[:3, :3].T + into[:3, 3]
    low = np.floor(places).astype(int)
    padded, total = np.pad(values, 1), 0.0
    for corner in np.ndindex(2, 2, 2):
        cell = low + corner[::-1]
        weight = np.prod(1 - np.abs(places - cell), -1)
        index = np.clip(cell + 1, 0, np.array(padded.shape[::-1]) - 1)
        total = total + weight * padded[index[..., 2], index[..., 1], index[..., 0]]
    return (total.sum(0) * step).reshape(beam.height, beam.width)


@pytest.mark.parametrize("angles", VIEWS)
def test_sums_over_planes_are_integrals_of_the_trilinear_interpolant(angles: tuple[float, float]) -> None:
    z, y, x = np.mgrid[:24, :20, :28]
    values = 1 + np.sin(x / 3) * np.cos(y / 4) * np.sin(z / 5 + 1)
    affine = grid(values.shape, (5.0, 6.0, 5.5))
    beam = c_arm(*angles, size=(20, 24), pitch=12.0)
    found, true = Projector(Volume(values, affine))(beam), reference(values, beam, affine, 0.25)
    assert np.abs(found - true).max() < 4e-3 * true.max()  # at the edges of the box a plane may be met or missed
    assert np.median(np.abs(found - true)) < 5e-4 * true.max()


def with_torch(
    projector: Projector, k: torch.Tensor, r: torch.Tensor, t: torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    """What an accelerator computes, in double precision."""
    affine = projector.volume.affine
    into = torch.from_numpy(np.linalg.inv(affine))
    matrix, origin = into[:3, :3] @ r.T @ torch.linalg.inv(k), into[:3, :3] @ (-r.T @ t) + into[:3, 3]
    axes = torch.from_numpy(axis_of_pixels(matrix.detach().numpy(), size, affine[:3, :3]))
    return integrate(torch.from_numpy(projector.volume.values).double(), matrix, origin, affine[:3, :3], axes)


@pytest.fixture(scope="module")
def uneven() -> Projector:
    """A body without symmetry, and with an empty corner."""
    values = np.random.default_rng(1).random((20, 26, 22))
    values[:9, :, :8] = 0
    return Projector(Volume(values, grid(values.shape, (6.0, 5.0, 7.0))))


@pytest.mark.parametrize("angles", VIEWS)
def test_kernels_and_torch_agree_in_images_and_in_all_derivatives(
    uneven: Projector, angles: tuple[float, float]
) -> None:
    beam, size = c_arm(*angles, size=(35, 50), pitch=6.0, roll=8.0), (35, 50)
    weight = torch.rand(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    images, slopes = [], []
    for compute in (
        lambda k, r, t: uneven.differentiable(k, r, t, size=size),
        lambda k, r, t: with_torch(uneven, k, r, t, size),
    ):
        given = [torch.tensor(part, requires_grad=True) for part in (beam.intrinsics, beam.rotation, beam.translation)]
        images.append(compute(*given))
        slopes.append(torch.autograd.grad((images[-1] * weight).sum(), given))
    torch.testing.assert_close(images[0].double(), images[1], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(uneven(beam), images[0].detach().numpy(), rtol=1e-5, atol=1e-4)  # without derivatives
    for ours, theirs in zip(*slopes, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("angles", [(10.0, 5.0), (70.0, -15.0)])
def test_derivatives_by_pose_are_central_differences(angles: tuple[float, float]) -> None:
    # A smooth body: between voxels the interpolant has kinks, over which differences average.
    z, y, x = np.mgrid[:40, :40, :40] - 19.5
    body = np.exp(-(x**2 / 90 + y**2 / 60 + (z - 2) ** 2 / 40)) + 0.5 * np.exp(-((x - 6) ** 2 + y**2 + z**2) / 20)
    projector = Projector(Volume(body, grid(body.shape, 4.0)))
    beam, size = c_arm(*angles, size=32, pitch=7.0), (32, 32)
    v, u = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    weight = torch.cos(u / 7 + 0.3) * torch.sin(v / 5)

    def loss(pose: torch.Tensor) -> torch.Tensor:
        rotation = rotation_matrix(pose[:3]) @ torch.from_numpy(beam.rotation)
        translation = torch.from_numpy(beam.translation) + pose[3:]
        image = projector.differentiable(torch.from_numpy(beam.intrinsics), rotation, translation, size=size)
        return (image.double() * weight).sum()

    pose = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(loss(pose), pose)[0]
    steps = torch.tensor([2e-3] * 3 + [0.5] * 3, dtype=torch.float64)
    for n in range(6):
        away = torch.zeros(6, dtype=torch.float64)
        away[n] = steps[n]
        difference = (loss(away) - loss(-away)) / (2 * steps[n])
        assert float(slope[n]) == pytest.approx(
            float(difference), rel=1e-2, abs=1e-2 * float(slope[n // 3 * 3 :][:3].abs().max())
        )


def test_threads_and_odd_sizes_change_nothing(uneven: Projector) -> None:
    beam, threads = c_arm(47, 20, size=(37, 71), pitch=4.0), torch.get_num_threads()
    try:
        found = []
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(uneven(beam))
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(*found)
    small = ConeBeam(beam.intrinsics, beam.rotation, beam.translation, 1, 1)
    assert uneven(small).shape == (1, 1)


def test_large_pixels_are_those_of_small_detectors() -> None:
    # Rays of up to 60 degrees from the middle: no tile of 16 x 32 such pixels has an axis that all its rays go along.
    volume = Volume(np.random.default_rng(2).random((40, 40, 40)), grid((40, 40, 40), 10.0))
    beam = c_arm(5, 3, size=9, pitch=420.0, distances=(1020.0, 260.0))
    image = Projector(volume)(beam)
    for row, column in [(0, 4), (4, 8), (4, 4), (3, 5), (7, 1), (6, 6), (1, 2)]:
        k = beam.intrinsics.copy()
        k[:2, 2] -= [column, row]
        alone = Projector(volume)(ConeBeam(k, beam.rotation, beam.translation, 1, 1))
        assert image[row, column] == pytest.approx(float(alone[0, 0]), rel=1e-3, abs=1e-3)
    assert (image > 20).sum() > 40


def test_a_voxel_alone_is_seen_where_its_centre_is_projected() -> None:
    values = np.zeros((31, 29, 27))
    values[5, 20, 9] = 1
    volume = Volume(values, grid(values.shape, 4.0))
    centre = volume.affine @ [9, 20, 5, 1]
    for angles in VIEWS:
        beam = c_arm(*angles, size=(90, 100), pitch=2.0)
        image = Projector(volume)(beam).astype(float)
        y, x = np.mgrid[:90, :100]
        middle = np.array([(image * x).sum(), (image * y).sum()]) / image.sum()
        np.testing.assert_allclose(middle, beam.project(centre[None, :3])[0], atol=0.05)


def test_what_is_empty_gives_nothing() -> None:
    projector = Projector(Volume(np.zeros((5, 6, 7)), grid((5, 6, 7), 3.0)))
    assert not projector(c_arm(size=20)).any()
    assert projector.planes(0)[0].shape == (7, 5 + 2 * MARGIN, 6 + 2 * MARGIN)


def test_the_views_stand_where_their_angles_say() -> None:
    np.testing.assert_allclose(c_arm(90).source, [700, 0, 0], atol=1e-9)  # the patient's left
    np.testing.assert_allclose(c_arm(0, 30).source, [0, -700 * np.cos(np.pi / 6), 350], atol=1e-9)  # the head
    front = c_arm(size=101)
    assert front.project(np.array([[0.0, 0.0, 40.0]]))[0, 1] < 50  # the head is up
    assert np.isnan(front.project(np.array([[0.0, -800.0, 0.0]]))).all()
    assert c_arm(roll=90, size=101).project(np.array([[0.0, 0.0, 40.0]]))[0, 0] > 50  # clockwise
    np.testing.assert_allclose(c_arm(centre=(5, 6, 7), size=101).project(np.array([[5.0, 6.0, 7.0]])), [[50, 50]])
    assert front.millimetres_per_pixel(np.zeros((1, 3)))[0] == pytest.approx(1.5 * 700 / 1020)
    view = c_arm(33, -20, roll=12, size=(80, 120))
    points = np.random.default_rng(0).normal(0, 60, (9, 3))
    rays = view.directions(view.project(points))
    np.testing.assert_allclose(view.source + rays * np.linalg.norm(points - view.source, axis=1)[:, None], points)


def test_views_cover_the_segment_evenly() -> None:
    angles = segment_views(np.random.default_rng(0), 4000)
    assert np.abs(angles).max(0) == pytest.approx([60, 45], abs=0.5)
    sides = np.array([c_arm(*each).source / 700 for each in angles[:2000]])
    assert np.abs(sides[:, 2].mean()) < 0.02
    assert (np.abs(sides[:, 2]) < np.sin(np.pi / 4) / 2).mean() == pytest.approx(0.5, abs=0.03)  # by area


def test_rotations_agree() -> None:
    vector = np.array([0.3, -1.2, 0.7])
    np.testing.assert_allclose(turn_about(vector), rotation_matrix(torch.from_numpy(vector)).numpy(), atol=1e-12)


def test_hounsfield_units() -> None:
    np.testing.assert_allclose(attenuation(np.array([-2000, -1000, 0, 1500])), [0, 0, 0.02, 0.05], atol=1e-7)


def test_a_source_inside_of_the_body_is_refused() -> None:
    projector = Projector(Volume(np.ones((9, 9, 9)), grid((9, 9, 9), 100.0)))
    with pytest.raises(UsageError, match="behind the X-ray source"):
        projector(c_arm(distances=(600.0, 400.0)))


@pytest.mark.parametrize(
    ("values", "affine", "message"),
    [
        (np.ones((3, 3)), np.eye(4), r"three axes \(Z, Y, X\)"),
        (np.full((2, 2, 2), np.nan), np.eye(4), "not a number"),
        (np.ones((2, 2, 2)), np.zeros((4, 4)), "span three dimensions"),
    ],
)
def test_bad_volumes_are_refused(values: np.ndarray, affine: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Volume(values, affine)


def test_bad_views_are_refused() -> None:
    good = c_arm()
    with pytest.raises(UsageError, match="the rotation of a view is not one"):
        ConeBeam(good.intrinsics, good.rotation * 1.1, good.translation, 4, 4)
    with pytest.raises(UsageError, match="the translation of a view"):
        ConeBeam(good.intrinsics, good.rotation, np.array([0, np.nan, 1]), 4, 4)
    with pytest.raises(UsageError, match="intrinsics that can be inverted"):
        ConeBeam(np.zeros((3, 3)), good.rotation, good.translation, 4, 4)
    with pytest.raises(UsageError, match="a C-arm of 500"):
        c_arm(distances=(500.0, 600.0))
