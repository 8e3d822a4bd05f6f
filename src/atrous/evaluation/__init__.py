"""Tables of results: what a bundle was measured on, how good it is, and how several results become one.

A task measures (`atrous.tasks`, `Evaluator`); this room walks through the images, keeps what was found, and prints it.
"""

from atrous.evaluation.cautions import FEW_STEPS, caution_of_steps
from atrous.evaluation.pairs import labelled_pairs, must_agree, open_like, same_masks
from atrous.evaluation.results import Evaluation, ImageResult, join, true_pixels
from atrous.evaluation.scoring import score_split

__all__ = [
    "FEW_STEPS",
    "Evaluation",
    "ImageResult",
    "caution_of_steps",
    "join",
    "labelled_pairs",
    "must_agree",
    "open_like",
    "same_masks",
    "score_split",
    "true_pixels",
]
