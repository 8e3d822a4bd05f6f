"""Graphs of networks: poolings that remember, in operations that engines have quick kernels for."""

import pytest
import torch

from atrous.inference.engines.exporting import export_network
from atrous.layers import max_pool, max_unpool
from tests.models.test_contract import build

pytestmark = pytest.mark.usefixtures("unchecked")
SLOW = ("max_pool2d_with_indices", "max_unpool2d")


class Remembering(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, image):
        pooled, positions = max_pool(image, self.factor)
        return {"out": max_unpool(pooled + 1, positions, tuple(image.shape[-2:]))}


@pytest.mark.parametrize("factor", [2, 3])
def test_poolings_by_cells_are_the_poolings(factor):
    model = Remembering(factor)
    graph = export_network(model, 3)
    assert graph.remembering
    assert graph.outputs == ("out",)
    assert not [node for node in graph.program.graph.nodes if any(name in str(node.target) for name in SLOW)]
    for size in ((36, 54), (35, 41), (97, 130)):
        image = torch.randint(-3, 3, (2, 3, *size)).float()  # with ties
        assert (graph.program.module()(image)["out"] == model(image)["out"]).all()


def test_poolings_of_two_kinds_stay():
    class Two(torch.nn.Module):
        def forward(self, image):
            small, large = Remembering(2)(image)["out"], Remembering(3)(image)["out"]
            return {"out": small + large}

    graph = export_network(Two(), 1)
    assert graph.remembering
    assert [node for node in graph.program.graph.nodes if SLOW[1] in str(node.target)]


def test_a_network_with_other_poolings_beside_keeps_them():
    graph = export_network(build("enet"), 3)
    assert graph.remembering
    assert not [node for node in graph.program.graph.nodes if SLOW[1] in str(node.target)]
