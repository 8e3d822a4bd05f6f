"""X-ray pictures: radiographs computed from volumes, made pelvises with landmarks, and poses from points."""

from atrous.xray.camera import ConeBeam, c_arm, segment_views
from atrous.xray.projector import Projector, rotation_matrix
from atrous.xray.volume import Volume, attenuation, grid

__all__ = ["ConeBeam", "Projector", "Volume", "attenuation", "c_arm", "grid", "rotation_matrix", "segment_views"]
