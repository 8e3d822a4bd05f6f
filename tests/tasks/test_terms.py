"""What a recipe may say about losses: read with its arguments and weights, or refused with its line."""

import pytest
import torch

from atrous.errors import RecipeError
from atrous.losses import LOSSES, focal_loss
from atrous.tables import Place
from atrous.tasks import Segmentation
from atrous.tasks.terms import read_terms

PLACE = Place("unet.yaml", ("task",), {("task", "loss"): "unet.yaml line 5"})


def test_a_term_has_its_arguments_and_says_what_it_takes():
    sections = [{"name": "focal", "gamma": 3, "weights": [1, 2]}, {"name": "dice", "weight": [0, 0.5]}, "ohem"]
    focal, dice, ohem = read_terms(sections, 2, None, PLACE)
    logits, mask = torch.randn(1, 2, 4, 4), torch.randint(0, 2, (1, 4, 4))
    assert focal.function(logits, mask) == focal_loss(logits, mask, gamma=3.0, weights=torch.tensor([1.0, 2.0]))
    assert (focal.weight, dice.weight, ohem.weight) == ((1, 1), (0, 0.5), (1, 1))
    assert [term.weighs_pixels for term in (focal, dice, ohem)] == [True, False, False]
    assert dice.factor(torch.tensor(0.5)) == 0.25
    assert dice.factor(None) == 0.5


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "ohem", "topk_cross_entropy"])
def test_class_weights_wait_for_frequencies_wherever_they_make_sense(name):
    section = {"name": name, "weights": "effective_number"}
    assert read_terms(section, 3, None, PLACE)[0].weighting == "effective_number"
    frequencies = {"pixels": [11, 3, 2], "totals": [16, 8, 8]}
    (term,) = read_terms(section, 3, frequencies, PLACE)
    assert term.weighting is None
    assert term.function.keywords["weights"].sum().item() == pytest.approx(3)


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        ("crossentropy", "unet.yaml line 5, task.loss.name: there is no loss 'crossentropy'. "
                         "Did you mean 'cross_entropy'?"),
        ({"name": "dice", "smoth": 1}, "unet.yaml line 5, task.loss.smoth: dice_loss takes no argument 'smoth'. "
                                       "Did you mean 'smooth'?"),
        ({"name": "dice", "weights": [1, 1, 1]}, "unet.yaml line 5, task.loss.weights: dice_loss takes no argument "
                                                 "'weights'. Choose from: smooth."),
        ({"name": "dice", "weight": "2"}, "unet.yaml line 5, task.loss.weight: got '2' (str), but the weight of a loss "
                                          "must be float "
                                          "or [float, float]."),
        ({"name": "dice", "ignore_index": 0}, "unet.yaml line 5, task.loss.ignore_index: dice_loss is handed "
                                              "'ignore_index' by atrous itself; remove it here."),
        (["dice", "dice"], "unet.yaml line 5, task.loss: name at least one loss, and each one once; "
                           "got ['dice', 'dice']."),
        ([], "unet.yaml line 5, task.loss: name at least one loss, and each one once; got []."),
        ({"weights": [1, 1, 1]}, "unet.yaml line 5, task.loss: the loss needs a name. "
                                 "Choose from: " + ", ".join(sorted(LOSSES)) + "."),
        ({"name": "cross_entropy", "weights": "median_freq"},
         "unet.yaml line 5, task.loss.weights: there is no class weighting 'median_freq'. "
         "Did you mean 'median_frequency'?"),
        ({"name": "cross_entropy", "weights": [1, 2]},
         "unet.yaml line 5, task.loss.weights: got [1, 2] (list), but weights are one number >= 0 for each of the "
         "3 classes, or one of median_frequency, enet, enet_encoder, inverse, effective_number."),
        ({"name": "cross_entropy", "weights": ["a", 2, 3]},
         "unet.yaml line 5, task.loss.weights.0: got 'a' (str), but weights (unless the name of a rule) must be "
         "a list of float."),
        ({"name": "dice", "weight": [0, 1, 2]},
         "unet.yaml line 5, task.loss.weight: got [0, 1, 2] (list), but the weight of a loss must be "
         "float or [float, float]."),
        ({"name": "dice", "weight": [0, "x"]},
         "unet.yaml line 5, task.loss.weight: got [0, 'x'] (list), but the weight of a loss must be "
         "float or [float, float]."),
        ({"name": "dice", "weight": True},
         "unet.yaml line 5, task.loss.weight: got True (bool), but the weight of a loss must be "
         "float or [float, float]."),
        ("lovasz", "unet.yaml line 5, task.loss.name: there is no loss 'lovasz'. Did you mean 'lovasz_hinge'?"),
        ({"name": "cross_entropy", "pixel_weights": [1]},
         "unet.yaml line 5, task.loss.pixel_weights: cross_entropy is handed 'pixel_weights' by atrous itself; "
         "remove it here."),
        ({"name": "binary_dice", "target": 1},
         "unet.yaml line 5, task.loss.target: binary_dice_loss is handed 'target' by atrous itself; remove it here."),
        ({"name": "dice", "pixel_weights": [1]},
         "unet.yaml line 5, task.loss.pixel_weights: dice_loss takes no argument 'pixel_weights'. "
         "Choose from: smooth."),
        ({"name": "ohem", "threshold": 70},
         "unet.yaml line 5, task.loss.threshold: got 70 (int), but threshold of ohem_cross_entropy must be "
         "float, above 0, at most 1."),
        ({"name": "ohem", "min_kept": 0},
         "unet.yaml line 5, task.loss.min_kept: got 0 (int), but min_kept of ohem_cross_entropy must be "
         "int, at least 1."),
        ({"name": "topk_cross_entropy", "fraction": 0.0},
         "unet.yaml line 5, task.loss.fraction: got 0.0 (float), but fraction of topk_cross_entropy must be "
         "float, above 0, at most 1."),
        ({"name": "rmi", "pooling": "averge"},
         "unet.yaml line 5, task.loss.pooling: got 'averge' (str), but pooling of rmi_loss must be "
         "'average' or 'maximum'. Did you mean 'average'?"),
        ({"name": "binary_focal", "alpha": 2},
         "unet.yaml line 5, task.loss.alpha: got 2 (int), but alpha of binary_focal_loss must be "
         "float, at least 0, at most 1 or null."),
        ({"name": "tversky", "alpha": -1},
         "unet.yaml line 5, task.loss.alpha: got -1 (int), but alpha of tversky_loss must be float, at least 0."),
        ({"name": "focal", "weights": "median_frequncy"},
         "unet.yaml line 5, task.loss.weights: there is no class weighting 'median_frequncy'. "
         "Did you mean 'median_frequency'?"),
        ({"name": "boundary", "classes": "all"},
         "unet.yaml line 5, task.loss.classes: got 'all' (str), but classes of boundary_loss must be "
         "a list of int or null."),
    ],
)  # fmt: skip
def test_wrong_losses_are_named_with_their_line(loss, text):
    with pytest.raises(RecipeError) as caught:
        Segmentation(3, loss=loss, place=PLACE)
    assert str(caught.value) == text
