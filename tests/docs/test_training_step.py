"""The page of the training step names what a training step really calls, in that order."""

import re
import sys
from pathlib import Path
from types import CodeType, FrameType
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import atrous
from atrous.made import make_cells
from atrous.workflows import train

from .conftest import DOCS, load_tool

Name = tuple[str, str]  # a file under src/atrous, and a function
SOURCE = Path(atrous.__file__).parent
tool = load_tool("make_training_step")
LAST = (tool.BEFORE[-1].file, tool.BEFORE[-1].function)


class Trace:
    """The functions of atrous that a run calls, in the order of their first calls, and what they first returned.

    Attributes:
        before: until the trainer is built.
        after: from there on.
        dimensions: of the arrays that a function returned.
    """

    def __init__(self) -> None:
        self.before: list[Name] = []
        self.after: list[Name] = []
        self.dimensions: dict[Name, list[int]] = {}
        self._known: dict[CodeType, Name | None] = {}

    def __call__(self, frame: FrameType, event: str, returned: object) -> None:
        """What `sys.setprofile` calls."""
        code = frame.f_code
        if event == "return" and self._known.get(code) is not None and LAST in self.before:
            self.dimensions.setdefault(self._known[code], dimensions(returned))
        if event != "call" or code in self._known:
            return
        ours = code.co_filename.startswith(str(SOURCE))
        name = (code.co_filename[len(str(SOURCE)) + 1 :], code.co_qualname) if ours else None
        self._known[code] = name
        if name is not None:
            (self.after if LAST in self.before else self.before).append(name)
            if name == LAST:  # what was called before may be called again, for the step
                self._known.clear()


def dimensions(value: object) -> list[int]:
    """The numbers of dimensions of the arrays in a value that a step hands on."""
    if isinstance(value, dict):
        return [value[key].ndim for key in ("image", "mask", "out") if hasattr(value.get(key), "ndim")]
    if isinstance(value, tuple):
        return [count for each in value for count in dimensions(each)]
    if isinstance(value, list):
        return dimensions(value[0]) if value else []
    value = getattr(value, "array", value)
    return [value.ndim] if isinstance(value, torch.Tensor | np.ndarray) else []


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """A run of one step."""
    place = tmp_path_factory.mktemp("step")
    data = make_cells(place / "cells", count=4, size=48)
    steps = ["data.workers=0", "data.crop=32", "data.batch_size=2", "training.max_steps=1"]
    extras = ["training.ema=0.9", "training.clip=1.0"]
    trace = Trace()
    sys.setprofile(trace)
    try:
        train(data, recipe="unet_small", out=place / "run", overrides=[*steps, *extras], evaluate=False)
    finally:
        sys.setprofile(None)
    return trace


def test_a_training_step_calls_these_functions_in_this_order(trace: Trace) -> None:
    for part, steps in tool.TABLES.items():
        called = trace.before if part == "before" else trace.after
        named = [(step.file, step.function) for step in steps]
        missing = [name for name in named if name not in called]
        assert not missing, f"docs/make_training_step.py names what is not called: {missing}"
        assert named == sorted(named, key=called.index)


def test_the_shapes_of_the_drawing_have_the_dimensions_of_what_is_handed_on(trace: Trace) -> None:
    checked = 0
    for step in [*tool.LOADER, *tool.MAIN]:
        drawn = [shape.count(",") + 1 for shape in re.findall(r"\(([BCKHWhw+, ]+)\)", step.gives)]
        if drawn:
            assert trace.dimensions[step.file, step.function] == drawn, step.function
            checked += 1
    assert checked >= 7


def test_files_and_functions_in_the_text_exist() -> None:
    for words in (DOCS / "training-step.md").read_text(encoding="utf-8").split("`")[1::2]:
        if words.endswith(".py"):
            assert (SOURCE / words).is_file(), words
    text = (SOURCE / "training" / "adversary.py").read_text(encoding="utf-8")
    assert "def segmenter_losses" in text
    assert "def update" in text


def test_page_and_drawing_are_up_to_date() -> None:
    page = (DOCS / "training-step.md").read_text(encoding="utf-8")
    assert tool.filled(page) == page, "run python docs/make_training_step.py"
    assert tool.DRAWING.read_text(encoding="utf-8") == tool.drawing(), "run python docs/make_training_step.py"


def test_the_drawing_shows_every_function_and_its_words_fit_their_boxes() -> None:
    drawn = ElementTree.fromstring(tool.drawing())
    texts = [element for element in drawn.iter() if element.tag.endswith("text")]
    words = [element.text for element in texts]
    for step in [*tool.LOADER, *tool.MAIN]:
        assert {step.file, step.function, f"→ {step.gives}"} <= set(words)
    # A monospaced letter is six tenths of its size wide, and text begins 12 pixels inside its box.
    assert all(0.6 * int(each.attrib["font-size"]) * len(each.text or "") < tool.WIDTH - 24 for each in texts)
