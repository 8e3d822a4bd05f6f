"""The page of the training step names what a training step really calls, in that order."""

import sys
from pathlib import Path
from types import CodeType, FrameType
from xml.etree import ElementTree

import pytest

import atrous
from atrous.made import make_cells
from atrous.workflows import train

from .conftest import DOCS, load_tool

Calls = dict[str, list[tuple[str, str]]]
SOURCE = Path(atrous.__file__).parent
tool = load_tool("make_training_step")
LAST = (tool.BEFORE[-1].file, tool.BEFORE[-1].function)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Calls:
    """The functions of atrous that a run of one step calls: until the trainer is built, and from there on."""
    place = tmp_path_factory.mktemp("step")
    data = make_cells(place / "cells", count=4, size=48)
    before: list[tuple[str, str]] = []
    after: list[tuple[str, str]] = []
    known: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or code in known:
            return
        known.add(code)
        if code.co_filename.startswith(str(SOURCE)):
            name = (code.co_filename[len(str(SOURCE)) + 1 :], code.co_qualname)
            (after if LAST in before else before).append(name)
            if name == LAST:  # what was called before may be called again, for the step
                known.clear()

    steps = ["data.workers=0", "data.crop=32", "data.batch_size=2", "training.max_steps=1"]
    extras = ["training.ema=0.9", "training.clip=1.0"]
    sys.setprofile(note)
    try:
        train(data, recipe="unet_small", out=place / "run", overrides=[*steps, *extras], evaluate=False)
    finally:
        sys.setprofile(None)
    return {"before": before, "loader": after, "main": after}


def test_a_training_step_calls_these_functions_in_this_order(calls: Calls) -> None:
    for part, steps in tool.TABLES.items():
        named = [(step.file, step.function) for step in steps]
        missing = [name for name in named if name not in calls[part]]
        assert not missing, f"docs/make_training_step.py names what is not called: {missing}"
        assert named == sorted(named, key=calls[part].index)


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
