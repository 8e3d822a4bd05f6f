"""Predictions: equal by what they hold, drawn for people."""

from dataclasses import replace

import numpy as np
import pytest

from atrous.drawing import apart, overlay, to_display
from atrous.errors import UsageError
from atrous.types import Prediction

CLASSES = np.array([[0, 0, 1, 1], [0, 0, 1, 1]], np.uint8)
FOUND = Prediction(CLASSES, np.full(CLASSES.shape, 0.5, np.float16), colors=((0, 0, 0), (200, 100, 0)))


def test_predictions_are_equal_where_all_arrays_are():
    twin = replace(FOUND, classes=CLASSES.copy(), confidence=FOUND.confidence.copy())
    assert twin == FOUND
    assert FOUND in [twin]
    assert replace(FOUND, classes=1 - CLASSES) != FOUND
    assert replace(FOUND, classes=CLASSES.astype(np.uint16)) != FOUND
    assert replace(FOUND, instances=CLASSES.astype(np.int32)) != FOUND
    assert replace(FOUND, class_names=("a", "b")) != FOUND
    assert FOUND != "a prediction"
    unknown = replace(FOUND, uncertainty=np.full(CLASSES.shape, np.nan, np.float32))
    assert unknown == replace(unknown, uncertainty=unknown.uncertainty.copy())
    with pytest.raises(TypeError, match="unhashable"):
        hash(FOUND)


def test_an_overlay_is_the_image_with_its_classes():
    image = np.arange(8, dtype=np.uint8).reshape(2, 4) * 20
    assert (FOUND.overlay(image) == overlay(to_display(image), CLASSES, FOUND.colors, bare=0)).all()
    other = [(0, 0, 0), (1, 2, 3)]
    assert (FOUND.overlay(image, other) == overlay(to_display(image), CLASSES, other, bare=0)).all()
    assert FOUND.overlay(image.astype(np.uint16)[..., None]).shape == (2, 4, 3)
    with pytest.raises(UsageError, match="2 x 4 pixels, but the image has 4 x 2"):
        FOUND.overlay(image.T)


def test_objects_of_one_class_are_drawn_apart():
    numbers = np.array([[1, 1, 1, 2, 2, 0]] * 3, np.int32)
    found = Prediction((numbers > 0).astype(np.uint8), np.ones(numbers.shape, np.float16), instances=numbers)
    image = np.full(numbers.shape, 100, np.uint8)
    drawn, plain = found.overlay(image), replace(found, instances=None).overlay(image)
    assert (drawn != plain).any(-1)[1].tolist() == [False, False, True, True, False, False]
    assert apart(found.classes, numbers)[0].tolist() == [1, 1, 0, 1, 1, 0]
    beside = apart(np.array([[2, 1, 1, 2]]), np.array([[0, 3, 3, 0]]))  # a class without objects keeps all its pixels
    assert beside.tolist() == [[2, 1, 1, 2]]


def test_the_background_and_what_fills_the_image_is_not_painted():
    classes = np.zeros((6, 6), np.uint8)
    classes[:, 5] = 1
    image = np.full((6, 6), 200, np.uint8)
    found = Prediction(classes, np.ones(classes.shape, np.float16))
    for names, bare in (((), 0), (("road", "crack"), 0), (("crack", "background"), 1)):
        changed = (replace(found, class_names=names).overlay(image) != 200).any(-1)
        assert (changed == (classes != bare)).all()
    half = replace(found, classes=np.array([[0, 1, 2]] * 3, np.uint8), class_names=("a", "b", "c"))
    assert (half.overlay(np.full((3, 3), 200, np.uint8)) != 200).any(-1).all()
    labels = np.zeros((2, 6, 6), bool)  # classes that overlap: none is behind the others
    assert (replace(found, labels=labels, class_names=("a", "b")).overlay(image) != 200).any(-1).all()


def test_a_notebook_shows_a_picture_with_the_names():
    shown = replace(FOUND, class_names=("<sky>", "road"))._repr_html_()
    assert "data:image/png;base64," in shown
    assert "&lt;sky&gt;" in shown
    assert "rgb(200, 100, 0)" in shown
    nothing = Prediction(np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.float16))
    assert "data:image/png" in nothing._repr_html_()


def test_a_prediction_is_said_in_a_line():
    names = tuple(f"class {number}" for number in range(6))
    found = replace(FOUND, instances=np.zeros(CLASSES.shape, np.int32), class_names=names)
    assert repr(found) == (
        "Prediction(classes=uint8 (2, 4), confidence=float16 (2, 4), instances=int32 (2, 4), "
        "class_names=('class 0', 'class 1', 'class 2', 'class 3', and 2 more))"
    )
    assert repr(FOUND) == "Prediction(classes=uint8 (2, 4), confidence=float16 (2, 4))"
    large = Prediction(np.zeros((3000, 3000), np.uint8), np.zeros((3000, 3000), np.float16))
    assert len(repr(large)) < 100
