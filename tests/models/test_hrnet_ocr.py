"""Facts of OCR: counts, grids, where each softmax runs, and the block against its formula in loops."""

import pytest
import torch

from atrous.analysis import parameters, receptive_field
from atrous.layers.ocr import OCR
from atrous.models import create_model
from atrous.models.hrnet_ocr import PAPERS, hrnet_ocr
from atrous.types import Level

TINY = {"name": "hrnet_w18", "width": 4, "modules": [1, 1, 1], "blocks": 1, "bottlenecks": 1, "bottleneck_width": 8}


def on_meta(**arguments):
    with torch.device("meta"):
        return hrnet_ocr(19, **arguments)


@pytest.mark.parametrize(
    ("encoder", "count"),  # specs of OCR, measured on the authors' networks with 19 classes
    [
        ("hrnet_w18", 12_080_818),
        ("hrnet_w32", 32_953_894),
        ({"name": "hrnet_w48", "width": 40}, 49_854_774),
        ("hrnet_w48", 70_372_678),
    ],
)
def test_parameters_are_those_of_the_authors(encoder, count):
    assert parameters(on_meta(encoder=encoder)) == count


def test_w48_is_the_default_and_ocr_has_5047558():
    model = on_meta()
    assert parameters(model) == PAPERS["hrnet_ocr"].parameters == 70_372_678
    assert parameters(model) - parameters(model.encoder) == 5_047_558


def test_both_outputs_stand_on_a_quarter_of_the_image():
    model = on_meta().train()
    seen = []
    model.head.register_forward_hook(lambda module, args, output: seen.append(tuple(output.shape)))
    outputs = model(torch.empty(1, 3, 512, 1024, device="meta"))
    assert seen == [(1, 19, 128, 256)]
    assert {name: tuple(x.shape) for name, x in outputs.items()} == {
        "out": (1, 19, 512, 1024),
        "aux": (1, 19, 128, 256),
    }
    assert model.context.dropout.p == 0.05


def block(num_classes=3):
    torch.manual_seed(0)
    return OCR([Level(4, 4), Level(8, 8)], num_classes, width=6, key_width=5).double().eval()


def features():
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(1, 4, 4, 6, generator=generator).double(),
        torch.randn(1, 8, 2, 3, generator=generator).double(),
    ]


def test_the_block_is_its_formula_pixel_by_pixel():
    ocr, maps = block(), features()
    seen = {}
    for name in ("pixels", "regions"):
        getattr(ocr, name).register_forward_hook(lambda module, args, output, name=name: seen.update({name: output[0]}))
    result, _ = ocr(maps)
    pixels, logits = seen["pixels"].flatten(1), seen["regions"].flatten(1)
    objects = []
    for k in range(3):
        share = logits[k].exp() / logits[k].exp().sum()  # over the pixels of the image
        objects.append(sum(share[i] * pixels[:, i] for i in range(24)))
    attention = ocr.attention

    def applied(layers, vector):
        return layers(vector[None, :, None, None])[0, :, 0, 0]

    keys = [applied(attention.key, vector) for vector in objects]
    values = [applied(attention.value, vector) for vector in objects]
    for i in range(24):
        query = applied(attention.query, pixels[:, i])
        match = torch.stack([query @ key / 5**0.5 for key in keys]).exp()  # over the regions
        context = sum(share * value for share, value in zip(match / match.sum(), values, strict=True))
        joined = torch.cat([applied(attention.up, context), pixels[:, i]])
        assert torch.allclose(applied(ocr.fuse, joined), result[0].flatten(1)[:, i], atol=1e-9)


def test_a_class_that_is_everywhere_likelier_gathers_the_same_region():
    ocr, maps = block(), features()
    before, first = ocr(maps)
    with torch.no_grad():
        ocr.regions[3].bias[1] += 7
    after, second = ocr(maps)
    assert torch.allclose(second - first, torch.tensor([0.0, 7.0, 0.0]).double().view(1, 3, 1, 1).expand_as(first))
    assert torch.allclose(before, after, atol=1e-12)


def test_a_single_region_gives_every_pixel_the_same_context():
    ocr = block(num_classes=1)
    contexts = []
    ocr.attention.register_forward_hook(lambda module, args, output: contexts.append(output))
    ocr(features())
    assert torch.allclose(contexts[0], contexts[0][..., :1, :1].expand_as(contexts[0]))


def test_the_output_sees_the_whole_image():
    model = create_model("hrnet_ocr", num_classes=2, encoder=TINY, width=8, key_width=4)
    assert receptive_field(model).vertical is None
