"""The images of a report: read from the data folder of the run, and segmented anew."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from atrous.errors import AtrousError
from atrous.evaluation import Evaluation, must_agree, open_like
from atrous.recipe import Recipe
from atrous.reports import Panel, panels
from atrous.tables import Place
from atrous.training.augment import augmented_samples

if TYPE_CHECKING:
    from atrous.bundle import Bundle
    from atrous.inference import Predictor

__all__ = ["Shown", "gather_pictures"]


class Shown(NamedTuple):
    """Images for the page, and why there are none."""

    examples: Sequence[Panel] = ()
    seen: Sequence[Panel] = ()
    best: Sequence[Panel] = ()
    worst: Sequence[Panel] = ()
    refined: Sequence[Panel] = ()
    lacking: str = ""


def gather_pictures(
    root: Any, classes: Any, bundle: "Bundle", predictor: "Predictor", measured: Evaluation | None
) -> Shown:
    """Examples, best and worst images, and some before and after the refinement; or why there are none."""
    if not root:
        return Shown(lacking="the run does not say where its images are.")
    try:
        folder = open_like(bundle.recipe, root, classes)
        known = {pair.name for pair in folder.splits.get(measured.split, ())} if measured is not None else set()
        if measured is not None and known and not any(image.name in known for image in measured.images):
            return Shown(lacking=f"{folder.root} has none of the {len(measured.images)} images of the evaluation.")
        must_agree(str(bundle.path), bundle, folder, given=classes is not None)
        recipe, fill = Recipe(bundle.recipe, Place("recipe.yaml")), bundle.model.mean.tolist()
        crops = augmented_samples(folder, recipe, panels.SEEN, fill)
        examples, seen = panels.example_panels(folder), panels.seen_panels(crops, folder)
        best, worst = panels.ranked_panels(folder, predictor, measured)
        refined = panels.refined_panels(folder, predictor, measured)
    except AtrousError as error:
        return Shown(lacking=str(error))
    return Shown(examples, seen, best, worst, refined)
