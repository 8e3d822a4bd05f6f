import pytest
import torch
from torch import nn

from atrous.errors import BundleError
from atrous.training.finetune import load_matching


def network(classes: int) -> nn.ModuleDict:
    return nn.ModuleDict({"body": nn.Conv2d(1, 4, 3), "norm": nn.BatchNorm2d(4), "head": nn.Conv2d(4, classes, 1)})


def test_what_fits_is_taken_and_the_rest_reported():
    source, model = network(2), network(3)
    nn.init.constant_(source["norm"].running_mean, 7.0)
    head = model["head"].weight.clone()
    found = load_matching(model, source.state_dict(), source="old.bundle")
    assert torch.equal(model["body"].weight, source["body"].weight)
    assert torch.equal(model["norm"].running_mean, source["norm"].running_mean)
    assert torch.equal(model["head"].weight, head)
    assert found.fresh == ("head.weight", "head.bias") == found.unused
    assert "took over 7 of 9 weights; these start fresh: head.weight, head.bias" in str(found)


def test_a_network_fits_inside_a_model_around_it():
    source, inner = network(2), network(2)
    model = nn.ModuleDict({"network": inner, "crf": nn.Conv2d(2, 2, 1)})
    found = load_matching(model, source.state_dict(), source="old.bundle")
    assert torch.equal(inner["body"].weight, source["body"].weight)
    assert found.fresh == ("crf.weight", "crf.bias")
    assert found.unused == ()


def test_the_normalisation_is_left_alone():
    class Normalized(nn.Conv2d):
        def __init__(self) -> None:
            super().__init__(1, 2, 1)
            self.register_buffer("mean", torch.zeros(1))

    source, model = Normalized(), Normalized()
    source.mean.fill_(3.0)
    load_matching(model, source.state_dict(), source="old.bundle")
    assert float(model.mean) == 0


def test_nothing_in_common_is_an_error():
    with pytest.raises(BundleError, match=r"old\.bundle: not one of its kernels fits") as caught:
        load_matching(network(2), {"trunk.weight": torch.zeros(3), "trunk.bias": torch.zeros(1)}, source="old.bundle")
    assert "'trunk.weight' there" in str(caught.value)


@pytest.mark.parametrize("name", ["norm.num_batches_tracked", "norm.bias", "head.bias"])
def test_what_fits_by_chance_is_no_fit(name):
    with pytest.raises(BundleError):
        load_matching(network(2), {name: network(2).state_dict()[name]}, source="old.bundle")
