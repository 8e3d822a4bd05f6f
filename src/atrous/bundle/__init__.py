"""A trained model in a folder: weights, how to build it again, its classes, its figures, and a card for people.

Nothing in it is code, and reading it unpickles nothing: safetensors, YAML and JSON. The model of a bundle is looked up
in `MODELS` and its task in `TASKS`; the recipe's other sections are carried along unread.
"""

from atrous.bundle.base import Bundle
from atrous.bundle.read import find_bundle, load_bundle
from atrous.bundle.unfinished import explain_unfinished
from atrous.bundle.write import save_bundle, update_bundle

__all__ = ["Bundle", "explain_unfinished", "find_bundle", "load_bundle", "save_bundle", "update_bundle"]
