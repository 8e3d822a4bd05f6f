"""Facts of the convolutional pose machines: counts, grids, what stages read, and a plain form with its weights."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from atrous.analysis import alignment, parameters, receptive_fields
from atrous.errors import ModelError
from atrous.models import create_model, paper
from atrous.tasks import build_task
from atrous.types import CellGrid

from .weights import copy_weights

KEYS = ["cpm", "cpm_vgg"]


def on_meta(name="cpm", **arguments):
    with torch.device("meta"):
        return create_model(name, **{"num_classes": 15, **arguments})


def small(name, **arguments):
    torch.manual_seed(0)
    return create_model(name, **{"num_classes": 3, "width": 8, "stages": 3, "std": None, **arguments})


@pytest.mark.parametrize(
    ("maps", "stages", "count"),  # 14 and 23 landmarks, and the background
    [
        (15, 1, 4_386_095),
        (15, 2, 11_901_406),
        (15, 3, 16_731_021),
        (15, 6, 31_219_866),
        (24, 1, 4_390_712),
        (24, 2, 12_046_576),
        (24, 3, 17_016_744),
        (24, 6, 31_927_248),
    ],
)
def test_parameters_are_those_of_the_release(maps, stages, count):
    """The release has a centre map from the second stage on."""
    centre = {"center": True, "in_channels": 4} if stages > 1 else {}
    assert parameters(on_meta(num_classes=maps, stages=stages, **centre)) == count


def test_a_centre_map_costs_a_plane_of_each_first_kernel():
    without = on_meta()
    assert parameters(without) == 31_142_426
    assert paper("cpm").parameters - parameters(without) == 5 * 128 * 11 * 11


def test_parameters_of_the_vgg_form():
    """Ten convolutions of VGG-19, five of its own, and two; then seven a stage."""
    vgg = 1_792 + 36_928 + 73_856 + 147_584 + 295_168 + 3 * 590_080 + 1_180_160 + 2_359_808
    own = (512 * 9 + 1) * 256 + 3 * (256 * 9 + 1) * 256 + (256 * 9 + 1) * 128
    first = (128 + 1) * 512 + (512 + 1) * 15
    stage = ((128 + 15 + 1) * 49 + 1) * 128 + 4 * (128 * 49 + 1) * 128 + (128 + 1) * 128 + (128 + 1) * 15
    assert parameters(on_meta("cpm_vgg", stages=1)) == vgg + own + first
    assert parameters(on_meta("cpm_vgg", stages=6, center=True, in_channels=4)) == vgg + own + first + 5 * stage


@pytest.mark.parametrize(("name", "pool"), [("cpm", 2), ("cpm", 3), ("cpm_vgg", 2)])
def test_sizes_of_the_paper_s_image(name, pool):
    model, seen = on_meta(name, stages=2, **({"pool": pool} if name == "cpm" else {})).eval(), []
    for module in [*model.encoder[-1], model.first, model.later[0]]:
        if not isinstance(module, nn.Conv2d | nn.ReLU):
            module.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape[1:])))
    assert model(torch.empty(1, 3, 368, 368, device="meta"))["out"].shape == (1, 15, 368, 368)
    channels = (128, 128, 128) if name == "cpm" else (64, 128, 256)
    pooled = [(width, size, size) for width, size in zip(channels, (184, 92, 46), strict=True)]
    assert seen == [*pooled, (15, 46, 46), (15, 46, 46)]


@pytest.mark.parametrize(
    ("name", "arguments", "first"), [("cpm", {"pool": 2}, 160), ("cpm", {"pool": 3}, 167), ("cpm_vgg", {}, 164)]
)
def test_the_first_stage_sees_what_the_paper_says_and_every_other_240_pixels_more(name, arguments, first):
    model = small(name, **arguments).eval()
    fields = receptive_fields(model, size=(1024, 1152))
    seen = [fields[path].vertical.size for path in ("first", "later.0", "later.1")]
    assert seen == [first, first + 240, first + 480]
    assert alignment(model, size=(1024, 1152)) == 8


class Plain(nn.Module):
    """The release's network as lists of convolutions; the trunk of later stages is that of the first where shared."""

    def __init__(self, trunks, first, stages, pool, *, narrow):
        super().__init__()
        convs = [[nn.Conv2d(a, b, k, padding=k // 2) for a, b, k in trunk] for trunk in trunks]
        self.trunks = nn.ModuleList(nn.ModuleList(each) for each in convs)
        self.first = nn.ModuleList(nn.Conv2d(a, b, k, padding=k // 2) for a, b, k in first)
        self.stages = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(a, b, k, padding=k // 2) for a, b, k in stage) for stage in stages
        )
        self.pool, self.narrow = pool, narrow

    def trunk(self, number, x):
        for at, conv in enumerate(self.trunks[number]):
            x = F.relu(conv(x))
            if at in self.pool[1]:
                x = F.max_pool2d(x, self.pool[0], 2, ceil_mode=True)
        return x

    def forward(self, image, centre=None):
        x = self.trunk(0, image)
        for conv in self.first[:-1]:
            x = F.relu(conv(x))
        maps = [self.first[-1](x)]
        shared = self.trunk(len(self.trunks) - 1, image)
        for convs in self.stages:
            convs = list(convs)
            own = F.relu(convs.pop(0)(shared)) if self.narrow else shared
            x = torch.cat([own, maps[-1], *([centre] if centre is not None else [])], 1)
            for conv in convs[:-1]:
                x = F.relu(conv(x))
            maps.append(convs[-1](x))
        return maps


def plain_cpm(pool, centre):
    trunk = [(3, 8, 9), (8, 8, 9), (8, 8, 9)]
    first = [(8, 2, 5), (2, 32, 9), (32, 32, 1), (32, 3, 1)]
    stage = [(8, 2, 5), (2 + 3 + centre, 8, 11), (8, 8, 11), (8, 8, 11), (8, 8, 1), (8, 3, 1)]
    return Plain([trunk, trunk], first, [stage, stage], (pool, (0, 1, 2)), narrow=True)


def plain_vgg(centre):
    channels = [3, 8, 8, 16, 16, 32, 32, 32, 32, 64, 64, 32, 32, 32, 32, 16]
    trunk = [(a, b, 3) for a, b in pairwise(channels)]
    stage = [(16 + 3 + centre, 16, 7), *[(16, 16, 7)] * 4, (16, 16, 1), (16, 3, 1)]
    return Plain([trunk], [(16, 64, 1), (64, 3, 1)], [stage, stage], (2, (1, 3, 7)), narrow=False)


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize(("name", "pool"), [("cpm", 2), ("cpm", 3), ("cpm_vgg", 2)])
def test_every_stage_is_that_of_the_plain_form_with_its_weights(name, pool, centre):
    theirs = plain_cpm(pool, centre) if name == "cpm" else plain_vgg(centre)
    arguments = {"pool": pool} if name == "cpm" else {}
    ours = small(name, center=centre, in_channels=3 + centre, **arguments).eval()
    for part in ours.modules():  # of another scale than the reference's, so that a layer left out would show
        if isinstance(part, nn.Conv2d):
            nn.init.zeros_(part.weight)
    for part in theirs.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
    copy_weights(theirs, ours)
    seen = []
    for stage in [ours.first, *ours.later]:
        stage.register_forward_hook(lambda module, args, output: seen.append(output))
    image = torch.randn(1, 3 + centre, 64, 96)
    with torch.inference_mode():
        pooled = F.avg_pool2d(image[:, 3:], 9, 8, ceil_mode=True) if centre else None
        expected = theirs(image[:, :3], pooled)
        outputs = ours(image)
    for one, other in zip(expected, seen, strict=True):
        assert one.std() > 0.01
        assert torch.allclose(one, other, atol=1e-4 * one.abs().max())
    whole = F.interpolate(expected[-1], size=(64, 96), mode="bilinear")
    assert torch.allclose(outputs["out"], whole, atol=1e-4 * whole.abs().max())


@pytest.mark.parametrize(("name", "trunks"), [("cpm", {1: 1, 2: 2, 6: 2}), ("cpm_vgg", {1: 1, 2: 1, 6: 1})])
def test_later_stages_share_a_trunk_of_their_own_which_in_the_vgg_form_is_that_of_the_first(name, trunks):
    for stages, count in trunks.items():
        model = small(name, stages=stages).eval()
        runs, read = _followed(model)
        assert len(runs) == len(model.encoder) == count
        assert read[0] is runs[0]
        assert all(one is runs[-1] for one in read[1:])


def _followed(model):
    """What the trunks put out, and what each stage reads of it."""
    runs, read = [], []
    for trunk in model.encoder:
        trunk.register_forward_hook(lambda module, args, output: runs.append(output))
    for stage in [model.first, *model.later]:
        stage.register_forward_pre_hook(lambda module, args: read.append(args[0]))
    model(torch.rand(1, 3, 16, 16))
    return runs, read


@pytest.mark.parametrize("name", KEYS)
def test_a_stage_reads_features_then_maps_then_the_centre(name):
    model, joined, made = small(name, center=True, in_channels=4, stages=2).eval(), [], []
    model.later[0].guess.register_forward_pre_hook(lambda module, args: joined.append(args[0]))
    model.first.register_forward_hook(lambda module, args, output: made.append(output))
    image = torch.zeros(1, 4, 24, 32)
    image[0, 3, 20, 23] = 81.0
    with torch.inference_mode():
        model(image)
    own = joined[0].shape[1] - 4
    assert torch.equal(joined[0][:, own:-1], made[0])
    # Windows of 9x9 begin every 8 pixels, so column 23 is in one only; the last rows' are cut to 8 of the image.
    assert joined[0][0, -1].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 81 / 72, 0]]


def test_the_trunks_do_not_read_the_centre():
    model = small("cpm", center=True, in_channels=4).eval()
    image = torch.rand(1, 4, 32, 32)
    seen = []
    model.first.register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.inference_mode():
        one = model(image)["out"]
        image[:, 3] += 1
        other = model(image)["out"]
    assert torch.equal(*seen)
    assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"), [({"stages": 1}, "nothing reads the centre map"), ({"in_channels": 1}, "one more")]
)
def test_a_centre_map_that_cannot_be_is_refused(arguments, message):
    for name in KEYS:
        with pytest.raises(ModelError, match=message):
            create_model(name, num_classes=2, width=8, **{"center": True, "in_channels": 4, **arguments})


@pytest.mark.parametrize("name", KEYS)
def test_training_gives_every_stage_on_squares_of_eight_pixels(name):
    model = small(name).train()
    outputs = model(torch.rand(2, 3, 33, 47) * 255)
    assert {key: tuple(x.shape) for key, x in outputs.items()} == {
        "out": (2, 3, 33, 47), "stage1": (2, 3, 5, 6), "stage2": (2, 3, 5, 6)
    }  # fmt: skip
    assert model.grids == dict.fromkeys(["stage1", "stage2"], CellGrid.centred(8))
    task = build_task({"name": "segmentation", "aux_weight": 1.0}, 3)
    losses = task.losses(outputs, {"mask": torch.randint(0, 3, (2, 33, 47)), "grids": model.grids})
    assert losses.keys() == {"cross_entropy", "stage1.cross_entropy", "stage2.cross_entropy"}


def test_the_loss_of_a_later_stage_teaches_the_first():
    model = small("cpm", dropout=0).train()
    model(torch.rand(2, 3, 32, 32) * 255)["stage2"].square().mean().backward()
    parts = [*model.encoder, model.first, *model.later]
    taught = [any(p.grad is not None and bool(p.grad.any()) for p in part.parameters()) for part in parts]
    assert taught == [True, True, True, True, False]


def test_dropout_is_in_the_first_stage_alone():
    model = on_meta()
    rates = [part.p for part in model.modules() if isinstance(part, nn.Dropout)]
    assert rates == [part.p for part in model.first if isinstance(part, nn.Dropout)] == [0.5, 0.5]


def test_kernels_start_as_in_the_release_or_after_he():
    torch.manual_seed(0)
    for std, wanted in ((0.01, 0.01), (None, (2 / (32 * 81)) ** 0.5)):
        model = create_model("cpm", num_classes=3, width=32, stages=2, std=std)
        assert model.encoder[1][3].weight.std().item() == pytest.approx(wanted, rel=0.03)
        assert not any(part.bias.any() for part in model.modules() if isinstance(part, nn.Conv2d))
