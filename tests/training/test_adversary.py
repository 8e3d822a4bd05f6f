"""An adversary from a recipe: what it costs the segmenter, what it learns, when, and what it refuses."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from atrous.adversarial import DISCRIMINATORS, INPUTS, USUAL
from atrous.adversarial.losses import modified, original
from atrous.errors import RecipeError
from atrous.recipe import load_recipe
from atrous.training.adversary import Adversary, read_adversary

CLASSES, CHANNELS = 3, 2
LIGHT = {"small_fov_light": "", "hung2018": ", channels: 4", "patchgan": ", n_layers: 1, channels: 4"}


@pytest.fixture
def read(tmp_path):
    """read("{name: ...}") is the adversary of a recipe that says so."""

    def build(section, rest="", **sizes):
        file = tmp_path / "a.yaml"
        file.write_text(f"model: {{name: unet}}\nadversary: {section}\nseed: 3\n{rest}")
        found = read_adversary(load_recipe(file))
        sizes = {"num_classes": CLASSES, "in_channels": CHANNELS, **sizes}
        return None if found is None else found.build(**sizes)

    return build


def segmenter(seed=0):
    generator = torch.Generator().manual_seed(seed)
    network = nn.Conv2d(CHANNELS, CLASSES, 3, padding=1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    return network


def scene(seed=1, size=(24, 32), batch=2):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(batch, CHANNELS, *size, generator=generator)
    mask = torch.randint(0, CLASSES, (batch, *size), generator=generator)
    mask[:, :5] = 255
    return image, {"mask": mask}


def weights(adversary):
    return [parameter.detach().clone() for parameter in adversary.parameters()]


def moved(adversary, before):
    return any(not torch.equal(a, b) for a, b in zip(adversary.parameters(), before, strict=True))


def update(adversary, outputs, batch, image):
    return adversary.update(outputs, batch, image, backward=lambda loss: loss.backward())


# What the segmenter gets


def gradients(adversary):
    """Of a segmenter whose loss has the adversary's terms."""
    network, (image, batch) = segmenter(), scene()
    outputs = {"out": network(image)}
    losses = {"cross_entropy": F.cross_entropy(outputs["out"], batch["mask"], ignore_index=255)}
    if adversary is not None:
        losses |= adversary.segmenter_losses(outputs, batch, image)
    torch.stack(list(losses.values())).sum().backward()
    if adversary is not None:
        update(adversary, outputs, batch, image)
    return network.weight.grad, network.bias.grad


@pytest.mark.parametrize("name", LIGHT)
def test_weight_0_leaves_the_segmenter_bit_for_bit(read, name):
    watching, acting = (read(f"{{name: {name}{LIGHT[name]}, weight: {weight}}}") for weight in (0.0, 1.0))
    before = weights(watching)
    plain, watched, acted = gradients(None), gradients(watching), gradients(acting)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert not torch.equal(plain[0], acted[0])
    assert moved(watching, before)  # it watches, and learns


@pytest.mark.parametrize("name", LIGHT)
def test_the_discriminators_parameters_get_no_gradient_from_the_segmenters_loss(read, name):
    adversary = read(f"{{name: {name}{LIGHT[name]}}}")
    network, (image, batch) = segmenter(), scene()
    losses = adversary.segmenter_losses({"out": network(image)}, batch, image)
    assert all(parameter.requires_grad for parameter in adversary.parameters())
    losses["adversary"].backward()
    assert all(parameter.grad is None for parameter in adversary.parameters())
    assert network.weight.grad.any()


def test_frozen_parts_of_the_discriminator_stay_frozen(read):
    adversary = read("{name: hung2018, channels: 2, optimizer: {name: sgd, groups: {features.0: {frozen: true}}}}")
    image, batch = scene()
    adversary.segmenter_losses({"out": segmenter()(image)}, batch, image)
    assert [parameter.requires_grad for parameter in adversary.parameters()] == [False] * 2 + [True] * 8


@pytest.mark.parametrize("name", LIGHT)
def test_an_update_leaves_the_segmenter_alone(read, name):
    adversary = read(f"{{name: {name}{LIGHT[name]}}}")
    network, (image, batch) = segmenter(), scene()
    image.requires_grad_()
    outputs = {"out": network(image)}
    before = weights(adversary)
    log = update(adversary, outputs, batch, image)
    assert moved(adversary, before)
    assert network.weight.grad is None
    assert image.grad is None
    assert set(log) == {"adversary_loss", "adversary_real", "adversary_fake"}
    assert all(value.ndim == 0 and not value.requires_grad for value in log.values())
    outputs["out"].sum().backward()  # its graph is still whole
    kept = network.weight.grad.clone()
    update(adversary, outputs, batch, image)
    assert torch.equal(network.weight.grad, kept)


@pytest.mark.parametrize(("form", "loss"), [("modified", modified), ("original", original)])
def test_both_forms_of_the_segmenters_loss_are_weighted(read, form, loss):
    adversary = read(f"{{name: small_fov_light, weight: 0.25, form: {form}}}")
    nn.init.normal_(adversary.network.features[-1].weight, std=1.0)
    image, batch = scene()
    seen = []
    adversary.network.register_forward_hook(lambda module, args, output: seen.append(output))
    term = adversary.segmenter_losses({"out": segmenter()(image)}, batch, image)["adversary"]
    torch.testing.assert_close(term, 0.25 * loss(*seen))


# What the discriminator sees


@pytest.mark.parametrize("form", INPUTS)
def test_ground_truth_and_outputs_go_through_one_forward(read, form):
    """Outputs that say exactly what the mask says are ground truth to the discriminator, whatever the input form."""
    adversary = read(f"{{name: hung2018, channels: 4, input: {form}}}")
    image, batch = scene()
    certain = 200 * F.one_hot(batch["mask"] % 255, CLASSES).movedim(-1, 1).float()
    log = update(adversary, {"out": certain}, batch, image)
    assert torch.equal(log["adversary_real"], log["adversary_fake"])


def test_the_segmenter_is_judged_as_it_is_in_the_update(read):
    adversary = read("{name: hung2018, channels: 4, weight: 1.0, form: original}")
    image, batch = scene()
    outputs = {"out": segmenter()(image)}
    term = adversary.segmenter_losses(outputs, batch, image)["adversary"]
    seen = []
    adversary.module.register_forward_hook(lambda module, args, output: seen.append(output.detach()))
    update(adversary, outputs, batch, image)
    labelled = (batch["mask"] != 255)[:, None]
    torch.testing.assert_close(term, original(seen[1], labelled))  # ground truth comes first


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize("form", INPUTS)
def test_ignored_pixels_get_no_gradient_and_their_outputs_change_nothing(read, name, form):
    section = f"{{name: {name}{LIGHT[name]}, input: {form}, stride: 2, weight: 1.0}}"
    image, batch = scene()
    logits = segmenter()(image).detach()
    ignored = (batch["mask"] == 255)[:, None].expand_as(logits)
    results = []
    for value in (0.0, 50.0):
        adversary = read(section)
        outputs = {"out": torch.where(ignored, value * logits, logits).requires_grad_()}
        (term,) = adversary.segmenter_losses(outputs, batch, image).values()
        (gradient,) = torch.autograd.grad(term, outputs["out"])
        assert not gradient[ignored].any()
        assert gradient[~ignored].any()
        results.append([term.detach(), *update(adversary, outputs, batch, image).values(), *weights(adversary)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_judgements_of_ignored_pixels_do_not_count(read):
    adversary = read("{name: hung2018, channels: 4, weight: 1.0}")
    image, batch = scene()
    adversary.module.register_forward_hook(
        lambda module, args, output: torch.where((batch["mask"] == 255)[:, None], 1e6, output)
    )
    log = update(adversary, {"out": segmenter()(image)}, batch, image)
    assert log["adversary_loss"] < 2
    assert log["adversary_real"] < 0.9


def test_nothing_labelled_teaches_nothing(read):
    adversary = read("{name: hung2018, channels: 4, optimizer: {name: sgd, lr: 1.0, weight_decay: 0}}")
    image, batch = scene()
    batch["mask"].fill_(255)
    before = weights(adversary)
    logits = segmenter()(image).detach().requires_grad_()
    (term,) = adversary.segmenter_losses({"out": logits}, batch, image).values()
    term.backward()
    assert term == 0
    assert not logits.grad.any()
    assert update(adversary, {"out": logits}, batch, image)["adversary_loss"] == 0
    assert not moved(adversary, before)


def test_the_stride_averages_maps_ground_truth_and_image(read):
    adversary = read("{name: hung2018, channels: 2, input: conditioned, stride: 3}")
    image, batch = scene(size=(7, 9))
    logits = segmenter()(image)
    seen = []
    adversary.module.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    update(adversary, {"out": logits}, batch, image)
    labelled = (batch["mask"] != 255)[:, None]
    hard = F.one_hot(batch["mask"] % 255, CLASSES).movedim(-1, 1) * labelled
    for maps, found in ((hard.float(), seen[0]), (logits.softmax(1) * labelled, seen[1])):
        full = torch.cat([maps, image], 1)
        assert found.shape == (2, CLASSES + CHANNELS, 3, 3)
        for y in range(3):
            for x in range(3):
                cell = full[..., 3 * y : 3 * y + 3, 3 * x : 3 * x + 3]  # the last row of cells is one pixel high
                torch.testing.assert_close(found[..., y, x], cell.mean((2, 3)))


def test_masks_and_images_shrink_to_the_grid_of_the_outputs(read):
    adversary = read("{name: hung2018, channels: 2, input: conditioned}")
    image, batch = scene(size=(24, 32))
    seen = []
    adversary.module.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    update(adversary, {"out": segmenter()(image)[..., ::4, ::4]}, batch, image)
    real, fake = seen
    assert real.shape == fake.shape == (2, CLASSES + CHANNELS, 6, 8)
    mask = batch["mask"][:, 2::4, 2::4]
    assert torch.equal(real[:, :CLASSES].argmax(1)[mask != 255], mask[mask != 255])
    assert not real[:, :CLASSES].movedim(1, -1)[mask == 255].any()


def test_the_tasks_ignore_index_counts(read):
    adversary = read("{name: hung2018, channels: 2}", rest="task: {name: segmentation, ignore_index: 1}")
    image, batch = scene()
    logits = segmenter()(image).detach().requires_grad_()
    (term,) = adversary.segmenter_losses({"out": logits}, batch, image).values()
    term.backward()
    ones = (batch["mask"] == 1)[:, None].expand_as(logits)
    assert not logits.grad[ones].any()
    assert logits.grad[~ones].any()


# When


def turns(adversary, steps):
    found = []
    for step in range(steps):
        adversary.set_step(step, steps)
        found.append((adversary.trains_discriminator, adversary.trains_segmenter))
    return found


def test_fast_alternation_trains_both_at_every_step(read):
    assert turns(read("small_fov"), 4) == [(True, True)] * 4


def test_slow_alternation_gives_each_its_steps_the_discriminator_first(read):
    found = turns(read("{name: small_fov, alternate: 3}"), 13)
    assert found == [*[(True, False)] * 3, *[(False, True)] * 3] * 2 + [(True, False)]


def test_before_the_start_the_segmenter_trains_alone(read):
    found = turns(read("{name: small_fov, start: 2, alternate: 2}"), 7)
    assert found == [*[(False, True)] * 2, *[(True, False)] * 2, *[(False, True)] * 2, (True, False)]
    assert turns(read("{name: small_fov, start: 1}"), 3) == [(False, True), (True, True), (True, True)]


def test_updates_may_be_rarer(read):
    found = turns(read("{name: small_fov, every: 3, start: 1}"), 8)
    assert [step for step, (discriminator, _) in enumerate(found) if discriminator] == [1, 4, 7]
    assert all(segmenter for _, segmenter in found)


def test_what_is_not_trained_is_not_computed(read):
    adversary = read("{name: hung2018, channels: 2, start: 1, alternate: 2}")
    image, batch = scene()
    outputs = {"out": segmenter()(image)}
    calls = []
    adversary.module.register_forward_hook(lambda *args: calls.append(1))
    seen = []
    for step in range(6):
        before, calls[:] = weights(adversary), []
        adversary.set_step(step, 6)
        terms, log = adversary.segmenter_losses(outputs, batch, image), update(adversary, outputs, batch, image)
        seen.append((len(terms), len(log), len(calls)))
        assert moved(adversary, before) == bool(log)
    assert seen == [(0, 0, 0), (0, 3, 2), (0, 3, 2), (1, 0, 1), (1, 0, 1), (0, 3, 2)]


def test_the_schedule_is_a_function_of_the_step(read):
    adversary = read(
        "{name: small_fov_light, optimizer: {name: sgd, lr: 0.5, groups: {bias: {lr: x2}}},"
        " schedule: {name: poly, power: 0.9}}"
    )
    for step in (0, 7, 3, 10, 3):
        adversary.set_step(step, 10)
        rates = [group["lr"] for group in adversary.optimizer.param_groups]
        assert rates == pytest.approx([0.5 * (1 - step / 10) ** 0.9, (1 - step / 10) ** 0.9])
    adversary.set_step(3, 30)
    assert adversary.optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * 0.9**0.9)


# Where it goes on


def train(adversary, steps, *, first=0):
    log = []
    for step in range(first, first + steps):
        image, batch = scene(seed=step)
        adversary.set_step(step, 10)
        log.append(update(adversary, {"out": segmenter()(image)}, batch, image))
    return log


@pytest.mark.parametrize("name", LIGHT)
def test_a_resumed_adversary_goes_on_to_the_same_bits(read, name, tmp_path):
    section = f"{{name: {name}{LIGHT[name]}, schedule: poly}}"
    whole, first, second = (read(section) for _ in range(3))
    train(whole, 4)
    train(first, 2)
    torch.save(first.state_dict(), tmp_path / "state.ckpt")
    second.load_state_dict(torch.load(tmp_path / "state.ckpt", weights_only=True))
    second.to("cpu")
    train(second, 2, first=2)
    states = whole.network.state_dict(), second.network.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.accelerator.is_available(), reason="needs an accelerator")
def test_moving_takes_the_optimisers_state_along(read):
    adversary = read("{name: hung2018, channels: 2}")
    train(adversary, 1)
    device = torch.accelerator.current_accelerator()
    assert adversary.to(device) is adversary
    image, batch = scene()
    outputs, batch = {"out": segmenter()(image).to(device)}, {"mask": batch["mask"].to(device)}
    assert update(adversary, outputs, batch, image.to(device))["adversary_loss"].device.type == device.type
    assert {state["exp_avg"].device.type for state in adversary.optimizer.state.values()} == {device.type}


def test_the_weights_follow_from_the_seed_and_disturb_nobodys_random_numbers(read, tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = read("small_fov_light")
    assert torch.equal(torch.rand(3), expected)
    again = read("small_fov_light")  # at another place of the caller's random numbers
    assert not moved(again, weights(first))
    (tmp_path / "b.yaml").write_text("model: unet\nadversary: small_fov_light\nseed: 4\n")
    other = read_adversary(load_recipe(tmp_path / "b.yaml")).build(num_classes=CLASSES, in_channels=CHANNELS)
    assert moved(other, weights(first))


def test_a_step_is_deterministic_and_draws_no_random_numbers(read):
    (image, batch), network = scene(), segmenter()
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        adversary = read("{name: patchgan, n_layers: 1, channels: 4}")
        (term,) = adversary.segmenter_losses({"out": network(image)}, batch, image).values()
        log = update(adversary, {"out": network(image)}, batch, image)
        drawn = torch.rand(1)
        torch.manual_seed(seed)
        assert torch.equal(drawn, torch.rand(1))
        results.append([term, *log.values(), *weights(adversary)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_float16_autocast_is_left_to_the_segmenter(read):
    adversary = read("{name: hung2018, channels: 4, weight: 1.0}")
    image, batch = scene()
    outputs = {"out": segmenter()(image)}
    exact = adversary.segmenter_losses(outputs, batch, image)["adversary"]
    seen = []
    adversary.network.features[0].register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    with torch.autocast("cpu", dtype=torch.float16):
        low = adversary.segmenter_losses(outputs, batch, image)["adversary"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        adversary.segmenter_losses(outputs, batch, image)
    assert seen == [torch.float32, torch.bfloat16]
    assert torch.equal(exact, low)


# What a recipe says


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_a_name_alone_is_enough(read, name):
    adversary = read(name, in_channels=4)
    options = adversary.options
    assert (options.input, options.stride) == USUAL[name]
    assert (options.weight, options.form, options.every, options.alternate, options.start) == (0.1, "modified", 1, 1, 0)
    assert type(adversary.optimizer).__name__ == "Adam"
    assert adversary.optimizer.param_groups[0]["lr"] == 1e-4
    assert adversary.optimizer.param_groups[0]["betas"] == (0.5, 0.999)
    image = torch.rand(1, 4, 16, 16)
    batch = {"mask": torch.zeros(1, 16, 16, dtype=torch.int64)}
    log = update(adversary, {"out": torch.rand(1, CLASSES, 16, 16)}, batch, image)
    assert 0 < log["adversary_real"] < 1


def test_everything_can_be_said(read):
    adversary = read(
        "{name: patchgan, n_layers: 2, channels: 4, input: {name: scaling, tau: 0.8}, stride: 2, weight: 1,"
        " form: original, optimizer: {name: sgd, lr: 0.1}, schedule: constant, every: 2, alternate: 500, start: 10}"
    )
    assert isinstance(adversary, Adversary)
    assert adversary.options.weight == 1.0
    assert adversary.network.features[0].in_channels == CLASSES
    hard, soft = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1), torch.tensor([0.5, 0.5]).view(1, 2, 1, 1)
    torch.testing.assert_close(adversary.form.truth(hard, soft).flatten(), torch.tensor([0.8, 0.2]))


def test_without_the_section_there_is_none(read):
    assert read("null") is None


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("large_fow", "line 2, adversary.name: there is no discriminator 'large_fow'. Did you mean 'large_fov'?"),
        ("3", "line 2, adversary: a discriminator is a name or"),
        ("{weight: 1}", "line 2, adversary: the discriminator needs a name. Choose from: hung2018, large_fov,"),
        ("{name: large_fov, wieght: 1}", "adversary.wieght: an adversary 'large_fov' has no 'wieght'. "
                                         "Did you mean 'weight'?"),
        ("{name: patchgan, n_layer: 1}", "adversary.n_layer: an adversary 'patchgan' has no 'n_layer'. "
                                         "Did you mean 'n_layers'?"),
        ("{name: patchgan, n_layers: 6}", "adversary.n_layers: got 6 (int), but n_layers of patchgan must be int, "
                                          "at least 1, at most 5."),
        ("{name: large_fov, in_channels: 6}", "adversary.in_channels: large_fov is handed 'in_channels' by atrous"),
        ("{name: large_fov, weight: -1}", "adversary.weight: got -1 (int), but weight of AdversaryOptions must be "
                                          "float, at least 0."),
        ("{name: large_fov, form: modifed}", "must be 'modified' or 'original'. Did you mean 'modified'?"),
        ("{name: large_fov, input: products}", "adversary.input.name: there is no input 'products'. "
                                               "Did you mean 'product'?"),
        ("{name: large_fov, input: {name: scaling, tau: 2}}", "adversary.input.tau: got 2 (int), but tau of scaling "
                                                              "must be float, above 0, at most 1."),
        ("{name: large_fov, optimizer: {name: adm}}", "adversary.optimizer.name: there is no optimizer 'adm'. "
                                                      "Did you mean 'adam'?"),
        ("{name: large_fov, optimizer: {name: adam, rl: 1}}", "adversary.optimizer.rl: adam takes no argument 'rl'."),
        ("{name: large_fov, optimizer: {name: adam, groups: {head: {lr: x2}}}}",
         "adversary.optimizer.groups.head: the model has no part 'head'."),
        ("{name: large_fov, schedule: polly}", "adversary.schedule.name: there is no schedule 'polly'. "
                                               "Did you mean 'poly'?"),
        ("{name: large_fov, schedule: {name: step, every: 0}}", "every of step must be int, at least 1"),
        ("{name: large_fov, alternate: 0}", "adversary.alternate: got 0 (int), but alternate of AdversaryOptions must "
                                            "be int, at least 1."),
        ("{name: large_fov, stride: 0.5}", "adversary.stride: got 0.5 (float)"),
        ("{name: two_branch, input: product}", "adversary.input: two_branch reads the image beside the maps; say "
                                               "input: conditioned or leave it out."),
    ],
)  # fmt: skip
def test_what_is_refused(read, section, text):
    with pytest.raises(RecipeError) as caught:
        read(section)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tasks_without_maps_of_classes_are_refused(read):
    with pytest.raises(RecipeError, match=r"line 4, task: an adversary compares maps .* not 'landmarks'; leave"):
        read("large_fov", rest="task: {name: landmarks}")


# What it learns


def shapes(step, size=24):
    """Squares on a ground, and an image in which single pixels do not say which is which."""
    generator = torch.Generator().manual_seed(1000 + step)
    mask = torch.zeros(2, size, size, dtype=torch.int64)
    for one in mask:
        y, x = torch.randint(2, size - 12, (2,), generator=generator).tolist()
        one[y : y + 10, x : x + 10] = 1
    image = mask[:, None] + 0.7 * torch.randn(2, 1, size, size, generator=generator)
    return image, {"mask": mask}


def test_on_a_toy_problem_both_sides_learn(read):
    """First the discriminator alone finds out a weak segmenter, then the segmenter learns to be believed."""
    section = "{name: small_fov_light, input: basic, stride: 2, weight: 1.0, optimizer: {name: adam, lr: 1.0e-3}}"
    adversary = read(section, num_classes=2, in_channels=1)
    torch.manual_seed(0)
    weak = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 3, padding=1))
    optimizer = torch.optim.Adam(weak.parameters(), lr=0.01)

    watched = []
    for step in range(8):
        image, batch = shapes(step)
        adversary.set_step(step, 14)
        watched.append(update(adversary, {"out": weak(image)}, batch, image))
    assert watched[0]["adversary_loss"].item() == pytest.approx(2 * math.log(2), rel=0.05)  # it starts by guessing
    assert watched[-1]["adversary_loss"] < 0.5
    assert watched[-1]["adversary_real"] > 0.75 > 0.25 > watched[-1]["adversary_fake"]

    terms = []
    for step in range(8, 14):  # the segmenter against a discriminator that stands still
        image, batch = shapes(step)
        adversary.set_step(step, 14)
        outputs = {"out": weak(image)}
        losses = adversary.segmenter_losses(outputs, batch, image)
        terms.append(losses["adversary"].item())
        optimizer.zero_grad()
        (F.cross_entropy(outputs["out"], batch["mask"]) + losses["adversary"]).backward()
        optimizer.step()
    assert terms[-1] < terms[0] / 2
