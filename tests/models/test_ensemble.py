"""Facts of the ensemble: the mean of its members' probabilities, each in its own normalisation."""

import pytest
import torch

from atrous.analysis import alignment, receptive_field
from atrous.errors import ModelError
from atrous.models import create_model
from atrous.models.ensemble import mean_logits

MEMBERS = [
    {"name": "unet2015", "width": 2},
    {"name": "unet", "encoder": "test_resnet", "decoder_channels": [16, 8, 8, 4, 4]},
]


def build(members=MEMBERS, **changes):
    torch.manual_seed(0)
    return create_model("ensemble", **{"num_classes": 3, "in_channels": 1, "members": members, **changes}).eval()


def test_the_softmax_is_the_mean_of_the_members_softmaxes():
    torch.manual_seed(0)
    members = [create_model(**section, num_classes=3, in_channels=1).eval() for section in MEMBERS]
    members[0].set_normalization([100.0], [50.0])
    members[1].set_normalization([3.0], [7.0])
    model = build(members)
    image = torch.rand(2, 1, 40, 52) * 255
    with torch.inference_mode():
        wanted = sum(member(image)["out"].softmax(1) for member in members) / 2
        assert (model(image)["out"].softmax(1) - wanted).abs().max() < 1e-6
    assert (members[0].mean.item(), members[1].mean.item()) == (100.0, 3.0)
    assert (model.mean.item(), model.std.item()) == (51.5, 28.5)


def test_certainty_is_not_lost():
    sure = torch.tensor([1000.0, -1000.0]).view(1, 2, 1, 1)
    logits = mean_logits([sure, sure.clone().requires_grad_(True)])
    assert torch.equal(logits.flatten(), torch.tensor([0.0, -2000.0]))
    assert torch.allclose(mean_logits([sure, -sure]).softmax(1), torch.full((1, 2, 1, 1), 0.5))


def test_the_gradient_is_that_of_the_mean():
    generator = torch.Generator().manual_seed(1)
    logits = [torch.randn(1, 3, 2, 2, generator=generator, requires_grad=True) for _ in range(3)]
    given = torch.autograd.grad(mean_logits(logits)[:, 1].sum(), logits)
    direct = torch.autograd.grad((sum(x.softmax(1) for x in logits) / 3).log()[:, 1].sum(), logits)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(given, direct, strict=True))


def test_training_shows_every_members_own_outputs():
    members = [{"name": "unet2015", "width": 2}, {"name": "fcn", "encoder": "test_resnet", "aux": True}]
    outputs = build(members).train()(torch.rand(2, 1, 64, 64))
    assert outputs.keys() == {"out", "member0", "member1", "member1.aux"}
    assert torch.allclose(outputs["out"], mean_logits([outputs["member0"], outputs["member1"]]))


def test_it_sees_what_its_members_see_together():
    model = build()
    fields = [receptive_field(member).vertical for member in model.members]
    field = receptive_field(model).vertical
    assert (field.left, field.right) == (max(f.left for f in fields), max(f.right for f in fields))
    assert alignment(model) == 32 == model.alignment
    assert build(["unet2015", *MEMBERS[:1]]).alignment == 16
    seen = receptive_field(build([*MEMBERS, {"name": "deeplabv3_smp", "encoder": "test_resnet"}]))
    assert seen.vertical is None
    assert seen.unbounded_by.startswith("members.2.")


def test_normalisation_that_is_set_is_set_in_every_member():
    model = build()
    model.set_normalization([5.0], [2.0])
    assert [member.mean.item() for member in (model, *model.members)] == [5.0] * 3


def test_the_spec_builds_it_again():
    nested = build([{"name": "ensemble", "members": MEMBERS}, {"name": "crfrnn", "network": MEMBERS[0]}])
    assert nested.spec.arguments["members"][0]["members"][0]["name"] == "unet2015"
    again = create_model(nested.spec.name, **nested.spec.arguments)
    again.load_state_dict(nested.state_dict())
    assert [type(member).__name__ for member in again.members] == ["Ensemble", "CRFRNN"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"members": []}, "members of ensemble must be a list"),
        ({"members": ["uent"]}, r"members\.0.* there is no model 'uent'\. Did you mean 'unet'"),
        ({"members": [{"name": "unet2015", "widht": 3}]}, r"members\.0\.widht: unet2015 takes no argument .*'width'"),
        ({"num_classes": 1}, "ensemble has 1 class"),
        ({"members": "unet"}, "must be a list"),
        ({"members": [{"name": "unet", "in_channels": 3}]}, "handed 'in_channels' by atrous itself"),
    ],
)
def test_wrong_members_are_told(changes, words):
    with pytest.raises(ModelError, match=words):
        build(**changes)


def test_members_of_other_classes_or_no_model_at_all_are_refused():
    other = create_model("unet2015", num_classes=2, in_channels=1, width=2)
    with pytest.raises(ModelError, match="has 3 classes and 1 channels, its member 1 2 and 1: give all the same"):
        build([MEMBERS[0], other])
    from atrous.models.ensemble import ensemble

    with pytest.raises(ModelError, match="build it by create_model"):
        ensemble(3, members=["unet"])
