import os
import subprocess
import sys

import numpy as np
import pytest
import torch

import atrous.crf.lattice.permutohedral as permutohedral
import atrous.crf.lattice.sheets as sheets
from atrous.crf import Kernel, Lattice, filter_batch
from atrous.crf._features import ImageFeatures
from atrous.crf.exact import exact_kernel
from atrous.crf.lattice.torch_lattice import TorchLattice
from atrous.errors import UsageError
from atrous.threads import run, split_evenly


def random_points(d, spread=3.0, count=1500, seed=0):
    return (np.random.default_rng(seed).normal(size=(count, d)) * spread).astype(np.float32)


def grid(height, width, sigma=1.0):
    y, x = np.mgrid[:height, :width]
    return (np.stack([x, y], -1).reshape(-1, 2) / sigma).astype(np.float32)


T1 = np.array([
    [0.833333, 0.737108, 0.589316, 0.115100],
    [0.737108, 0.807550, 0.796652, 0.344231],
    [0.589316, 0.796653, 0.912821, 0.571510],
    [0.115100, 0.344231, 0.571510, 0.841597],
])  # fmt: skip
T2_CENTRE = [[0.353590, 0.529829, 0.342906], [0.538120, 0.752479, 0.525043], [0.353590, 0.529829, 0.342906]]
T2_MASS = [[2.398889, 3.309916, 2.434661], [3.421539, 4.261754, 3.288423], [2.783419, 3.329532, 2.395901]]


def lattices(points):
    """The same filter on both paths, as functions of arrays."""
    compiled, tensors = Lattice(points), TorchLattice(torch.from_numpy(points))
    return compiled.filter, lambda values: tensors.filter(torch.from_numpy(values)).numpy()


def test_published_one_dimensional_vectors():
    points = np.array([[0], [0.5], [1], [2]], np.float32)
    for apply in lattices(points):
        assert np.abs(apply(np.eye(4, dtype=np.float32)).T - T1).max() < 1e-5
    rows = {
        "symmetric": [0.366323, 0.298221, 0.230626, 0.055769],
        "after": [0.366323, 0.274473, 0.205315, 0.061471],
        "before": [0.366323, 0.324024, 0.259056, 0.050596],
    }
    for normalization, row in rows.items():
        response = Kernel(points, normalization).filter(np.eye(4, dtype=np.float32))[:, 0]
        assert np.abs(response - row).max() < 1e-5, normalization


def test_published_grid_vectors():
    impulse = np.zeros((9, 1), np.float32)
    impulse[4] = 1
    for apply in lattices(grid(3, 3)):
        assert np.abs(apply(impulse).reshape(3, 3) - T2_CENTRE).max() < 1e-5
        assert np.abs(apply(np.ones((9, 1), np.float32)).reshape(3, 3) - T2_MASS).max() < 1e-5


@pytest.mark.parametrize("strips", [1, 2, 5])
@pytest.mark.parametrize(("d", "spread"), [(1, 5.0), (2, 9.0), (5, 3.0), (5, 0.5)])
def test_transpose_is_exact(d, spread, strips):
    lattice = Lattice(random_points(d, spread), strips=strips)
    a, b = np.random.default_rng(1).normal(size=(2, 1500, 3))
    forward, backward = (lattice.filter(a) * b).sum(), (a * lattice.transpose(b)).sum()
    assert lattice.filter(a).dtype == np.float64
    assert abs(forward - backward) < 1e-9 * np.abs(a).sum()
    single = lattice.filter(a.astype(np.float32)), lattice.transpose(b.astype(np.float32))
    assert single[0].dtype == np.float32
    assert abs((single[0] * b).sum() - (a * single[1]).sum()) < 1e-6 * np.abs(a * single[1]).sum()


def test_the_filter_is_not_symmetric_where_vertices_are_missing():
    """Else the test above would pass with the blur in either order."""
    lattice = Lattice(grid(3, 3))
    kernel = lattice.filter(np.eye(9))
    assert np.abs(kernel - kernel.T).max() > 0.1
    assert np.abs(kernel.T - lattice.transpose(np.eye(9))).max() < 1e-12


@pytest.mark.parametrize(("d", "spread"), [(1, 5.0), (2, 9.0), (5, 3.0), (7, 2.0), (12, 30.0)])
def test_torch_path_equals_compiled_path(d, spread):
    points = random_points(d, spread)
    values = np.random.default_rng(1).random((1500, 3))
    compiled, tensors = Lattice(points, strips=3), TorchLattice(torch.from_numpy(points))
    copies = sum(len(copied) for copied, _ in compiled.sheets.copies)
    assert compiled.rows - copies == tensors.rows
    assert np.abs(compiled.filter(values) - tensors.filter(torch.from_numpy(values)).numpy()).max() < 2e-5
    assert np.abs(compiled.transpose(values) - tensors.transpose(torch.from_numpy(values)).numpy()).max() < 2e-5


def test_keys_of_several_words():
    assert Lattice(random_points(12, 30.0))._layout.words > 1


@pytest.mark.parametrize("K", [1, 4, 7, 12, 21, 33])
def test_any_number_of_channels(K):
    lattice = Lattice(grid(9, 11, 2.0))
    values = np.random.default_rng(0).random((99, K), np.float32)
    together = lattice.filter(values)
    assert together.shape == (99, K)
    for k in range(K):
        assert np.abs(together[:, k] - lattice.filter(values[:, k : k + 1])[:, 0]).max() < 1e-6


def test_strips_do_not_change_the_filter():
    values = np.random.default_rng(0).random((1500, 4))
    points = random_points(3)
    one = Lattice(points, strips=1)
    for strips in (2, 3, 16):
        many = Lattice(points, strips=strips)
        assert many.sheets.copies
        assert np.abs(many.filter(values) - one.filter(values)).max() < 1e-10


@pytest.mark.parametrize(("d", "spread"), [(1, 9.0), (2, 9.0), (3, 3.0), (5, 3.0)])
def test_sharing_out_the_sheets_changes_not_a_bit(monkeypatch, d, spread):
    values = np.random.default_rng(0).random((1500, 5), np.float32)
    points = random_points(d, spread)
    alone = Lattice(points, strips=1)
    assert len(alone.sheets.parts) == 1 or d == 5
    monkeypatch.setattr(permutohedral, "STRIP", 8)
    for threads in (2, 3, 4):
        monkeypatch.setattr(sheets, "workers", lambda threads=threads: threads)
        shared = Lattice(points, strips=1)
        assert len(shared.sheets.parts) == threads
        assert np.array_equal(shared.filter(values), alone.filter(values))
        assert np.array_equal(shared.transpose(values), alone.transpose(values))


@pytest.mark.parametrize("d", [1, 2, 5])
def test_neighbours_lie_in_the_sheets_beside_and_are_one_step_away(d):
    lattice = Lattice(random_points(d), strips=2)
    parts, starts = lattice.sheets, lattice.sheets.starts
    assert sorted(parts.rows.tolist()) == list(range(lattice.rows))
    sheet = np.searchsorted(starts, np.arange(lattice.rows), "right") - 1
    linked = 0
    for following, preceding in zip(parts.following, parts.preceding, strict=True):
        places = np.flatnonzero(following >= 0)
        assert (sheet[following[places]] == sheet[places] + 1).all()
        assert np.array_equal(preceding[following[places]], places)
        assert len(places) == (preceding >= 0).sum()
        linked += len(places)
    assert linked > 100 or d == 1
    for order, ends in zip(parts.order, parts.ends, strict=True):
        for number, (first, stop) in enumerate(ends.tolist()):
            entries = order[first:stop]
            places = np.where(entries < 0, ~entries, entries)
            assert (sheet[places] == number).all()
            assert len(set(places.tolist())) == len(places)
            assert not len(entries) or entries[-1] < 0


def test_points_far_apart_do_not_meet():
    """Between them lie many sheets without a row."""
    near = random_points(3, 2.0, 300)
    far = np.concatenate([near, near + np.float32(900)])
    values = np.random.default_rng(0).random((600, 2))
    together, alone = Lattice(far).filter(values), Lattice(near).filter(values[:300])
    assert np.abs(together[:300] - alone).max() < 1e-12
    alone = Lattice(near + np.float32(900)).filter(values[300:])
    assert np.abs(together[300:] - alone).max() < 1e-12


def test_cached_lattice_equals_a_rebuilt_one():
    values = np.random.default_rng(0).random((1500, 4), np.float32)
    cached = Lattice(random_points(5))
    first = cached.filter(values)
    cached.transpose(values)
    assert np.array_equal(cached.filter(values), first)
    assert np.array_equal(Lattice(random_points(5)).filter(values), first)


def test_batch_equals_single():
    batch = [Lattice(random_points(3, seed=seed)) for seed in range(3)]
    values = np.random.default_rng(0).random((3, 1500, 2), np.float32)
    for transpose in (False, True):
        together = filter_batch(batch, values, transpose=transpose)
        for own, value, result in zip(batch, values, together, strict=True):
            assert np.array_equal(result, own.transpose(value) if transpose else own.filter(value))
    with pytest.raises(UsageError, match="needs as many lattices, got 2"):
        filter_batch(batch[:2], values)


def test_it_resembles_the_true_kernel():
    points = grid(12, 12, 2.0)
    ours = Kernel(points, "after").filter(np.eye(144))
    assert np.abs(ours - exact_kernel(points, "after")).mean() < 1.5e-3


def test_tables_grow_with_many_vertices():
    points = random_points(5, 300.0, count=9000)  # hardly a vertex is shared
    lattice = Lattice(points, strips=1)
    assert lattice.rows > 50_000
    assert np.abs(lattice.weights.sum(1) - 1).max() < 1e-4


@pytest.mark.parametrize("build", [Lattice, lambda points: TorchLattice(torch.from_numpy(points))])
def test_errors_of_features(build):
    with pytest.raises(UsageError, match=r"reach lattice coordinate .* Use a larger one"):
        build(np.array([[0.0, 0.0], [3e6, 0.0]], np.float32))
    with pytest.raises(UsageError, match="hold NaN or infinity"):
        build(np.array([[0.0, np.nan]], np.float32))
    with pytest.raises(UsageError, match=r"at least one of each, got shape \(0, 2\)"):
        build(np.empty((0, 2), np.float32))
    lattice = build(np.zeros((4, 2), np.float32))
    values = np.zeros((5, 1)) if isinstance(lattice, Lattice) else torch.zeros(5, 1)
    with pytest.raises(UsageError, match=r"Values are \(4, K\) for this lattice"):
        lattice.filter(values)


def test_too_many_vertices_are_refused_before_anything_is_built():
    source = ImageFeatures(20000, 20000, sxy=80.0, image=np.broadcast_to(np.uint8(0), (20000, 20000, 3)))
    with pytest.raises(UsageError, match="refine the image in tiles"):
        Lattice(source.for_points(None))


def test_even_pieces_and_run_keep_order_and_pass_errors_on():
    assert split_evenly(3, 8) == [(0, 1), (1, 2), (2, 3)]
    assert run(lambda a, b: b - a, split_evenly(10, 4)) == [2, 3, 2, 3]
    with pytest.raises(ZeroDivisionError):
        run(lambda a: 1 // a, [(0,), (1,)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_worker_may_filter_in_parallel_too():
    lattice = Lattice(grid(100, 100, 2.0), strips=2)
    values = np.ones((10_000, 2), np.float32)
    expected = lattice.filter(values)  # threads exist in the parent now
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        same = np.array_equal(Lattice(grid(100, 100, 2.0), strips=2).filter(values), expected)
        os.write(writer, b"1" if same else b"0")
        os._exit(0)
    assert os.read(reader, 1) == b"1"
    os.waitpid(child, 0)


def test_importing_compiles_nothing():
    code = "import sys, atrous.crf; assert 'numba' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_a_folder_for_machine_code_it_still_compiles(monkeypatch):
    import numba

    from atrous.compilation import kernel

    real = numba.njit

    def refuse(*args, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(*args, **options)

    monkeypatch.setattr(numba, "njit", refuse)
    assert kernel(lambda a: a + 1)(2) == 3
