"""One YAML file that names model, data, task, optimiser and schedule, with the line of every entry kept for messages.

`Recipe` is the plain values and their places. What they mean is decided once, by `atrous.training.resolve`, where all
tables of names can be seen; what it returns is what all others are handed.
"""

from atrous.recipe.base import SECTIONS, Recipe, list_recipes, load_recipe, make_recipe
from atrous.recipe.pretrained import without_pretrained
from atrous.recipe.reading import read_value, read_yaml, write_yaml
from atrous.recipe.stages import TrainingStage, split_stages

__all__ = [
    "SECTIONS",
    "Recipe",
    "TrainingStage",
    "list_recipes",
    "load_recipe",
    "make_recipe",
    "read_value",
    "read_yaml",
    "split_stages",
    "without_pretrained",
    "write_yaml",
]
