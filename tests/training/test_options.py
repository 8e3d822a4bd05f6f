import pytest

from atrous.errors import RecipeError
from atrous.training.options import TrainingOptions


def test_epochs_become_steps():
    assert TrainingOptions(max_epochs=3).steps(images=10, batch_size=4) == 9
    assert TrainingOptions(max_epochs=3).steps(images=3, batch_size=8) == 3


def test_a_run_must_end():
    with pytest.raises(RecipeError, match=r"max_steps.*max_epochs"):
        TrainingOptions(max_steps=None).steps(10, 4)


@pytest.mark.parametrize(
    ("steps", "images", "cost", "expected"),
    [
        (600, 40, 0, 50),  # an epoch of 5 steps would be too often
        (600, 600, 0, 75),  # an epoch
        (5000, 80_000, 0, 500),  # an epoch of 10000 steps would be too rare
        (20, 40, 0, 20),  # never beyond the end
        (10_000, 40, 0, 500),  # about twenty in a run
        (2000, 40, 50, 200),  # a fifth of the time
    ],
)
def test_validations_are_neither_rare_nor_costly(steps, images, cost, expected):
    assert TrainingOptions(max_steps=steps).validation_interval(images, 8, cost=cost) == expected


def test_what_the_recipe_says_counts():
    assert TrainingOptions(max_steps=100, validate_every=7).validation_interval(1000, 8, cost=99) == 7
    assert TrainingOptions(max_steps=5, validate_every=7).validation_interval(1000, 8) == 5


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.max_step=5", "Did you mean 'max_steps'"),
        ("training.max_steps=0", "at least 1"),
        ("training.clip=0", "above 0"),
        ("training.precision=bf16", "'auto'"),
        ("training.device=gpu", "'cuda'"),
        ("training.patience=two", "command line, training.patience"),
    ],
)
def test_the_section_is_checked(override, words):
    from atrous.recipe import load_recipe

    with pytest.raises(RecipeError, match=words):
        load_recipe("unet", [override]).options("training", TrainingOptions)
