"""Made data: pictures with exact masks or landmarks, to try things on; deterministic by seed, of any count and size."""

from atrous.made.cells import draw_cells, make_cells
from atrous.made.figures import draw_figure, make_figures
from atrous.made.scenes import draw_scene, make_scenes

__all__ = ["draw_cells", "draw_figure", "draw_scene", "make_cells", "make_figures", "make_scenes"]
