"""What every model promises, over every key of `MODELS`: a later model falls in by itself.

A model is built small: with the arguments of its scaled-down recipe, `KEY_small`, where it has one, else with
those of `SMALL` that its builder knows.
"""

import inspect

import pytest
import torch
from torch.export import Dim

from atrous.analysis import alignment, receptive_field
from atrous.layers import shrink
from atrous.models import MODELS, create_model
from atrous.recipe import list_recipes, load_recipe

SMALL = {"encoder": "test_resnet", "width": 4, "decoder_channels": (32, 16, 16, 8, 8), "aux": True}
SIZES = [(1, 1), (33, 47), (64, 64), (97, 130)]
# Their poolings remember where the largest value stood, which the rounding of a short number may move by a pixel.
REMEMBERING = ("segnet", "segnet_basic", "segnet_bayesian", "deconvnet", "enet")
INDUCTED = ("unet", "deeplabv3", "pspnet")
pytestmark = pytest.mark.parametrize("name", MODELS)


def build(name, in_channels=3, num_classes=3, seed=0):
    """A small model with normalisation set, in evaluation; what starts at zero has begun to learn."""
    torch.manual_seed(seed)
    model = create_model(name, num_classes=num_classes, in_channels=in_channels, **small_arguments(name))
    model.set_normalization([100.0] * in_channels, [60.0] * in_channels)
    for weight in model.parameters():
        if weight.requires_grad and weight.ndim > 1 and not weight.any():
            torch.nn.init.normal_(weight, std=0.05)
    return model.eval()


def small_arguments(name):
    if f"{name}_small" in list_recipes():
        section = load_recipe(f"{name}_small").section("model")
        return {key: value for key, value in section.items() if key != "name"}
    accepted = inspect.signature(MODELS[name]).parameters
    return {key: value for key, value in SMALL.items() if key in accepted}


def pixels(*shape, seed=0):
    """An image in 8-bit numbers."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 255


@pytest.mark.parametrize("in_channels", [1, 3, 5])
def test_out_has_the_size_of_every_image(name, in_channels):
    model = build(name, in_channels)
    for size in SIZES:
        image = pixels(2, in_channels, *size)
        with torch.inference_mode():
            outputs = model(image)
        assert outputs["out"].shape == (2, 3, *size)
        assert outputs["out"].dtype == torch.float32
        assert outputs["out"].isfinite().all()


def test_evaluation_gives_out_alone_and_training_may_add_native_grids(name):
    model = build(name)
    assert model(pixels(1, 3, 40, 40)).keys() == {"out"}
    outputs = model.train()(pixels(2, 3, 40, 40))
    assert outputs["out"].shape == (2, 3, 40, 40)
    assert all(logits.ndim == 4 and logits.shape[0] == 2 for logits in outputs.values())


@pytest.mark.parametrize("size", SIZES)
def test_a_batch_of_one_trains_at_every_size(name, size):
    model = build(name).train()
    outputs = model(pixels(1, 3, *size))
    assert outputs["out"].shape[-2:] == size
    sum(logits.square().mean() for logits in outputs.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


def test_every_trainable_parameter_has_a_gradient_after_one_step(name):
    model = build(name).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    image = pixels(2, 3, 96, 96)
    for _ in range(2):  # before the first step a layer that starts at zero hides those before it
        optimizer.zero_grad()
        sum(logits.square().mean() for logits in model(image).values()).backward()
        optimizer.step()
    idle = [
        key
        for key, value in model.named_parameters()
        if value.requires_grad and not (value.grad is not None and value.grad.any())
    ]
    assert idle == []


def test_labels_of_training_outputs_are_those_of_the_pixels_that_their_cells_stand_on(name):
    """A mask with an edge at any one pixel has it within half a cell, whether the crop fits the stride or not."""
    model = build(name).train()
    corners = getattr(model, "align_corners", False)
    multiple = model.alignment
    assert set(model.grids) == set(model(pixels(2, 3, 24, 24))) - {"out"}
    for width in (2 * multiple, 2 * multiple + 1, 2 * multiple + 7, 3 * multiple - 2) if model.grids else ():
        fitted = -(-(width - corners) // multiple) * multiple + corners
        with torch.no_grad():
            cropped, whole = model(pixels(2, 3, 24, width)), model(pixels(2, 3, 24, fitted))
        for output, grid in model.grids.items():
            count, full = cropped[output].shape[-1], whole[output].shape[-1]
            cells = torch.arange(count)
            if grid is None:  # spread evenly over any image
                step = width / count
                places = (cells + 0.5) * step - 0.5
            elif corners:
                step = (fitted - 1) / (full - 1)
                places = cells * step
            else:
                step = fitted / full
                places = (cells + 0.5) * step - 0.5
            labels = shrink(torch.arange(width)[None, None], (1, count), grid)[0, 0]
            assert (labels - places).abs().max() <= max(step / 2, 0.5), (output, width)
            assert width - 1 - labels.max() <= step, (output, width)  # the cells reach to the end of the image


def test_state_dict_goes_round_and_carries_the_normalisation(name):
    model, other = build(name, seed=0), build(name, seed=1)
    model.set_normalization([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    image = pixels(1, 3, 33, 47)
    with torch.inference_mode():
        assert not torch.equal(model(image)["out"], other(image)["out"])
        other.load_state_dict(model.state_dict())
        assert torch.equal(model(image)["out"], other(image)["out"])


def test_the_same_seed_gives_the_same_model_and_the_same_training(name):
    image = pixels(2, 3, 33, 47)
    losses = []
    for _ in range(2):
        model = build(name).train()
        torch.manual_seed(5)
        losses.append(sum(logits.square().mean() for logits in model(image).values()).item())
    assert losses[0] == losses[1]


def test_bf16_autocast_and_channels_last_stay_near_float32(name):
    model = build(name)
    image = pixels(1, 3, 33, 47)
    with torch.inference_mode():
        exact = model(image)["out"]
        model.to(memory_format=torch.channels_last)
        image = image.to(memory_format=torch.channels_last)
        assert torch.allclose(model(image)["out"], exact, atol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(image)["out"]
    assert rough.shape == exact.shape
    share = 0.3 if name in REMEMBERING else 0.05
    assert (rough.float() - exact).abs().mean() < share * exact.std() + 1e-3


def test_bf16_autocast_trains(name):
    model = build(name).train()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(pixels(2, 3, 33, 47))
    sum(logits.float().square().mean() for logits in outputs.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


def test_the_forward_is_one_graph(name, unchecked):
    model = build(name)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    image = pixels(2, 3, 33, 47)
    with torch.inference_mode():
        assert torch.allclose(compiled(image)["out"], model(image)["out"], atol=1e-5)
    compiled.train()(image)["out"].mean().backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


def test_an_export_runs_at_sizes_that_were_not_traced(name, unchecked):
    model = build(name)
    dynamic = {"image": {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}}
    program = torch.export.export(model, (pixels(2, 3, 70, 90),), dynamic_shapes=dynamic).module()
    with torch.inference_mode():
        for size in [(33, 47), (128, 65), (64, 64)]:
            image = pixels(1, 3, *size)
            assert torch.allclose(program(image)["out"], model(image)["out"], atol=1e-5)


@pytest.mark.slow
def test_inductor_gives_the_same_numbers_and_compiles_for_every_size(name, unchecked):
    if name not in INDUCTED:
        pytest.skip(f"inductor is tried on {', '.join(INDUCTED)}")
    model = build(name)
    compiled = torch.compile(model, fullgraph=True)
    with torch.inference_mode():
        for size in [(70, 90), (33, 47), (100, 65)]:  # the second compiles once more, for sizes that vary
            image = pixels(1, 3, *size)
            assert torch.allclose(compiled(image)["out"], model(image)["out"], atol=1e-4)


def test_a_window_with_its_context_equals_the_whole_image(name):
    """The promise that tiles rest on, where the output sees a part of the image only."""
    model = build(name)
    field = receptive_field(model)
    if field.vertical is None or field.horizontal is None:
        pytest.skip(f"the output sees the whole image ({field.unbounded_by})")
    assert model.alignment % alignment(model) == 0
    step = model.alignment
    before = -(-max(field.vertical.left, field.horizontal.left) // step) * step
    after = -(-max(field.vertical.right, field.horizontal.right) // step) * step
    shift, inner = step, 21
    image = pixels(1, 3, shift + before + inner + after + step, shift + before + inner + after + 3)
    end = shift + before + inner + after
    with torch.inference_mode():
        whole = model(image)["out"][
            ..., shift + before : shift + before + inner, shift + before : shift + before + inner
        ]
        window = model(image[..., shift:end, shift:end])["out"][..., before : before + inner, before : before + inner]
    assert (whole - window).abs().max() < 1e-4
    assert whole.std() > 1e-3
