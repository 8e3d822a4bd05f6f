"""Names, arguments and the text of every complaint about them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Gt
from torch import nn

from atrous.errors import ModelError, RecipeError
from atrous.tables import Place, check_arguments, describe_hint, lookup, read_section


def network(
    num_classes: int,
    *,
    encoder: str = "resnet18",
    rate: float = 0.5,
    crop: int | tuple[int, int] | None = None,
    norm: Literal["batch", "group"] = "batch",
    rates: Sequence[float] = (),
    aux: Mapping[str, int] | None = None,
    lr: Annotated[float, Gt(0)] = 1.0,
    act: Callable[[], nn.Module] = nn.ReLU,
    where: Path | None = None,
    deep: bool = False,
    anything: Any = None,
) -> None: ...


PLACE = Place("unet.yaml", ("model",), {("model",): "unet.yaml line 3", ("model", "crop"): "unet.yaml line 7"})


def check(**arguments: object) -> dict[str, object]:
    return check_arguments(network, arguments, place=PLACE, given=("num_classes",))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"rate": 1}, {"rate": 1.0}),
        ({"crop": [64, 96]}, {"crop": (64, 96)}),
        ({"crop": 64}, {"crop": 64}),
        ({"crop": None}, {"crop": None}),
        ({"rates": [1, 2.5]}, {"rates": [1, 2.5]}),
        ({"rates": (1, 2.5)}, {"rates": (1, 2.5)}),
        ({"aux": {"stage3": 2}}, {"aux": {"stage3": 2}}),
        ({"norm": "group"}, {"norm": "group"}),
        ({"act": nn.GELU}, {"act": nn.GELU}),
        ({"where": "a/b"}, {"where": Path("a/b")}),
        ({"anything": {"name": "fcn"}}, {"anything": {"name": "fcn"}}),
        ({}, {}),
    ],
)
def test_values_take_the_type_of_the_hint(given, expected):
    got = check(**given)
    assert got == expected
    assert [type(value) for value in got.values()] == [type(value) for value in expected.values()]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"encodr": "x"}, "unet.yaml line 3, model.encodr: network takes no argument 'encodr'. "
                          "Did you mean 'encoder'?"),
        ({"crop": "big"}, "unet.yaml line 7, model.crop: got 'big' (str), but crop of network must be "
                          "int, [int, int] or null."),
        ({"crop": [64, "x"]}, "unet.yaml line 7, model.crop: got [64, 'x'] (list), but crop of network must be "
                              "int, [int, int] or null."),
        ({"norm": "bacth"}, "unet.yaml line 3, model.norm: got 'bacth' (str), but norm of network must be "
                            "'batch' or 'group'. Did you mean 'batch'?"),
        ({"deep": 1}, "unet.yaml line 3, model.deep: got 1 (int), but deep of network must be bool."),
        ({"rate": True}, "unet.yaml line 3, model.rate: got True (bool), but rate of network must be float."),
        ({"rate": "0.1"}, "unet.yaml line 3, model.rate: got '0.1' (str), but rate of network must be float."),
        ({"rate": None}, "unet.yaml line 3, model.rate: got nothing (null), but rate of network must be float."),
        ({"lr": -1}, "unet.yaml line 3, model.lr: got -1 (int), but lr of network must be float, above 0."),
        ({"aux": {"stage3": "2"}}, "unet.yaml line 3, model.aux.stage3: got '2' (str), but aux of network must be "
                                   "a mapping of str to int or null."),
        ({"rates": "12"}, "unet.yaml line 3, model.rates: got '12' (str), but rates of network must be "
                          "a list of float."),
        ({"num_classes": 2}, "unet.yaml line 3, model.num_classes: network is handed 'num_classes' by atrous itself; "
                             "remove it here."),
    ],
)  # fmt: skip
def test_complaints_say_where_what_and_what_else(given, text):
    with pytest.raises(RecipeError) as caught:
        check(**given)
    assert str(caught.value) == text


def test_a_missing_argument_is_named_with_its_type():
    with pytest.raises(ModelError, match=r"create_model: network needs 'num_classes' \(int\)\.$"):
        check_arguments(network, {}, place=Place("create_model"), error=ModelError)


def test_open_ended_builders_take_other_names_and_check_their_hint():
    def open_ended(a: int, **rest: float) -> None: ...

    assert check_arguments(open_ended, {"a": 1, "b": 2}, place=PLACE) == {"a": 1, "b": 2.0}
    with pytest.raises(RecipeError, match=r"model\.b: got 'x'"):
        check_arguments(open_ended, {"a": 1, "b": "x"}, place=PLACE)


def test_classes_dataclasses_and_partials_are_builders_too():
    class Plain:
        def __init__(self, size: int) -> None: ...

    @dataclass(frozen=True)
    class Options:
        steps: int = 3
        crop: tuple[int, int] | None = None

    assert check_arguments(Plain, {"size": 3}, place=PLACE) == {"size": 3}
    assert check_arguments(Options, {"crop": [1, 2]}, place=PLACE) == {"crop": (1, 2)}
    assert check_arguments(partial(network, 2), {"encoder": "x"}, place=PLACE) == {"encoder": "x"}
    with pytest.raises(RecipeError, match=r"Options takes no argument 'stepz'\. Did you mean 'steps'"):
        check_arguments(Options, {"stepz": 1}, place=PLACE)
    with pytest.raises(RecipeError, match="Plain needs 'size'"):
        check_arguments(Plain, {}, place=PLACE)


def test_a_hint_only_a_type_checker_knows_is_left_to_the_builder():
    def odd(a: "NoSuchName", b: int = 1) -> None: ...  # noqa: F821

    assert check_arguments(odd, {"a": object, "b": 2}, place=PLACE) == {"a": object, "b": 2}


def test_sections_are_names_or_mappings():
    table = {"network": network}
    assert read_section(table, "network", kind="model", place=PLACE, given=("num_classes",)) == (network, {})
    section = {"name": "network", "crop": 3}
    assert read_section(table, section, kind="model", place=PLACE, given=("num_classes",)) == (network, {"crop": 3})
    assert section == {"name": "network", "crop": 3}
    for wrong, text in [
        ("netwrok", "unet.yaml line 3, model.name: there is no model 'netwrok'. Did you mean 'network'?"),
        ({"crop": 3}, "unet.yaml line 3, model: the model needs a name. Choose from: network."),
        (None, "unet.yaml line 3, model: a model is a name or {name: ..., its arguments}, got nothing (null). "
               "Choose from: network."),
        ({"name": 3}, "unet.yaml line 3, model.name: the name of a model is text, got 3 (int). Choose from: network."),
    ]:  # fmt: skip
        with pytest.raises(RecipeError) as caught:
            read_section(table, wrong, kind="model", place=PLACE)
        assert str(caught.value) == text


def test_a_builder_that_wants_its_place_is_handed_it():
    def reads_itself(loss: str, place: Place) -> None: ...

    _, arguments = read_section({"x": reads_itself}, {"name": "x", "loss": "a"}, kind="task", place=PLACE)
    assert arguments == {"loss": "a", "place": PLACE}
    with pytest.raises(RecipeError, match="'place' by atrous itself"):
        read_section({"x": reads_itself}, {"name": "x", "loss": "a", "place": "b"}, kind="task", place=PLACE)


def test_lookup_raises_the_error_it_is_told():
    assert lookup({"a": 1}, "a", kind="loss", place=PLACE) == 1
    with pytest.raises(ModelError, match="there is no loss 'b'"):
        lookup({"a": 1}, "b", kind="loss", place=PLACE, error=ModelError)


def test_long_values_are_shortened():
    with pytest.raises(RecipeError, match=r"got 'x{56}\.\.\. \(str\)"):
        check(rate="x" * 500)


def test_places_without_lines():
    assert str(Place("create_model")) == "create_model"
    assert str(Place("create_model") / "aux" / 0) == "create_model, aux.0"


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (list[str], "a list of str"),
        (tuple[float, ...], "a list of float"),
        (int | Literal["auto"], "int or 'auto'"),
        (dict[str, float] | float, "a mapping of str to float or float"),
        (type[nn.Module], "a subclass of Module"),
    ],
)
def test_hints_in_words(hint, text):
    assert describe_hint(hint) == text
