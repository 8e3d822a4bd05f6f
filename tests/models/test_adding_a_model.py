"""The worked example of docs/adding-a-model.md is code that runs."""

import re
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml

from atrous import models

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-model.md"


@pytest.fixture(scope="module")
def blocks():
    found = re.findall(r"^```(\w*)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in ("python", "yaml")]


@pytest.fixture
def example(blocks, monkeypatch):
    module = ModuleType("hypercolumn")
    exec(compile(blocks[0], str(PAGE), "exec"), vars(module))
    monkeypatch.setitem(models.MODELS, "hypercolumn", module.hypercolumn)
    return module


def test_the_model_of_the_page_keeps_the_contract(example):
    model = models.create_model("hypercolumn", num_classes=3, in_channels=5, encoder="test_resnet")
    for size in [(1, 1), (33, 47)]:
        assert model.eval()(torch.rand(1, 5, *size))["out"].shape == (1, 3, *size)
    for _ in range(2):
        model.train()(torch.rand(1, 5, 64, 64))["out"].square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_test_of_the_page_passes(example, blocks):
    names = {}
    exec(compile(blocks[4], str(PAGE), "exec"), names)
    tests = [value for key, value in names.items() if key.startswith("test_")]
    assert len(tests) == 1
    tests[0]()


@pytest.mark.parametrize("block", [2, 3])
def test_the_recipes_of_the_page_build_the_model(example, blocks, block):
    recipe = yaml.safe_load(blocks[block])  # the second is an entry of the table of scaled-down networks
    section = (recipe if block == 2 else recipe["hypercolumn_small"])["model"]
    model = models.create_model(num_classes=2, **section)
    assert model.spec.name == "hypercolumn"
    assert sum(parameter.numel() for parameter in model.parameters()) <= (5_000_000 if block == 3 else 12_000_000)


def test_the_paper_of_the_page_has_its_year(example):
    assert example.PAPERS["hypercolumn"].year == 2015
