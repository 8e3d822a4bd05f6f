"""The picture of a network: its blocks stand where their maps' resolutions say, and read from whom they read."""

import io
import re

import pytest
import torch
from PIL import Image
from torch import nn

from atrous.analysis import stages
from atrous.models import create_model
from atrous.reports.architecture import _blocks, _parts, _place, _Rows, _short, draw_network

SIZE = (256, 256)


def network(name, **arguments):
    with torch.device("meta"):
        return stages(create_model(name, num_classes=4, **arguments), SIZE)


def placed(found):
    rows = _Rows(found, SIZE)
    blocks = _blocks(found, rows)
    width = _place(blocks, rows)
    return rows, {block.name: block for block in blocks}, blocks, width


def test_a_u_net_is_a_u():
    rows, named, blocks, _ = placed(network("unet", encoder="resnet18"))
    assert rows.strides == [1, 2, 4, 8, 16, 32]
    assert [block.row for block in blocks] == [0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0, 0, 0]
    heights = [block.y for block in blocks]
    assert heights[1] > heights[2] > heights[5] < heights[6] < heights[10]
    assert named["layer3"].height < named["layer1"].height  # finer is taller
    assert named["layer4"].width > named["layer1"].width  # more channels are wider
    assert [blocks[i].name for i in named["steps.1"].sources] == ["layer2", "steps.0"]


def test_blocks_do_not_overlap_and_stay_inside():
    for found in (network("gcn", encoder="test_resnet"), network("hrnet"), network("pspnet_smp", encoder="resnet18")):
        rows, _, blocks, width = placed(found)
        boxes = [(b, below) for b in blocks for below in (b, *b.below)]
        for i, (_, first) in enumerate(boxes):
            assert first.x > 80
            assert first.right < width
            assert first.y >= first.height / 2
            assert first.y + first.height / 2 <= rows.height
            for _, second in boxes[i + 1 :]:
                apart = first.right <= second.x or second.right <= first.x
                assert apart or abs(first.y - second.y) >= (first.height + second.height) / 2


def test_parallel_maps_stand_on_several_rows():
    _, named, _, _ = placed(network("hrnet"))
    assert [box.row for box in (named["stage3"], *named["stage3"].below)] == [2, 3, 4]


def test_pooled_maps_share_a_row_of_their_own_and_a_pile():
    rows, named, _, _ = placed(network("pspnet_smp", encoder="resnet18"))
    pile = named["projections.0-3"]
    assert (pile.cards, rows.names[pile.row]) == (4, "whole image")


def test_parts_are_told_by_the_first_name_or_by_the_turn():
    found = network("unet", encoder="resnet18")
    assert list(dict.fromkeys(_parts(found))) == ["encoder", "decoder", "head"]
    plain = nn.Sequential()
    for i, stride in enumerate((2, 2, 2, 1, 2, 2)):
        layer = nn.Conv2d(3, 3, 3, stride, 1) if i < 4 else nn.ConvTranspose2d(3, 3, 2, stride)
        plain.add_module(f"a{i}", nn.Sequential(layer, nn.ReLU()))
    assert _parts(stages(plain, SIZE)) == ["to the coarsest map"] * 4 + ["back to the image"] * 2


@pytest.mark.parametrize(
    ("name", "label"),
    [("encoder.body.layer1", "layer1"), ("steps.0", "steps.0"), ("head", "head"), ("conv1_1..conv1_3", "conv1_1-3"),
     ("features.0..2", "features.0-2"), ("fc6..fc7", "fc6-7")],
)  # fmt: skip
def test_short_names(name, label):
    assert _short(name) == label


def test_the_picture_is_small_and_the_same_every_time():
    found = network("enet")
    first, second = (draw_network(found, SIZE, title="enet (2016)") for _ in range(2))
    assert first == second
    assert len(first) < 80_000
    assert Image.open(io.BytesIO(first)).size[0] > 600


def test_the_drawing_names_every_stage():
    found = network("enet")
    svg = draw_network(found, SIZE, title="enet (2016)", kind="svg").decode()
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    for name in ("enet (2016)", "image", "logits", "down1", "stage3", "up5", "64", "full size", "1/8", "encoder"):
        assert name in texts


def drawn(name, **arguments):
    with torch.device("meta"):
        model = create_model(name, num_classes=3, **arguments)
    found = stages(model, (128, 128))
    blocks = _blocks(found, _Rows(found, (128, 128)))
    return {block.name: block for block in blocks}, blocks


@pytest.mark.parametrize(
    ("name", "arguments", "pairs"),
    [
        ("segnet", {"width": 4}, [("decoder.4", "encoder.0"), ("decoder.1", "encoder.3")]),
        ("segnet_basic", {"width": 4}, [("decoder.3", "encoder.0")]),
        ("deconvnet", {"width": 4}, [("decoder.4", "encoder.0"), ("decoder.0", "encoder.4")]),
        ("enet", {}, [("up5", "down1"), ("up4", "down2")]),
        ("unet", {}, []),
        ("fcn8s", {"fc_width": 8}, []),
    ],
)
def test_positions_of_maxima_are_told_from_maps(name, arguments, pairs):
    known, blocks = drawn(name, **arguments)
    for reader, source in pairs:
        assert known[reader].switches == [blocks.index(known[source])]
        assert set(known[reader].switches) < set(known[reader].sources)
    if not pairs:
        assert not any(block.switches for block in blocks)


def test_the_coarsest_map_is_drawn_where_no_stage_has_it():
    known, blocks = drawn("segnet", width=4)
    pooled = known["pooled"]
    assert (pooled.row, pooled.channels, pooled.sources) == (5, "32", [blocks.index(known["encoder.4"])])
    assert known["decoder.0"].sources == [blocks.index(pooled)]
    assert drawn("segnet_basic", width=4)[0]["pooled"].row == 4
    assert not any("pooled" in drawn(name)[0] for name in ("unet", "fcn8s", "deeplabv2", "enet"))


@pytest.mark.parametrize(
    ("name", "block", "rates"),
    [
        ("deeplabv3", "branches.0-3", "1x1, rates 6, 12, 18"),
        ("deeplabv3", "layer4", "rates 2, 4, 8"),
        ("deeplabv3_torchvision", "aspp", "rates 12, 24, 36"),
        ("deeplabv2", "classifiers.0-3", "rates 6, 12, 18, 24"),
        ("deeplabv1", "decoder", "rate 12"),
        ("dilation", "layers", "rates 1 to 16"),
        ("unet", "layer4", ""),
    ],
)
def test_convolutions_with_holes_show_their_rates(name, block, rates):
    assert drawn(name)[0][block].rates == rates
