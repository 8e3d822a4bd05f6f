"""X-ray pictures: radiographs computed from volumes, made pelvises with landmarks, and poses from points."""

from atrous.xray.anatomy import LANDMARK_PAIRS, LANDMARKS
from atrous.xray.assessment import Assessment, assess
from atrous.xray.camera import ConeBeam, c_arm, segment_views
from atrous.xray.exposure import Tube, expose, to_grey
from atrous.xray.markups import read_markups
from atrous.xray.phantom import Phantom, make_phantom
from atrous.xray.picture import draw_landmarks
from atrous.xray.projector import Projector, rotation_matrix
from atrous.xray.reading import read_volume
from atrous.xray.registration import (
    Registration,
    epipolar_line,
    find_matrix,
    find_pose,
    from_matrix,
    pose_error,
    registration_error,
    triangulate,
)
from atrous.xray.sampling import make_xray
from atrous.xray.tables import KnownView, read_places, read_views, write_places, write_views
from atrous.xray.volume import Volume, attenuation, grid

__all__ = [
    "LANDMARKS",
    "LANDMARK_PAIRS",
    "Assessment",
    "ConeBeam",
    "KnownView",
    "Phantom",
    "Projector",
    "Registration",
    "Tube",
    "Volume",
    "assess",
    "attenuation",
    "c_arm",
    "draw_landmarks",
    "epipolar_line",
    "expose",
    "find_matrix",
    "find_pose",
    "from_matrix",
    "grid",
    "make_phantom",
    "make_xray",
    "pose_error",
    "read_markups",
    "read_places",
    "read_views",
    "read_volume",
    "registration_error",
    "rotation_matrix",
    "segment_views",
    "to_grey",
    "triangulate",
    "write_places",
    "write_views",
]
