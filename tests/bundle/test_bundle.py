"""Bundles: what is written is read back to the bit, a damage is named, and nothing is ever half there."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from atrous.bundle import load_bundle, save_bundle, update_bundle
from atrous.bundle.base import FILES
from atrous.data import Classes
from atrous.errors import BundleError
from atrous.models import create_model
from atrous.models.base import DenseModel, ModelSpec
from atrous.recipe import load_recipe

NAMES = ["background", "cell"]


def network(**arguments):
    torch.manual_seed(arguments.pop("seed", 0))
    return create_model("unet2015", **{"num_classes": 2, "in_channels": 1, "width": 4, **arguments}).eval()


@pytest.fixture
def folder(tmp_path):
    return save_bundle(tmp_path / "cells.bundle", network(), class_names=NAMES)


def out(model):
    return model(255 * torch.rand(1, model.in_channels, 33, 47, generator=torch.Generator().manual_seed(0)))["out"]


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_everything_comes_back(tmp_path):
    model = network()
    model.set_normalization([120.0], [50.0])
    recipe = load_recipe("unet2015", ["task.loss.weights=enet", "seed=5"])
    metrics = {
        "mean_iou": 0.9,
        "split": "val",
        "iou": {"background": 1.0, "cell": math.nan},
        "matrix": [[1, 2], [3, 4]],
    }
    path = save_bundle(
        tmp_path / "a" / "cells.bundle", model, class_names=NAMES, colors=[(0, 0, 0), (255, 128, 1)], dtype="uint16",
        recipe=recipe, metrics=metrics,
    )  # fmt: skip
    assert entries(path) == sorted(FILES)
    assert entries(path.parent) == ["cells.bundle"]
    bundle = load_bundle(path)
    assert torch.equal(out(bundle.model), out(model))
    assert not bundle.model.training
    assert bundle.model.spec == model.spec
    assert bundle.class_names == tuple(NAMES)
    assert bundle.colors == ((0, 0, 0), (255, 128, 1))
    assert (bundle.dtype, bundle.channels) == ("uint16", 1)
    assert bundle.task == {"name": "segmentation", "loss": {"name": "cross_entropy", "weights": "enet"}}
    assert bundle.recipe["seed"] == 5
    assert bundle.recipe["optimizer"] == recipe.values["optimizer"]
    assert bundle.metrics["mean_iou"] == 0.9
    assert bundle.metrics["matrix"] == [[1, 2], [3, 4]]
    assert math.isnan(bundle.metrics["iou"]["cell"])
    json.loads((path / "metrics.json").read_text(), parse_constant=lambda text: pytest.fail(f"not JSON: {text}"))


def test_its_recipe_is_a_recipe(folder):
    recipe = load_recipe(folder / "recipe.yaml")
    assert recipe.values["model"] == {"name": "unet2015", "width": 4}
    assert recipe.values["input"] == {"kind": "uint8", "channels": 1}


def test_the_card_tells_people_what_this_is(tmp_path):
    path = save_bundle(tmp_path / "x", network(), class_names=["back|ground", "cell"], metrics={"mean_iou": 0.91234,
                       "iou": {"cell": 0.5}})  # fmt: skip
    card = (path / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["library_name"] == "atrous"
    for text in ("atrous predict x IMAGES", 'Predictor.load("x")', "| mean_iou | 0.9123 |", "back\\|ground",
                 "1 channel,", "`uint8`", "| 1 | cell | `#", " 0.5000 |", "`unet2015` (width=4)"):  # fmt: skip
        assert text in card


def test_loading_draws_nothing(folder):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    load_bundle(folder)
    assert torch.equal(torch.rand(2), expected)


def test_a_bundle_asks_for_no_pretrained_weights(tmp_path, monkeypatch):
    model = create_model("unet", num_classes=2, in_channels=3, encoder="resnet18")
    path = save_bundle(tmp_path / "x", model, class_names=NAMES)
    recipe = (path / "recipe.yaml").read_text().replace("pretrained: false", "pretrained: true")
    assert "pretrained: true" in recipe
    (path / "recipe.yaml").write_text(recipe)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *a, **k: pytest.fail("asked the Hub for weights"))
    bundle = load_bundle(path)
    assert bundle.model.spec.arguments["pretrained"] is False
    assert torch.equal(out(bundle.model), out(model.eval()))


class Tied(DenseModel):
    def __init__(self):
        super().__init__(2, 1, 1)
        self.spec = ModelSpec("unet2015", {"num_classes": 2, "in_channels": 1, "width": 4})
        self.first = nn.Conv2d(1, 4, 3)
        self.second = self.first
        self.third = nn.Conv2d(1, 4, 3).to(memory_format=torch.channels_last)
        self.view = nn.Parameter(self.first.weight[:2])


def test_shared_and_strided_tensors_are_written_whole(tmp_path):
    from safetensors.torch import load_file

    model = Tied()
    path = save_bundle(tmp_path / "tied", model, class_names=NAMES)
    written = load_file(path / "model.safetensors")
    assert set(written) == set(model.state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal(written[name], value)


def test_a_bundle_is_replaced_and_other_files_in_it_are_kept(folder):
    (folder / "notes.txt").write_text("mine")
    (folder / "extra").mkdir()
    (folder / "extra" / "a.txt").write_text("mine too")
    other = network(seed=1, width=3)
    save_bundle(folder, other, class_names=["soil", "crop"])
    assert torch.equal(out(load_bundle(folder).model), out(other))
    assert load_bundle(folder).class_names == ("soil", "crop")
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "extra" / "a.txt").read_text() == "mine too"
    assert entries(folder.parent) == ["cells.bundle"]


def test_an_empty_folder_is_a_place_and_a_link_stays_a_link(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    save_bundle(tmp_path / "empty", network(), class_names=NAMES)
    (tmp_path / "link").symlink_to(folder)
    save_bundle(tmp_path / "link", network(seed=1), class_names=NAMES)
    assert (tmp_path / "link").is_symlink()
    assert torch.equal(out(load_bundle(folder).model), out(network(seed=1)))


def test_what_is_not_a_bundle_is_never_replaced(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.png").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("photos", "file"):
        with pytest.raises(
            BundleError, match=f"{name}: something that is not a bundle stands here; choose another name"
        ):
            save_bundle(tmp_path / name, network(), class_names=NAMES)
    assert (photos / "a.png").read_text() == "x"
    assert entries(tmp_path) == ["file", "photos"]


@pytest.mark.parametrize("kind", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("moment", ["weights", "card", "first rename", "second rename"])
def test_a_failed_save_leaves_the_old_bundle(folder, monkeypatch, kind, moment):
    calls = []

    def fail(*args, **kwargs):
        raise kind

    def fail_at(number, really):
        def rename(*args):
            calls.append(args)
            return fail() if len(calls) == number else really(*args)

        return rename

    with monkeypatch.context() as patch:
        if moment == "weights":
            patch.setattr("safetensors.torch.save_file", fail)
        elif moment == "card":
            patch.setattr(Path, "write_text", fail)
        else:
            patch.setattr(Path, "rename", fail_at(1 if moment == "first rename" else 2, Path.rename))
        expected = BundleError if isinstance(kind, OSError) else KeyboardInterrupt
        with pytest.raises(expected) as caught:
            save_bundle(folder, network(seed=1), class_names=NAMES)
    if expected is BundleError:
        assert "cannot be written (No space left on device); free space" in str(caught.value)
    assert entries(folder.parent) == ["cells.bundle"]
    assert torch.equal(out(load_bundle(folder).model), out(network()))


@pytest.mark.parametrize("reader", ["load", "save"])
def test_a_save_killed_between_the_two_renames_loses_nothing(folder, reader):
    (folder / "notes.txt").write_text("mine")
    part, old = folder.with_name(".cells.bundle.part"), folder.with_name(".cells.bundle.old")
    shutil.copytree(folder, part)
    folder.rename(old)
    if reader == "save":
        save_bundle(folder, network(seed=1), class_names=NAMES)
        assert entries(folder.parent) == ["cells.bundle"]
    assert torch.equal(out(load_bundle(folder).model), out(network(seed=int(reader == "save"))))
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_save_killed_before_the_old_one_is_gone_loses_nothing(folder):
    old = folder.with_name(".cells.bundle.old")
    shutil.copytree(folder, old)
    (old / "notes.txt").write_text("mine")
    save_bundle(folder, network(seed=1), class_names=NAMES)
    assert (folder / "notes.txt").read_text() == "mine"
    assert entries(folder.parent) == ["cells.bundle"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"class_names": ["a"]}, "x: 1 class names (a) for a model of 2 classes; give one name per class, in the order "
                                 "of the maps."),
        ({"class_names": ["a", "a"]}, "x: class names must be text, each different from the others; got a, a."),
        ({"class_names": ["a", ""]}, "x: class names must be text, each different from the others; got a, ."),
        ({"colors": [(0, 0, 0)]}, "x: 1 colours for 2 classes; give one per class, or none."),
        ({"colors": [(0, 0, 0), (0, 0, 256)]}, "x: got (0, 0, 256) (tuple) as a colour, but a colour is three numbers "
                                               "from 0 to 255."),
        ({"dtype": "int8"}, "x: dtype is 'int8', but images are one of uint8, uint16, float32."),
        ({"task": "segmentaton"}, "x, task.name: there is no task 'segmentaton'. Did you mean 'segmentation'?"),
        ({"task": {"name": "segmentation", "los": 1}}, "x, task.los: Segmentation takes no argument 'los'. "
                                                       "Did you mean 'loss'?"),
        ({"metrics": {"a": object}}, "x: recipe and metrics are text, numbers, lists and mappings (Object of type type "
                                     "is not JSON serializable)."),
    ],
)  # fmt: skip
def test_what_cannot_be_saved(tmp_path, options, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError) as caught:
        save_bundle("x", network(), **{"class_names": NAMES, **options})
    assert str(caught.value) == text
    assert entries(tmp_path) == []


def test_a_model_that_create_model_did_not_make(tmp_path):
    with pytest.raises(BundleError, match="the Conv2d was not made by create_model"):
        save_bundle(tmp_path / "x", nn.Conv2d(1, 2, 3), class_names=NAMES)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def broken_weights(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def garbage_weights(folder):
    (folder / "model.safetensors").write_bytes(b"PK\x03\x04 not this")


def other_keys(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    first = sorted(tensors)[0]
    tensors["extra.weight"] = tensors.pop(first)
    save_file(tensors, folder / "model.safetensors")


def third_class(folder):
    content = json.loads((folder / "classes.json").read_text())
    content["classes"].append({"name": "third", "color": [1, 2, 3]})
    (folder / "classes.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "texts"),
    [
        (lambda f: (f / "model.safetensors").unlink(), ["the bundle has no model.safetensors; copy the whole folder"]),
        (lambda f: (f / "recipe.yaml").unlink(), ["the bundle has no recipe.yaml"]),
        (lambda f: (f / "classes.json").unlink(), ["the bundle has no classes.json"]),
        (broken_weights, ["model.safetensors: the weights cannot be read (", "copy the file again"]),
        (garbage_weights, ["model.safetensors: the weights cannot be read ("]),
        (other_keys, ["model.safetensors: the file lacks ", " and has extra.weight that the model does not; ",
                      "must come from the same bundle"]),
        (third_class, ["model.safetensors: ", "needs (3,", "must come from the same bundle, and classes.json too"]),
        (lambda f: edit(f / "recipe.yaml", "width: 4", "width: 5"), ["model.safetensors: ", "needs (5,"]),
        (lambda f: edit(f / "recipe.yaml", "width: 4", "widht: 4"),
         ["recipe.yaml line 1, model.widht: unet2015 takes no argument 'widht'. Did you mean 'width'?"]),
        (lambda f: edit(f / "recipe.yaml", "width: 4", "width: four"), ["got 'four' (str), but width of unet2015"]),
        (lambda f: edit(f / "recipe.yaml", "name: unet2015", "name: os.system"), ["there is no model 'os.system'"]),
        (lambda f: edit(f / "recipe.yaml", "name: segmentation", "name: x"), ["task.name: there is no task 'x'"]),
        (lambda f: edit(f / "recipe.yaml", "kind: uint8", "kind: int"), ["recipe.yaml line 3, input: got {'kind"]),
        (lambda f: edit(f / "recipe.yaml", "channels: 1", "channels: 3"), ["model.safetensors: ", "needs (3,)"]),
        (lambda f: (f / "recipe.yaml").write_text("model: ["), ["recipe.yaml line 1: this is not YAML"]),
        (lambda f: (f / "recipe.yaml").write_text("seed: 1"), ["recipe.yaml, input: got nothing (null)"]),
        (lambda f: (f / "classes.json").write_text("{"), ["classes.json: this is not JSON ("]),
        (lambda f: (f / "classes.json").write_text("{}"), ['classes.json: the file needs the form {"classes": ']),
        (lambda f: edit(f / "classes.json", "cell", "background"), ["classes.json: class names must be text"]),
        (lambda f: (f / "metrics.json").write_text("]"), ["metrics.json: this is not JSON ("]),
    ],
)  # fmt: skip
def test_damaged_bundles_say_which_file_and_what_to_do(folder, damage, texts):
    damage(folder)
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    for text in texts:
        assert text in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_card_and_metrics_may_be_missing(folder):
    (folder / "README.md").unlink()
    (folder / "metrics.json").unlink()
    assert load_bundle(folder).metrics == {}


def test_a_pickle_is_never_opened(folder):
    torch.save({"x": 1}, folder / "model.safetensors")
    with pytest.raises(BundleError, match="the weights cannot be read"):
        load_bundle(folder)


def test_places_that_are_no_bundle(tmp_path, folder, monkeypatch):
    with pytest.raises(
        BundleError, match=r"no/such/place: there is no such folder; give the folder of a bundle, or owner/"
    ):
        load_bundle("no/such/place")
    with pytest.raises(
        BundleError, match=r"a bundle is a folder with model\.safetensors and recipe\.yaml, and this is a"
    ):
        load_bundle(folder / "model.safetensors")


def test_a_run_stands_for_its_bundle(tmp_path, folder):
    from atrous import Predictor

    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text("model: {name: unet2015, width: 4}\n")  # the run's own
    (run / "run.json").write_text("{}")
    with pytest.raises(BundleError, match=r"run: the training of this run is not finished .*/run --resume$"):
        load_bundle(run)
    folder.rename(run / "bundle")
    assert load_bundle(run).path == run / "bundle"
    assert Predictor.load(str(run), device="cpu").class_names == tuple(NAMES)
    assert update_bundle(run, sections={"clean": {"min_size": 5}}) == run / "bundle"
    assert load_bundle(run).recipe["clean"] == {"min_size": 5}
    assert entries(run) == ["bundle", "recipe.yaml", "run.json"]
    (run / "bundle").rename(run / ".bundle.old")  # killed between the two renames of an update
    assert load_bundle(run).path == run / "bundle"


@pytest.mark.parametrize("links", [True, False])
def test_an_update_leaves_the_weights_alone(folder, monkeypatch, links):
    def refuse(*args, **kwargs):
        raise OSError(1, "Operation not permitted")

    def never(*args, **kwargs):
        pytest.fail("the weights were read or written")

    (folder / "notes.txt").write_text("mine")
    before = (folder / "model.safetensors").stat()
    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.load_file", never)
        patch.setattr("safetensors.torch.save_file", never)
        if not links:
            patch.setattr("os.link", refuse)
        update_bundle(folder, sections={"seed": 7, "refine": None}, metrics={"mean_iou": 0.5})
    after = (folder / "model.safetensors").stat()
    assert (after.st_ino == before.st_ino) == links
    assert after.st_nlink == 1
    assert torch.equal(out(load_bundle(folder).model), out(network()))
    assert load_bundle(folder).recipe["seed"] == 7
    assert load_bundle(folder).metrics == {"mean_iou": 0.5}
    assert "| mean_iou | 0.5000 |" in (folder / "README.md").read_text()
    assert (folder / "notes.txt").read_text() == "mine"
    assert entries(folder.parent) == ["cells.bundle"]


@pytest.mark.parametrize("moment", ["card", "first rename", "second rename"])
def test_a_failed_update_leaves_the_old_bundle(folder, monkeypatch, moment):
    really, calls = Path.rename, []

    def rename(*args):
        calls.append(args)
        if len(calls) == (1 if moment == "first rename" else 2):
            raise OSError(28, "No space left on device")
        return really(*args)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, *(("write_text", full) if moment == "card" else ("rename", rename)))
        with pytest.raises(BundleError, match=r"cannot be written \(No space left on device\)"):
            update_bundle(folder, sections={"seed": 7})
    assert entries(folder.parent) == ["cells.bundle"]
    assert "seed" not in load_bundle(folder).recipe
    assert torch.equal(out(load_bundle(folder).model), out(network()))


def test_a_name_on_the_hub(folder, monkeypatch, tmp_path):
    asked = []

    def fetch(name, *, allow_patterns):
        asked.append((name, tuple(allow_patterns)))
        return str(folder)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert torch.equal(out(load_bundle("owner/cells-1.0").model), out(network()))
    assert asked == [("owner/cells-1.0", FILES)]


def test_a_name_that_is_neither_here_nor_on_the_hub(monkeypatch, tmp_path):
    def fetch(name, *, allow_patterns):
        raise ConnectionError("no route to host\nand more")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    with pytest.raises(BundleError) as caught:
        load_bundle("owner/cells")
    assert str(caught.value) == (
        "owner/cells: there is no such folder here, and the Hugging Face Hub gives no model of that name "
        "(ConnectionError: no route to host); check the path, or the name and the connection."
    )


def table():
    colors = ((0, 0, 0), (255, 0, 0), (0, 255, 0))
    return Classes(("a", "b", "c"), colors, ((0,), (2, 3), ()), (255, 254), ((9, 9, 9),), color_coded=True)


def test_the_values_of_masks_are_kept(tmp_path):
    path = save_bundle(tmp_path / "x", network(num_classes=3), class_names=table())
    assert load_bundle(path).classes == table()
    assert update_bundle(path, sections={"clean": {"min_size": 4}}) == path
    assert load_bundle(path).classes == table()
    card = (path / "README.md").read_text()
    for text in ("| 0 | a |", "| 2, 3 | b |", "| colour | c |", "masks get the first", "known by its colour"):
        assert text in card
    assert json.loads((path / "classes.json").read_text())["classes"][1]["value"] == [2, 3]
    with pytest.raises(BundleError, match=r"x: the class table has colours; leave `colors` out"):
        save_bundle(path, network(num_classes=3), class_names=table(), colors=[(0, 0, 0)] * 3)


def test_names_alone_have_no_values(folder):
    assert load_bundle(folder).classes is None
    assert "value" not in (folder / "classes.json").read_text()
    assert "Masks hold the number of the class." in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["classes"][0].update(value=[2]), "mask value 2 means both 'a' and 'b'"),
        (lambda content: content["classes"][0].update(value=7), "the mask values do not fit"),
        (lambda content: content["classes"][0].update(value=["x"]), "the mask values do not fit"),
        (lambda content: content["classes"][0].update(value=[70000]), "mask value 70000 is not within 0 to 65535"),
        (lambda content: content.update(ignore="#000000"), "the mask values do not fit"),
        (lambda content: content.update(ignore=[[1]]), "the mask values do not fit"),
    ],
)
def test_damaged_values_are_named(tmp_path, change, message):
    path = save_bundle(tmp_path / "x", network(num_classes=3), class_names=table())
    content = json.loads((path / "classes.json").read_text())
    change(content)
    (path / "classes.json").write_text(json.dumps(content))
    with pytest.raises(BundleError, match=rf"classes\.json: .*{message}"):
        load_bundle(path)


def test_names_of_classes_are_text_in_the_card(tmp_path):
    names = ["<script>alert(1)</script>", "a|b", "[here](http://x)", "c\x1b[31m\nd", "left_hand"]
    model = create_model("unet2015", num_classes=len(names), in_channels=1, width=2)
    place = save_bundle(tmp_path / "odd", model.eval(), class_names=names, metrics={"iou": dict.fromkeys(names, 0.5)})
    card = (place / "README.md").read_text()
    rows = [line for line in card.splitlines() if line.endswith("| 0.5000 |")]
    assert [row.split(" | ")[1] for row in rows] == [
        "&lt;script&gt;alert(1)&lt;/script&gt;", r"a\|b", r"\[here\](http://x)", r"c \[31m d", "left_hand",
    ]  # fmt: skip
    assert "\x1b" not in card
    assert load_bundle(place).class_names == tuple(names)
