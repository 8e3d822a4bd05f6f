"""The text of a recipe."""

import yaml

from atrous.configure import Choice, PickedNetwork, to_yaml, values
from tests.configure.test_rules import CELLS, CPU, STREET, choose


def test_text_and_values_say_the_same():
    for facts in (CELLS, STREET):
        network = PickedNetwork({"name": "unet"}, "x" * 300, crop=(256, 320), batch=4, pace=1.0)
        choices = choose(facts, CPU, network, steps=9, budget="60s")
        text = to_yaml(choices, ["made from what is there"], seed=3)
        assert yaml.safe_load(text) == values(choices, seed=3)
        assert all(len(line) <= 120 or "x" * 99 in line for line in text.splitlines() if line.lstrip().startswith("#"))


def test_every_entry_has_its_reason_above():
    text = to_yaml([Choice("model", {"name": "unet"}, "quick"), Choice("data.crop", 64, "small")], [])
    assert text.splitlines() == ["# quick", "model: {name: unet}", "data:", "  # small", "  crop: 64", "seed: 0"]
