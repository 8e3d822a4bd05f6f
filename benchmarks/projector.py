"""Radiographs from volumes: seconds an image, beside other projectors, on one processor.

    python -m venv --system-site-packages peers      in an environment that has torch
    peers/bin/pip install diffdrr nanodrr itk-rtk gvxr
    PYTHONPATH=src peers/bin/python -m benchmarks.projector

A body of 128^3 voxels of 2.5 mm, 256x256 pixels, views over the segment of 120 x 90 degrees; one image a call. Every
contender is asked for the same views in the same round, and the peers' images are compared with ours: the table tells
the correlation. What cannot be imported, or needs a device that is not there, is told with its reason.

- itk-rtk: Joseph's projector in C++ on all threads; one sample a plane.
- DiffDRR: torch, `trilinear` with 128 samples a ray (`siddon` is exact and slower).
- nanodrr: torch, its trilinear sampling, 128 samples a ray.
- gVXR renders triangles, and needs OpenGL: another method, listed where it runs.
- TIGRE, DeepDRR and astra-toolbox's cone beam need CUDA.
"""

import time
from collections.abc import Callable

import numpy as np
import torch

from atrous.xray import ConeBeam, Projector, Volume, c_arm, grid, rotation_matrix
from benchmarks.harness import Row, save

SIDE, SPACING, SIZE, PITCH = 128, 2.5, 256, 1.9
DISTANCES = (1020.0, 700.0)
ANGLES = [(0.0, 0.0), (20.0, 15.0), (-35.0, 30.0), (50.0, -20.0), (-58.0, -40.0)]
ROUNDS = 7
SAMPLES = 128

Contender = Callable[[ConeBeam, tuple[float, float]], np.ndarray]


def body() -> Volume:
    """An elliptic body with air around it, bones in it, and texture everywhere."""
    rng = np.random.default_rng(0)
    _, y, x = (np.mgrid[:SIDE, :SIDE, :SIDE].astype(np.float32) - (SIDE - 1) / 2) * SPACING
    inside = (x / 145) ** 2 + (y / 95) ** 2 < 1
    bone = (np.hypot(x - 60, y) < 18) | (np.hypot(x + 60, y) < 18) | (np.hypot(x, y - 50) < 22)
    values = np.where(inside, 0.02, 0) + np.where(bone, 0.02, 0)
    return Volume(values * rng.uniform(0.9, 1.1, values.shape), grid((SIDE,) * 3, SPACING))


def beams() -> list[ConeBeam]:
    return [c_arm(*angles, size=SIZE, pitch=PITCH, distances=DISTANCES) for angles in ANGLES]


def ours(volume: Volume) -> Contender:
    projector = Projector(volume)
    return lambda beam, angles: projector(beam)


def rtk(volume: Volume) -> Contender:
    """The Reconstruction Toolkit, told where source, detector and its axes are; line integrals by Joseph's method."""
    import itk

    toolkit = itk.RTK
    kind = itk.Image[itk.F, 3]
    image = itk.image_from_array(np.ascontiguousarray(volume.values))
    image.SetSpacing([SPACING] * 3)
    image.SetOrigin([float(part) for part in volume.affine[:3, 3]])

    def project(beam: ConeBeam, angles: tuple[float, float]) -> np.ndarray:
        right, down, forward = beam.rotation
        corner = beam.source + DISTANCES[0] * forward
        geometry = toolkit.ThreeDCircularProjectionGeometry.New()
        # The point of the detector, and the directions of its columns and rows.
        if not geometry.AddProjection(*([float(p) for p in part] for part in (beam.source, corner, right, down))):
            raise RuntimeError("the geometry was refused")
        blank = toolkit.ConstantImageSource[kind].New()
        half = (SIZE - 1) / 2 * PITCH
        blank.SetOrigin([-half, -half, 0.0])
        blank.SetSpacing([PITCH, PITCH, 1.0])
        blank.SetSize([SIZE, SIZE, 1])
        blank.SetConstant(0.0)
        forward_projection = toolkit.JosephForwardProjectionImageFilter[kind, kind].New()
        forward_projection.SetInput(0, blank.GetOutput())
        forward_projection.SetInput(1, image)
        forward_projection.SetGeometry(geometry)
        forward_projection.Update()
        return itk.array_view_from_image(forward_projection.GetOutput())[0]

    itk.set_nthreads(torch.get_num_threads())
    return project


def diffdrr(volume: Volume) -> Contender:
    """DiffDRR by its own camera: its views are those of the patient's front, turned about the same axes."""
    import torchio
    from diffdrr.data import read
    from diffdrr.drr import DRR

    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = -SPACING * (SIDE - 1) / 2
    subject = read(
        torchio.ScalarImage(tensor=torch.from_numpy(volume.values.transpose(2, 1, 0)[None].copy()), affine=affine),
        orientation="AP",
        bone_attenuation_multiplier=1.0,
    )
    drr = DRR(subject, sdd=DISTANCES[0], height=SIZE, delx=PITCH, renderer="trilinear")
    drr.density = torch.from_numpy(volume.values.transpose(2, 1, 0).copy())

    def project(beam: ConeBeam, angles: tuple[float, float]) -> np.ndarray:
        turn = torch.tensor([[angles[0], angles[1], 0.0]]).deg2rad()
        shift = torch.tensor([[0.0, DISTANCES[1], 0.0]])
        with torch.no_grad():
            image = drr(turn, shift, parameterization="euler_angles", convention="ZXY", n_points=SAMPLES)
        return image[0, 0].numpy()

    return project


def nanodrr(volume: Volume) -> Contender:
    """nanodrr by the same matrices as ours."""
    from nanodrr.data import Subject
    from nanodrr.drr import render

    values = torch.from_numpy(1000 * (volume.values / 0.02 - 1))[None, None]  # it takes Hounsfield units
    affine = torch.from_numpy(volume.affine).float()
    subject = Subject(
        imagedata=values,
        labeldata=torch.zeros_like(values),
        voxel_to_world=affine,
        world_to_voxel=torch.linalg.inv(affine),
        voxel_to_grid=Subject._make_voxel_to_grid(values.shape),
        isocenter=torch.zeros(3),
    )

    def project(beam: ConeBeam, angles: tuple[float, float]) -> np.ndarray:
        corners = beam.intrinsics.copy()
        corners[:2, 2] += 0.5  # its first pixel's centre is (0.5, 0.5)
        inverse = torch.linalg.inv(torch.from_numpy(corners)).float()[None]
        back = np.eye(4)
        back[:3, :3], back[:3, 3] = beam.rotation.T, beam.source
        with torch.no_grad():
            image = render(
                subject, inverse, torch.from_numpy(back).float()[None], torch.tensor([DISTANCES[0]]), SIZE, SIZE,
                n_samples=SAMPLES,
            )  # fmt: skip
        return image[0, 0].numpy()

    return project


def gvxr(volume: Volume) -> Contender:
    """gVirtualXray: the surface of the body as triangles; needs an OpenGL context without a window."""
    from gvxrPython3 import gvxr as engine

    engine.createOpenGLContext(-1, 4, 5)
    raise RuntimeError("it renders surfaces, and no grey volume of this kind")


CONTENDERS = {"atrous": ours, "itk-rtk": rtk, "diffdrr": diffdrr, "nanodrr": nanodrr, "gvxr": gvxr}


def alike(image: np.ndarray, reference: np.ndarray) -> float:
    """The highest correlation over the ways in which a projector may lay its image out."""
    turned = [np.rot90(side, n) for side in (image, image[:, ::-1]) for n in range(4)]
    return max(float(np.corrcoef(each.ravel(), reference.ravel())[0, 1]) for each in turned)


def with_gradient(volume: Volume) -> list[float]:
    """Seconds of an image and its derivatives by a pose of six numbers."""
    projector, taken = Projector(volume), []
    for number in range(ROUNDS + 1):
        for beam in beams():
            pose = torch.zeros(6, dtype=torch.float64, requires_grad=True)
            start = time.perf_counter()
            image = projector.differentiable(
                torch.from_numpy(beam.intrinsics),
                rotation_matrix(pose[:3]) @ torch.from_numpy(beam.rotation),
                torch.from_numpy(beam.translation) + pose[3:],
                size=(SIZE, SIZE),
            )
            image.sum().backward()
            if number:
                taken.append(time.perf_counter() - start)
    return taken


def main() -> None:
    volume, views = body(), beams()
    ready: dict[str, Contender] = {}
    absent: dict[str, object] = {}
    agree: dict[str, float] = {}
    reference = None
    for name, build in CONTENDERS.items():
        try:
            ready[name] = build(volume)
            images = [ready[name](beam, angles) for beam, angles in zip(views, ANGLES, strict=True)]
        except Exception as problem:
            ready.pop(name, None)
            absent[f"{name} did not run"] = f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
            continue
        reference = images if reference is None else reference
        agree[name] = min(alike(one, other) for one, other in zip(images, reference, strict=True))
    taken: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(ROUNDS):
        for name, project in ready.items():
            start = time.perf_counter()
            for beam, angles in zip(views, ANGLES, strict=True):
                project(beam, angles)
            taken[name].append((time.perf_counter() - start) / len(views))
    peers = [name for name in ready if name != "atrous"]
    peer = min(peers or ["atrous"], key=lambda name: np.median(taken[name]))
    title = f"{SIZE}x{SIZE} from {SIDE}^3, {torch.get_num_threads()} threads"
    rows = [
        Row(title, name, float(np.median(times)), min(times), max(times),
            float(np.median(np.array(taken[peer]) / np.array(times))),
            f"{1 / np.median(times):.1f} images a second, correlation with ours at least {agree[name]:.4f}")
        for name, times in taken.items()
    ]  # fmt: skip
    slopes = with_gradient(volume)
    rows.append(
        Row(f"{title}, with derivatives by pose", "atrous", float(np.median(slopes)), min(slopes), max(slopes), 1.0)
    )
    save("projector", "python -m benchmarks.projector", rows, absent)


if __name__ == "__main__":
    main()
