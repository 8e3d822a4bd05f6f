"""A recipe from the data: what is seen in it, and what follows from that, line by line.

`look` measures, `choose` decides, `write` puts both into a recipe that people can read, edit and train again. Nothing
here trains: `workflows/configuration.py` measures how fast the machine is and follows the recipe.
"""

from atrous.configure.facts import ClassFacts, Facts, look
from atrous.configure.machine import Machine, describe
from atrous.configure.network import Candidate, PickedNetwork, candidates, pick
from atrous.configure.rules import Choice, choose
from atrous.configure.write import to_yaml, values

__all__ = [
    "Candidate",
    "Choice",
    "ClassFacts",
    "Facts",
    "Machine",
    "PickedNetwork",
    "candidates",
    "choose",
    "describe",
    "look",
    "pick",
    "to_yaml",
    "values",
]
