"""Facts of CRF-RNN: the dense CRF that it unrolls, exact gradients, its size, and the network inside it."""

import json

import numpy as np
import pytest
import torch

from atrous.analysis import receptive_field
from atrous.bundle import load_bundle, save_bundle
from atrous.crf import Kernel, dense_crf, unrolled
from atrous.crf.unrolled import messages, messages_back, unroll
from atrous.errors import ModelError
from atrous.models import MODELS, create_model, paper
from atrous.models.crfrnn import MeanFieldLayer

SMALL = {"name": "unet", "encoder": "test_resnet", "decoder_channels": [8, 8, 8, 4, 4]}


def small(num_classes=3, **arguments):
    torch.manual_seed(0)
    return create_model("crfrnn", num_classes=num_classes, network=SMALL, **arguments)


def photo(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape)).float()


def scene():
    """The image of 4 x 4 and the probabilities of two classes whose refinement is known."""
    image = torch.zeros(1, 3, 4, 4)
    image[0, :, :, 2:] = torch.tensor([200.0, 100.0, 50.0])[:, None, None]
    image[0, :, 0, 0] = 10
    one = torch.full((4, 4), 0.4)
    one[:, 2:], one[1, 1], one[2, 2] = 0.6, 0.9, 0.2
    return image, torch.stack([1 - one, one])[None]


def test_one_update_of_default_weights_gives_the_published_numbers():
    """Two rows computed with the standard implementation, normalization "after"."""
    image, probabilities = scene()
    crf = MeanFieldLayer(2, weights=(3.0, 10.0), gamma=1.5, alpha=3.0, beta=20.0)
    with torch.no_grad():
        rows = crf(probabilities.log(), image, 1).softmax(1)[0, 1, :2]
    expected = [[0.256660, 0.327041, 0.841030, 0.857853], [0.258602, 0.852936, 0.815953, 0.832912]]
    assert (rows - torch.tensor(expected)).abs().max() < 1e-5


@pytest.mark.parametrize("iterations", [1, 5])
def test_default_weights_are_the_dense_crf_with_after(iterations):
    image = photo(2, 3, 24, 31)
    probabilities = torch.randn(2, 4, 24, 31, generator=torch.Generator().manual_seed(1)).softmax(1)
    crf = MeanFieldLayer(4, weights=(3.0, 5.0), gamma=3.0, alpha=160.0, beta=3.0)
    with torch.no_grad():
        ours = crf(probabilities.log(), image, iterations).softmax(1)
    theirs = dense_crf(
        probabilities.numpy(),
        image.permute(0, 2, 3, 1).numpy().astype(np.uint8),
        gaussian=(3.0, 3.0),
        bilateral=(160.0, 3.0, 5.0),
        iterations=iterations,
        normalization="after",
    )
    assert np.abs(ours.numpy() - theirs).max() < 1e-4


def test_training_makes_5_updates_and_evaluation_10():
    model, image = small(), photo(1, 3, 20, 24)
    model.network.eval()  # or its batch norms would differ too
    with torch.no_grad():
        logits = model.network(image)["out"]
        assert torch.equal(model.train(False)(image)["out"], model.crf(logits, image, 10))
        model.training = True
        assert torch.equal(model(image)["out"], model.crf(logits, image, 5))


def test_the_paper_adds_1323_weights_to_fcn8s():
    with torch.device("meta"):
        model = create_model("crfrnn", num_classes=21)
    count = sum(weight.numel() for weight in model.crf.parameters())
    assert count == 3 * 21**2 == 1323
    assert sum(weight.numel() for weight in model.parameters()) == 134_489_759 + count == paper("crfrnn").parameters
    assert type(model.network).__name__ == "FCN"
    assert (model.iterations, model.test_iterations) == (5, 10)
    assert (model.crf.gamma, model.crf.alpha, model.crf.beta) == (3.0, 160.0, 3.0)


def test_matrices_start_at_multiples_of_the_identity():
    crf = small().crf
    for part, scale in ((crf.spatial, 3), (crf.bilateral, 5), (crf.compatibility, 1)):
        assert torch.equal(part.weight, scale * torch.eye(3))


def central_differences(function, values, step=1e-5):
    """The gradient of a sum, number by number."""
    gradient = torch.zeros_like(values)
    for place in range(values.numel()):
        ends = []
        for sign in (1, -1):
            moved = values.detach().clone().view(-1)
            moved[place] += sign * step
            ends.append(function(moved.view(values.shape)))
        gradient.view(-1)[place] = (ends[0] - ends[1]) / (2 * step)
    return gradient


@pytest.fixture(scope="module")
def unrolled_parts():
    """Three updates on 6 x 6 pixels with 3 classes, in double precision, and the parts that learn."""
    draw = torch.Generator().manual_seed(0)
    colours = photo(1, 3, 6, 6) / 60
    target = torch.randn(1, 3, 6, 6, generator=draw, dtype=torch.float64)
    parts = {
        "logits": torch.randn(1, 3, 6, 6, generator=draw, dtype=torch.float64),
        "spatial": 3 * torch.eye(3).double() + 0.3 * torch.randn(3, 3, generator=draw, dtype=torch.float64),
        "bilateral": 5 * torch.eye(3).double() + 0.3 * torch.randn(3, 3, generator=draw, dtype=torch.float64),
        "compatibility": torch.eye(3).double() + 0.3 * torch.randn(3, 3, generator=draw, dtype=torch.float64),
    }

    def value(logits, spatial, bilateral, compatibility):
        def mix(near, alike):
            return (near @ spatial.T + alike @ bilateral.T) @ compatibility.T

        out = unroll(logits, colours, mix, gamma=1.5, alpha=3.0, iterations=3)
        return (out.log_softmax(1) * target).sum()

    return value, parts


@pytest.mark.parametrize("name", ["logits", "spatial", "bilateral", "compatibility"])
def test_gradients_through_the_updates_equal_central_differences(unrolled_parts, name):
    value, parts = unrolled_parts
    leaf = parts[name].clone().requires_grad_()
    value(**{**parts, name: leaf}).backward()
    numeric = central_differences(lambda moved: value(**{**parts, name: moved}).item(), parts[name])
    assert numeric.abs().max() > 1e-2
    assert (leaf.grad - numeric).abs().max() / numeric.abs().max() < 1e-6


@pytest.mark.parametrize("normalization", ["none", "before", "after", "symmetric"])
def test_the_way_back_is_the_exact_transpose(normalization):
    draw = torch.Generator().manual_seed(0)
    a, b, c = (torch.randn(2, 9, 11, 4, generator=draw, dtype=torch.float64) for _ in range(3))
    bandwidths = photo(2, 9, 11, 3) / 40, 2.0, 5.0, normalization
    near, alike = messages(a, *bandwidths)
    forth = (near * b).sum() + (alike * c).sum()
    back = (a * messages_back(b, c, *bandwidths)).sum()
    assert (forth - back).abs() / forth.abs() < 1e-12


def test_torch_finds_the_operations_sound():
    """Schema, fake kernel, autograd and the tracing of both, by the checker that comes with torch."""
    colours = photo(2, 6, 7, 3) / 40
    scores = torch.rand(2, 6, 7, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    torch.library.opcheck(messages, (scores, colours, 2.0, 5.0, "after"))
    other = scores.detach().flip(0).requires_grad_()
    torch.library.opcheck(messages_back, (scores, other, colours, 2.0, 5.0, "after"))


def test_tensors_take_the_lattice_of_torch_operations(monkeypatch):
    """What a GPU runs, here on the processor."""
    scores = torch.rand(2, 8, 9, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = []
    for on_device in (False, True):
        if on_device:
            monkeypatch.setattr(unrolled, "_kernel", lambda features, normalization: Kernel(features, normalization))
            monkeypatch.setattr(unrolled, "_call", lambda apply, values: apply(values))
        near, alike = messages(scores, photo(2, 8, 9, 3) / 40, 2.0, 5.0, "after")
        (gradient,) = torch.autograd.grad((near * alike.roll(1, 2)).sum(), scores)
        found.append((near, alike, gradient))
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_gives_the_numbers_of_the_processor():
    model, image = small().eval(), photo(2, 3, 40, 50)
    with torch.no_grad():
        expected = model(image)["out"]
        assert torch.allclose(model.cuda()(image.cuda())["out"].cpu(), expected, atol=1e-2)


def test_a_batch_equals_its_images_one_by_one():
    crf = MeanFieldLayer(3, weights=(3.0, 5.0), gamma=3.0, alpha=40.0, beta=10.0)
    image, logits = photo(3, 3, 17, 23), torch.randn(3, 3, 17, 23, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = crf(logits, image, 5)
        for own in range(3):
            alone = crf(logits[own : own + 1], image[own : own + 1], 5)
            assert torch.allclose(together[own : own + 1], alone, atol=1e-5)


def test_kernels_are_built_once_for_all_updates_and_the_way_back_and_then_let_go(monkeypatch):
    built: list[int] = []
    monkeypatch.setattr(unrolled, "_KNOWN", {})
    monkeypatch.setattr(unrolled, "Kernel", lambda *given: built.append(1) or Kernel(*given))
    crf = MeanFieldLayer(3, weights=(3.0, 5.0), gamma=3.0, alpha=40.0, beta=10.0)
    out = crf(torch.randn(2, 3, 12, 13).requires_grad_(), photo(2, 3, 12, 13), 5)
    assert len(unrolled._KNOWN) == 1
    out.sum().backward()
    assert len(built) == 3  # the spatial one, and that of each image
    del out
    assert not unrolled._KNOWN
    with torch.inference_mode():
        crf(torch.randn(1, 3, 12, 13), photo(1, 3, 12, 13), 10)
    assert len(built) == 5
    assert not unrolled._KNOWN


@pytest.mark.parametrize("inference", [False, True])
def test_an_image_written_over_in_place_is_not_mistaken_for_the_one_before(inference):
    pixels = photo(1, 8, 9, 3).numpy() / 40
    with torch.inference_mode(inference):
        colours, scores = torch.from_numpy(pixels), torch.rand(1, 8, 9, 2)
        before = messages(scores, colours, 2.0, 5.0, "after")[1]
        pixels[:] = photo(1, 8, 9, 3, seed=1).numpy() / 40  # which torch does not notice
        after = messages(scores, colours, 2.0, 5.0, "after")[1]
        assert torch.equal(after, messages(scores, colours.clone(), 2.0, 5.0, "after")[1])
        assert not torch.equal(before, after)


def test_updates_stay_in_float32_under_autocast():
    crf = MeanFieldLayer(3, weights=(3.0, 5.0), gamma=3.0, alpha=40.0, beta=10.0)
    logits, image = torch.randn(1, 3, 12, 13, generator=torch.Generator().manual_seed(0)), photo(1, 3, 12, 13)
    with torch.no_grad():
        exact = crf(logits, image, 5)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(crf(logits, image, 5), exact)
        short = crf(logits.bfloat16(), image, 5)
    assert short.dtype == torch.float32


def test_the_output_sees_the_whole_image():
    field = receptive_field(small())
    assert field.vertical is None
    assert field.horizontal is None
    assert field.unbounded_by == "crf (crf_messages)"


def test_the_network_inside_is_named_by_a_section_and_a_bundle_rebuilds_it(tmp_path):
    model = small(num_classes=2, test_iterations=3)
    model.set_normalization([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    section = model.spec.arguments["network"]
    assert section["name"] == "unet"
    assert section["decoder_channels"] == [8, 8, 8, 4, 4]
    assert "num_classes" not in section
    save_bundle(tmp_path / "bundle", model.eval(), task="segmentation", class_names=["a", "b"])
    again = load_bundle(tmp_path / "bundle").model
    assert again.spec == model.spec
    image = photo(1, 3, 20, 24)
    with torch.no_grad():
        assert torch.equal(again(image)["out"], model(image)["out"])


def test_a_trained_network_can_be_put_inside():
    network = create_model(**SMALL, num_classes=3)
    network.set_normalization([100.0] * 3, [50.0] * 3)
    model = create_model("crfrnn", num_classes=3, network=network)
    assert model.network is network
    assert model.mean.tolist() == [100.0] * 3
    assert json.loads(json.dumps(model.spec.arguments["network"])) == small().spec.arguments["network"]
    model.set_normalization([0.0] * 3, [2.0] * 3)
    assert network.std.tolist() == [2.0] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": {"name": "unnet"}}, "create_model, network.name: there is no model 'unnet'. Did you mean 'unet'?"),
        (
            {"network": {"name": "unet", "encodr": "vgg16"}},
            "create_model, network.encodr: unet takes no argument 'encodr'. Did you mean 'encoder'?",
        ),
        (
            {"network": {"name": "unet", "num_classes": 3}},
            "create_model, network.num_classes: unet is handed 'num_classes' by atrous itself; remove it here.",
        ),
        (
            {"network": 5},
            "create_model, network: got 5 (int), but network of crfrnn must be DenseModel, str or a mapping",
        ),
        ({"network": SMALL, "num_classes": 1}, "crfrnn has 1 class: a CRF weighs classes against each other"),
        (
            {"network": SMALL, "beta": 0.0},
            "create_model, beta: got 0.0 (float), but beta of crfrnn must be float, above",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, message):
    with pytest.raises(ModelError) as caught:
        create_model("crfrnn", **{"num_classes": 3, **arguments})
    assert str(caught.value).startswith(message)


def test_a_network_of_other_classes_is_refused():
    with pytest.raises(ModelError, match=r"crfrnn has 3 classes and 3 channels, its network 4 and 3: give both"):
        create_model("crfrnn", num_classes=3, network=create_model(**SMALL, num_classes=4))
    with pytest.raises(ModelError, match=r"crfrnn was handed the network 'fcn8s': build it by create_model"):
        MODELS["crfrnn"](3)
