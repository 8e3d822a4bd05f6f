"""Facts of the stacked hourglass: counts, grids, what a stack hands on, and a plain form with its weights."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from atrous.analysis import parameters, receptive_fields
from atrous.errors import ModelError
from atrous.models import create_model, paper
from atrous.models.hourglass import Hourglass, Residual
from atrous.tasks import build_task
from atrous.types import CellGrid

from .weights import copy_weights

KEYS = ["hourglass", "hourglass_bearpaw"]


def on_meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, num_classes=16, **arguments)


def small(name, **arguments):
    torch.manual_seed(0)
    return create_model(name, num_classes=3, **{"width": 8, "stacks": 3, **arguments})


def maps_of(model, image):
    """What every stack's classifier puts out."""
    seen = []
    hooks = [s.head.register_forward_hook(lambda module, args, output: seen.append(output)) for s in model.stacks]
    outputs = model(image)
    for hook in hooks:
        hook.remove()
    return seen, outputs


@pytest.mark.parametrize(
    ("name", "stacks", "blocks", "count"),  # 16 maps, counted on the releases
    [
        ("hourglass", 1, 1, 3_426_448),
        ("hourglass", 2, 1, 6_570_400),
        ("hourglass", 8, 1, 25_434_112),
        ("hourglass_bearpaw", 1, 1, 3_586_960),
        ("hourglass_bearpaw", 2, 1, 6_730_912),
        ("hourglass_bearpaw", 8, 1, 25_594_624),
        ("hourglass_bearpaw", 1, 4, 12_597_136),
        ("hourglass_bearpaw", 2, 4, 24_751_264),
    ],
)
def test_parameters(name, stacks, blocks, count):
    assert parameters(on_meta(name, stacks=stacks, blocks=blocks)) == count


@pytest.mark.parametrize(("stacks", "count"), [(1, 4_364_048), (2, 8_429_088), (8, 32_819_328)])
def test_the_authors_release_has_a_shortcut_more_in_every_residual_that_keeps_its_channels(stacks, count):
    model = on_meta("hourglass", stacks=stacks)
    units = [part for part in model.modules() if isinstance(part, Residual)]
    keeping = [unit.branch[0].num_features for unit in units if isinstance(unit.shortcut, nn.Identity)]
    assert len(keeping) == 14 * stacks + 1
    assert parameters(model) + sum(channels * channels + channels for channels in keeping) == count


@pytest.mark.parametrize("name", KEYS)
def test_the_defaults_are_the_network_of_eight_stacks(name):
    assert parameters(on_meta(name)) == paper(name).parameters


def test_sizes_of_the_paper_s_image():
    model, seen = on_meta("hourglass", stacks=2).eval(), {}
    innermost = "inner.inner.inner.inner"
    for path in ("encoder.conv", "encoder", f"stacks.0.hourglass.{innermost}", "stacks.0.head", "stacks.1.head"):
        model.get_submodule(path).register_forward_hook(
            lambda module, args, output, path=path: seen.update({path.replace(innermost, "innermost"): output.shape})
        )
    assert model(torch.empty(1, 3, 256, 256, device="meta"))["out"].shape == (1, 16, 256, 256)
    assert {path: tuple(shape[1:]) for path, shape in seen.items()} == {
        "encoder.conv": (64, 128, 128),
        "encoder": (256, 64, 64),
        "stacks.0.hourglass.innermost": (256, 4, 4),
        "stacks.0.head": (16, 64, 64),
        "stacks.1.head": (16, 64, 64),
    }


@pytest.mark.parametrize(("blocks", "levels", "places"), [(1, 4, 13), (2, 4, 13), (1, 1, 4), (3, 2, 7)])
def test_every_place_of_an_hourglass_has_residuals_of_its_own_the_skips_too(blocks, levels, places):
    whole = Hourglass(8, blocks, levels)
    units = [part for part in whole.modules() if isinstance(part, Residual)]
    assert len(units) == places * blocks
    level = whole
    for _ in range(levels):
        assert len(level.skip) == blocks
        level = level.inner
    whole(torch.rand(2, 8, 2**levels * 4, 2**levels * 4)).sum().backward()
    assert all(part.branch[-1].weight.grad.any() for part in units)


class Plain(nn.Module):
    """The network as the releases build it: lists by level, and a forward that goes through them."""

    def __init__(self, num_classes, stem, stacks, depth=4):
        super().__init__()
        width = stem[-1]
        self.conv = nn.Conv2d(3, stem[0], 7, 2, 3)
        self.bn = nn.BatchNorm2d(stem[0])
        self.layers = nn.ModuleList(PlainResidual(a, b) for a, b in pairwise(stem))
        self.stacks = nn.ModuleList()
        for _ in range(stacks):
            # In the order of a recursion: skip and way down of each level, the middle, ways up from the coarsest.
            hourglass = nn.ModuleList(PlainResidual(width, width) for _ in range(3 * depth + 1))
            res, fc, bn = PlainResidual(width, width), nn.Conv2d(width, width, 1), nn.BatchNorm2d(width)
            self.stacks.append(nn.ModuleList([hourglass, res, fc, bn, nn.Conv2d(width, num_classes, 1)]))
        self.back = nn.ModuleList()
        for _ in range(stacks - 1):
            self.back.append(nn.ModuleList([nn.Conv2d(width, width, 1), nn.Conv2d(num_classes, width, 1)]))
        self.depth = depth

    def hourglass(self, parts, x):
        skips = []
        for level in range(self.depth):
            skips.append(parts[2 * level](x))
            x = parts[2 * level + 1](F.max_pool2d(x, 2, stride=2))
        x = parts[2 * self.depth](x)
        for level in range(self.depth):
            x = parts[2 * self.depth + 1 + level](x)
            x = skips.pop() + x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return x

    def forward(self, x):
        x = self.layers[0](F.relu(self.bn(self.conv(x))))
        x = self.layers[2](self.layers[1](F.max_pool2d(x, 2, stride=2)))
        scores = []
        for number, (hourglass, res, fc, bn, score) in enumerate(self.stacks):
            y = F.relu(bn(fc(res(self.hourglass(hourglass, x)))))
            scores.append(score(y))
            if number < len(self.back):
                features, maps = self.back[number]
                x = x + features(y) + maps(scores[-1])
        return scores


class PlainResidual(nn.Module):
    def __init__(self, before, after):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(before), nn.Conv2d(before, after // 2, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(after // 2), nn.Conv2d(after // 2, after // 2, 3, padding=1)
        self.bn3, self.conv3 = nn.BatchNorm2d(after // 2), nn.Conv2d(after // 2, after, 1)
        self.skip = nn.Conv2d(before, after, 1) if before != after else None

    def forward(self, x):
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        y = self.conv3(F.relu(self.bn3(y)))
        return y + (x if self.skip is None else self.skip(x))


@pytest.mark.parametrize(
    ("name", "stem"), [("hourglass", (8, 16, 16, 32)), ("hourglass_bearpaw", (8, 16, 32, 32))], ids=KEYS
)
def test_every_stack_is_that_of_the_plain_form_with_its_weights(name, stem):
    torch.manual_seed(0)
    theirs = Plain(3, stem, stacks=3)
    ours = create_model(name, num_classes=3, width=32, stacks=3)
    copy_weights(theirs, ours)
    image = torch.randn(1, 3, 128, 192)
    with torch.inference_mode():
        expected = theirs(image)
        found, outputs = maps_of(ours, image)
        for one, other in zip(expected, found, strict=True):
            assert one.std() > 0.01
            assert torch.allclose(one, other, atol=1e-5)
        whole = F.interpolate(expected[-1], size=(128, 192), mode="bilinear")
        assert torch.allclose(outputs["out"], whole, atol=1e-5)


@pytest.mark.parametrize("name", KEYS)
def test_training_gives_every_stack_on_squares_of_four_pixels(name):
    model = small(name).train()
    maps, outputs = maps_of(model, torch.rand(2, 3, 70, 90) * 255)
    assert {key: tuple(x.shape) for key, x in outputs.items()} == {
        "out": (2, 3, 70, 90), "stack1": (2, 3, 18, 23), "stack2": (2, 3, 18, 23)
    }  # fmt: skip
    assert torch.equal(outputs["stack2"], maps[1][..., :18, :23])
    assert model.grids == dict.fromkeys(["stack1", "stack2"], CellGrid.centred(4))
    assert small(name, stacks=1).train()(torch.rand(2, 3, 64, 64)).keys() == {"out"}


def test_the_loss_of_a_stack_teaches_it_and_those_before_it():
    model = small("hourglass").train()
    model(torch.rand(2, 3, 64, 64) * 255)["stack2"].square().mean().backward()
    taught = [any(p.grad is not None and bool(p.grad.any()) for p in stack.parameters()) for stack in model.stacks]
    assert taught == [True, True, False]
    assert [merge.logits.weight.grad is not None for merge in model.merges] == [True, False]


def test_the_next_stack_reads_the_map_the_features_and_the_logits_of_the_former():
    model, read, made = small("hourglass", stacks=2).eval(), [], []
    for stack in model.stacks:
        stack.register_forward_pre_hook(lambda module, args: read.append(args[0]))
        stack.register_forward_hook(lambda module, args, output: made.append(output))
    with torch.inference_mode():
        model(torch.rand(1, 3, 64, 64) * 255)
        features, logits = made[0]
        merge = model.merges[0]
        expected = read[0] + merge.features(features) + merge.logits(logits)
    assert torch.allclose(read[1], expected, atol=1e-5)


def test_every_stack_has_a_loss_of_classes():
    model = small("hourglass").train()
    task = build_task({"name": "segmentation", "aux_weight": 1.0}, 3)
    outputs = model(torch.rand(2, 3, 33, 47) * 255)
    losses = task.losses(outputs, {"mask": torch.randint(0, 3, (2, 33, 47)), "grids": model.grids})
    assert losses.keys() == {"cross_entropy", "stack1.cross_entropy", "stack2.cross_entropy"}


def test_receptive_fields():
    """More of the coarsest cells, of 64 pixels, with every stack."""
    fields = receptive_fields(small("hourglass", stacks=2).eval(), size=(1536, 1536))
    assert [fields[path].vertical.size for path in ("encoder.conv", "encoder")] == [7, 29]
    assert [fields[f"stacks.{stack}.head"].vertical.size for stack in (0, 1)] == [713, 1353]


def test_more_than_eight_stacks_are_refused():
    with pytest.raises(ModelError, match="stacks"):
        create_model("hourglass", num_classes=2, stacks=9)
