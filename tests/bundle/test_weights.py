"""Weights in a bundle: the same bytes for the same numbers; refused where they cannot be right or cannot be held."""

import hashlib
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from atrous.bundle import load_bundle, save_bundle
from atrous.errors import BundleError, ModelError
from atrous.models import base, create_model

SCRIPT = """
import sys, torch, atrous
torch.manual_seed(0)
model = atrous.create_model("unet2015", num_classes=2, in_channels=1, width=2)
atrous.save_bundle(sys.argv[1], model, class_names=["background", "cell"])
"""


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    model = create_model("segnet_basic", num_classes=2, in_channels=1, width=2)
    return save_bundle(tmp_path / "cells.bundle", model, class_names=["background", "cell"])


def change(folder, name, function):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors[name] = function(tensors[name])
    save_file(tensors, file)
    return file


def first_with(folder, ending):
    return next(name for name in load_file(folder / "model.safetensors") if name.endswith(ending))


def spoil(value, to=float("nan")):
    value.view(-1)[-1] = to
    return value


@pytest.mark.parametrize(
    ("ending", "function", "text"),
    [
        ("weight", spoil, "{name} has 1 of {count} numbers that are not finite"),
        ("bias", lambda x: spoil(x, float("-inf")), "{name} has 1 of {count} numbers that are not finite"),
        ("running_mean", spoil, "{name} has 1 of {count} numbers that are not finite"),
        ("running_var", lambda x: spoil(x, -1.0), "{name}, a variance, has numbers below 0"),
        ("std", torch.zeros_like, "std, which images are divided by, is [0.0], and must be above 0"),
    ],
)
def test_weights_that_give_one_class_everywhere_are_refused_by_name(folder, ending, function, text):
    name = first_with(folder, ending)
    count = load_file(folder / "model.safetensors")[name].numel()
    file = change(folder, name, function)
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    expected = text.format(name=name, count=count)
    assert str(caught.value) == (
        f"{file}: {expected}; the file is damaged, or its training went wrong: copy or train it again."
    )


def test_such_weights_are_not_written(tmp_path):
    model = create_model("unet2015", num_classes=2, width=2)
    with torch.no_grad():
        next(model.parameters()).fill_(float("inf"))
    with pytest.raises(
        BundleError, match=r"cells: contracting\..* numbers that are not finite; nothing was written\.$"
    ):
        save_bundle(tmp_path / "cells", model, class_names=["a", "b"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("dtype", "words"), [(torch.float64, "float64"), (torch.int32, "int32")])
def test_weights_of_a_type_that_would_be_rounded_are_refused(folder, dtype, words):
    name = first_with(folder, "weight")
    file = change(folder, name, lambda x: x.to(dtype))
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert str(caught.value) == (
        f"{file}: {name} is {words}, which float32 does not hold exactly, and the model needs float32; convert the "
        "weights before they are saved (model.float())."
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_a_shorter_type_are_read_exactly(folder, dtype):
    name = first_with(folder, "weight")
    short = load_file(folder / "model.safetensors")[name].to(dtype)
    change(folder, name, lambda x: short)
    assert torch.equal(load_bundle(folder).model.state_dict()[name], short.float())


def test_the_same_weights_are_the_same_bytes_in_every_process(tmp_path):
    digests = set()
    for number in range(4):
        target = tmp_path / str(number) / "cells"
        subprocess.run([sys.executable, "-c", SCRIPT, str(target)], check=True)
        digests.add(hashlib.sha256((target / "model.safetensors").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_model_for_which_there_is_no_memory_is_not_built(monkeypatch):
    monkeypatch.setattr(base, "free_memory", lambda: 5_200_000_000)
    with pytest.raises(ModelError) as caught:
        create_model("unet2015", num_classes=2, width=10**6)
    assert str(caught.value) == (
        "the weights of this unet2015 take 36 TB and more, and 5.2 GB of memory are free: give smaller arguments, "
        "such as its width or encoder, or choose another model"
    )
    with torch.device("meta"):  # nothing is asked for there
        assert create_model("unet2015", num_classes=2, width=10**5).num_classes == 2
    assert create_model("unet2015", num_classes=2, width=2).num_classes == 2


@pytest.mark.parametrize(
    "section",
    [
        {"name": "unet2015", "width": 10**6},
        {"name": "refinenet", "encoder": {"name": "resnet18", "width": 10**6}},
        {"name": "downscaled", "network": {"name": "unet2015", "width": 10**6}},
    ],
)
def test_a_bundle_that_asks_for_such_a_model_is_refused_in_words(folder, section):
    text = folder / "recipe.yaml"
    text.write_text(yaml.safe_dump({**yaml.safe_load(text.read_text()), "model": section}))
    with pytest.raises(
        BundleError, match=r"recipe\.yaml.*model.*: the weights of this \w+ take .* and more, and .* GB of memory are"
    ):
        load_bundle(folder)


def test_a_bundle_is_said_in_a_line(folder):
    words = f"Bundle({str(folder)!r}: segnet_basic, uint8 images of 1 channel, classes background, cell)"
    assert repr(load_bundle(folder)) == words
