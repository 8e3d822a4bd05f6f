"""Facts of U-Net++: the authors' count, the formula of the grid, pruning, and what each mode puts out."""

import pytest
import torch
import torch.nn.functional as F

from atrous.models import create_model


def small(**arguments):
    torch.manual_seed(0)
    return create_model("unetplusplus", num_classes=3, width=4, **arguments).eval()


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_count_of_the_authors_code():
    """github.com/MrGiovanni/UNetPlusPlus, model_logic.py: 9,041,601 with one classifier of 32 weights and a bias."""
    with torch.device("meta"):
        model = create_model("unetplusplus", num_classes=1, in_channels=1)
    assert count(model) - count(model.heads[:3]) == 9_041_601


def test_a_node_reads_all_nodes_before_it_and_the_enlarged_one_below():
    model = small()
    image = torch.rand(1, 3, 64, 48)

    def node(level, column):
        if column == 0:
            before = image if level == 0 else F.max_pool2d(node(level - 1, 0), 2)
            return model.contracting.blocks[level](before)
        part = model.columns[column - 1].nodes[level]
        row = [node(level, earlier) for earlier in range(column)]
        return part.convs(torch.cat([*row, part.up(node(level + 1, column - 1))], dim=1))

    with torch.inference_mode():
        expected = [head(node(0, column)) for column, head in enumerate(model.heads, 1)]
        assert torch.allclose(model(image)["out"], sum(expected) / 4, atol=1e-5)
        outputs = model.train()(image)
    assert list(outputs) == ["out", "depth1", "depth2", "depth3"]
    for name, logits in zip(["depth1", "depth2", "depth3", "out"], expected, strict=True):
        assert torch.allclose(outputs[name], logits, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_a_pruned_network_is_the_classifier_of_its_depth(depth):
    model, pruned = small().train(), small(levels=depth + 1, output="last")
    weights = model.state_dict()
    pruned.load_state_dict({key: weights[key] for key in pruned.state_dict()})
    image = torch.rand(2, 3, 48, 64)  # of other sizes the two pad other amounts
    with torch.inference_mode():
        expected = model(image)["out" if depth == 4 else f"depth{depth}"]
        assert torch.allclose(pruned(image)["out"], expected, atol=1e-5)


def test_modes_differ_in_evaluation_only():
    mean, last = small(), small(output="last")
    image = torch.rand(2, 3, 33, 47)
    with torch.inference_mode():
        assert mean(image).keys() == last(image).keys() == {"out"}
        assert not torch.allclose(mean(image)["out"], last(image)["out"])
        evaluated = last(image)["out"]
        assert torch.equal(mean.train()(image)["out"], evaluated)
        assert torch.equal(last.train()(image)["out"], evaluated)
