"""Seventy-three kinds of bad data, recipe and command line: each ends as one line that names the place and the fix.

Every case makes its own small data folder, spoils one thing in it (or in a recipe, or on the command line) and runs the
command in this process. `check` lists what it finds on standard output; everything else is one line `error: ...` on
standard error. Both leave with code 2, without a traceback, and with the disk as it was.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile

from atrous.cli import main

RECIPE = """\
model:     {name: unet2015, width: 2}
data:      {crop: 32, batch_size: 2, workers: 0, augment: [{name: horizontal_flip}]}
task:      {name: segmentation, loss: cross_entropy}
optimizer: {name: sgd, lr: 0.01}
training:  {max_steps: 2, device: cpu, precision: float32}
"""


@dataclass
class World:
    """A folder of its own for every case: a good data set, a good recipe, and the makers of what is wrong."""

    root: Path
    bundle: Path
    run: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def out(self) -> Path:
        return self.root / "out"

    def image(self, index: int = 1) -> Path:
        return self.data / "images" / f"cells_{index:05d}.png"

    def mask(self, index: int = 1) -> Path:
        return self.data / "masks" / f"cells_{index:05d}.png"

    def write(self, path: str | Path, text: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def save(self, path: Path, array: np.ndarray) -> Path:
        from atrous.images import write_image

        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, array)
        return path

    def check(self) -> list[str]:
        return ["check", str(self.data)]

    def train(self, *more: str, recipe: str = RECIPE) -> list[str]:
        path = self.write("recipe.yaml", recipe)
        return ["train", str(self.data), "--recipe", str(path), "-o", str(self.out), *more]

    def predict(self, *more: str, bundle: Path | None = None) -> list[str]:
        images = [] if any(not m.startswith("-") for m in more[:1]) else [str(self.data / "images")]
        return ["predict", str(bundle or self.bundle), *images, *more, "-o", str(self.out)]

    def evaluate(self, *more: str, bundle: Path | None = None) -> list[str]:
        return ["evaluate", str(bundle or self.bundle), str(self.data), *more]


@dataclass(frozen=True)
class Case:
    """What is wrong, how it comes about, and the text: place and fix."""

    name: str
    spoil: Callable[[World], list[str]]
    text: str
    finding: bool = False


CASES: list[Case] = []


def case(text: str, *, finding: bool = False) -> Callable[[Callable[[World], list[str]]], Callable[[World], list[str]]]:
    def add(spoil: Callable[[World], list[str]]) -> Callable[[World], list[str]]:
        CASES.append(Case(spoil.__name__, spoil, text, finding))
        return spoil

    return add


# --- data ------------------------------------------------------------------------------------------------------------


@case(r"no_such: there is no such folder\. Name the folder that holds images/ and masks/")
def data_folder_missing(world: World) -> list[str]:
    return ["check", str(world.root / "no_such")]


@case(r"hollow: has no folder images/; it holds nothing\. Arrange it as images/ and masks/")
def data_folder_empty(world: World) -> list[str]:
    (world.root / "hollow").mkdir()
    return ["check", str(world.root / "hollow")]


@case(r"data: has no folder masks/; it holds classes\.yaml, images/\. Arrange it as")
def no_masks(world: World) -> list[str]:
    shutil.rmtree(world.data / "masks")
    shutil.rmtree(world.data / "instances")
    for name in ("train", "val", "test"):
        (world.data / f"{name}.txt").unlink()
    return world.check()


@case(r"val\.txt line 1: has no mask cells_00001\.\* in masks/\. Add masks/cells_00001\.png", finding=True)
def missing_partner(world: World) -> list[str]:
    world.mask().unlink()
    return world.check()


@case(
    r"masks/cells_00001\.png: has 64 x 60 pixels .* has 64 x 64\. Export the mask at the size of its image",
    finding=True,
)
def size_mismatch(world: World) -> list[str]:
    world.save(world.mask(), np.zeros((64, 60), np.uint8))
    return world.check()


@case(r"images/cells_00001\.png: cannot be read .* cut off before its end\. .*copy or export it again", finding=True)
def truncated_image(world: World) -> list[str]:
    data = world.image().read_bytes()
    world.image().write_bytes(data[: len(data) // 2])
    return world.check()


@case(r"images/cells_00001\.png: cannot be read as an image.* copy or export it again", finding=True)
def image_that_is_text(world: World) -> list[str]:
    world.image().write_text("<html>404</html>")
    return world.check()


@case(r"masks/cells_00001\.png: label 7 \(4096 pixels\) is not in .* put the value into classes\.yaml", finding=True)
def label_out_of_range(world: World) -> list[str]:
    world.save(world.mask(), np.full((64, 64), 7, np.uint8))
    return world.check()


@case(r"masks/cells_00001\.png: is an RGB mask of .* export the mask again", finding=True)
def rgb_mask_without_colors(world: World) -> list[str]:
    rng = np.random.default_rng(0)
    (world.data / "classes.yaml").unlink()
    world.save(world.mask(), rng.integers(0, 255, (64, 64, 3)).astype(np.uint8))
    return world.check()


@case(r"masks/cells_00001\.png: colour #0a141e \(4096 pixels\) .* put the colour into classes\.yaml", finding=True)
def unknown_color(world: World) -> list[str]:
    world.save(world.mask(), np.full((64, 64, 3), (10, 20, 30), np.uint8))
    return world.check()


@case(r"classes\.yaml line 3: is not YAML: .* Correct the line", finding=True)
def classes_not_yaml(world: World) -> list[str]:
    world.write("data/classes.yaml", "classes:\n  - {name: cell, value: 1\n  - [")
    return world.check()


@case(r"classes\.yaml line 3: unknown key 'vlaue'\. Did you mean 'value'\?", finding=True)
def classes_unknown_key(world: World) -> list[str]:
    world.write("data/classes.yaml", "classes:\n  - {name: background, value: 0}\n  - {name: cell, vlaue: 1}\n")
    return world.check()


@case(r"classes\.yaml: mask value 0 means both 'background' and 'cell'\. Give it to one of them", finding=True)
def classes_value_twice(world: World) -> list[str]:
    world.write("data/classes.yaml", "classes:\n  - {name: background, value: 0}\n  - {name: cell, value: 0}\n")
    return world.check()


@case(r"table\.yaml: cannot be read \(No such file or directory\)\. Check the name")
def classes_file_missing(world: World) -> list[str]:
    return [*world.train(), "--classes", str(world.root / "table.yaml")]


@case(r"val\.txt line 3: names 'cells_99999', and there is no such image\. Did you", finding=True)
def split_names_absent_image(world: World) -> list[str]:
    with (world.data / "val.txt").open("a") as file:
        file.write("cells_99999\n")
    return world.check()


@case(r"images/twin\.png: has the same pixels as .*cells_00000\.png, which is in train.* Keep one", finding=True)
def image_in_two_splits(world: World) -> list[str]:
    shutil.copy(world.image(0), world.data / "images" / "twin.png")
    shutil.copy(world.mask(0), world.data / "masks" / "twin.png")
    with (world.data / "val.txt").open("a") as file:
        file.write("twin\n")
    return world.check()


@case(r"images/cells_00001\.png: has 4 channels, and 1 is needed\. Convert it, or take it out", finding=True)
def mixed_channels(world: World) -> list[str]:
    array = np.random.default_rng(0).integers(0, 255, (64, 64, 4)).astype(np.uint8)
    tifffile.imwrite(world.image(), array, photometric="minisblack", planarconfig="contig")
    return world.check()


@case(r"images/cells_00001\.png: holds uint16 numbers.*uint8: .*Convert it to uint8 in the range", finding=True)
def mixed_kinds(world: World) -> list[str]:
    world.save(world.image(), np.random.default_rng(0).integers(0, 9999, (64, 64)).astype(np.uint16))
    return world.check()


@case(r"data: has no labelled pixel in its training images\. Label some, or look at 'ignore'", finding=True)
def all_ignored(world: World) -> list[str]:
    for mask in (world.data / "masks").iterdir():
        world.save(mask, np.full((64, 64), 255, np.uint8))
    return world.check()


# --- recipes ---------------------------------------------------------------------------------------------------------


@case(r"there is no recipe 'uent'\. Did you mean 'unet'\?")
def recipe_not_there(world: World) -> list[str]:
    return ["train", str(world.data), "--recipe", "uent", "-o", str(world.out)]


@case(r"recipe\.yaml line 2: this is not YAML: expected ',' or '}'")
def recipe_not_yaml(world: World) -> list[str]:
    return world.train(recipe="model: {name: unet\ndata: 3\n")


@case(r"recipe\.yaml line 6, trainning: .* Did you mean 'training'\?")
def recipe_unknown_section(world: World) -> list[str]:
    return world.train(recipe=RECIPE + "trainning: {max_steps: 3}\n")


@case(r"recipe\.yaml line 1, model\.name: .* Did you mean 'unet2015'\?")
def recipe_unknown_model(world: World) -> list[str]:
    return world.train(recipe=RECIPE.replace("unet2015", "unet2051"))


@case(r"recipe\.yaml line 1, model\.widht: .* Did you mean 'width'\?")
def recipe_unknown_argument(world: World) -> list[str]:
    return world.train(recipe=RECIPE.replace("width", "widht"))


@case(r"recipe\.yaml line 2, data\.batch_size: got 'two' \(str\), but batch_size .* must be int")
def recipe_wrong_type(world: World) -> list[str]:
    return world.train(recipe=RECIPE.replace("batch_size: 2", "batch_size: two"))


@case(r"recipe\.yaml line 3, task\.loss\.name: .* Did you mean 'cross_entropy'\?")
def recipe_unknown_loss(world: World) -> list[str]:
    return world.train(recipe=RECIPE.replace("cross_entropy", "crossentropy"))


@case(r"recipe\.yaml line 2, data\.augment\.0\.name: .* Did you mean 'horizontal_flip'\?")
def recipe_unknown_transform(world: World) -> list[str]:
    return world.train(recipe=RECIPE.replace("horizontal_flip", "horizontal_flop"))


@case(r"recipe\.yaml line 4, optimizer\.name: .* Did you mean 'sgd'\?")
def recipe_unknown_optimizer(world: World) -> list[str]:
    return world.train(recipe=RECIPE.replace("sgd", "sdg"))


@case(r"crop: .*0.* at least 1")
def recipe_crop_of_nothing(world: World) -> list[str]:
    return world.train(recipe=RECIPE.replace("crop: 32", "crop: 0"))


@case(r"encoder 'resnet81'\. Did you mean 'resnet18', ")
def recipe_unknown_encoder(world: World) -> list[str]:
    return world.train("model={name: unet, encoder: resnet81}")


@case(r"encoder 'hrnet_w18' cannot run at output stride 8")
def recipe_encoder_without_stride(world: World) -> list[str]:
    return world.train("model={name: deeplabv3_smp, encoder: hrnet_w18, output_stride: 8}")


@case(r"recipe\.yaml line 6, refine\.iteratons: crf takes no argument 'iteratons'\. Did you mean 'iterations'\?")
def recipe_refinement_argument_unknown(world: World) -> list[str]:
    return world.train(recipe=RECIPE + "refine: {name: crf, iteratons: 3}\n")


@case(r"recipe\.yaml line 6, refine: there is nothing named 'CRF' that refines\. .*crf")
def recipe_refinement_unknown(world: World) -> list[str]:
    return world.train(recipe=RECIPE + "refine: CRF\n")


@case(r"command line: got 'resnet34', but an override is KEY=VALUE, such as")
def override_without_key(world: World) -> list[str]:
    return world.train("resnet34")


@case(r"command line: .* no section 'modle'\. Did you mean 'model'\?")
def override_unknown_section(world: World) -> list[str]:
    return world.train("modle.width=4")


@case(r"command line, training\.max_step: .* Did you mean 'max_steps'\?")
def override_unknown_entry(world: World) -> list[str]:
    return world.train("training.max_step=4")


@case(r"command line, optimizer\.lr: got 'fast' \(str\), but lr .* must be float")
def override_wrong_type(world: World) -> list[str]:
    return world.train("optimizer.lr=fast")


# --- runs and bundles ------------------------------------------------------------------------------------------------


@case(r"out: the folder is not empty; name a new folder with -o")
def run_folder_in_use(world: World) -> list[str]:
    world.write("out/notes.txt", "mine")
    return world.train()


@case(r"out: the run was started with optimizer\.lr=0\.01, not 0\.5; leave these out or start a new run")
def resume_other_recipe(world: World) -> list[str]:
    shutil.copytree(world.run, world.out)
    return world.train("--resume", "optimizer.lr=0.5")


@case(r"out: there is no run to go on with here: no run\.json; name the run's folder with -o, or leave out --resume")
def resume_nothing(world: World) -> list[str]:
    world.write("out/notes.txt", "mine")
    return world.train("--resume")


@case(r"none\.bundle: there is no such folder; give the folder of a bundle")
def start_from_nothing(world: World) -> list[str]:
    return world.train("--from", str(world.root / "none.bundle"))


@case(r"data: is not a run: name the folder that `atrous train` made")
def report_of_no_run(world: World) -> list[str]:
    return ["report", str(world.data)]


@case(r"none\.bundle: there is no such folder; give the folder of a bundle")
def bundle_missing(world: World) -> list[str]:
    return world.predict(bundle=world.root / "none.bundle")


@case(r"data: the bundle has no recipe\.yaml; copy the whole folder again")
def bundle_is_data(world: World) -> list[str]:
    return world.predict(bundle=world.data)


@case(r"cut\.bundle/model\.safetensors: the weights cannot be read .* copy the file again")
def bundle_cut_off(world: World) -> list[str]:
    broken = Path(shutil.copytree(world.bundle, world.root / "cut.bundle"))
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return world.predict(bundle=broken)


@case(r"other\.bundle/model\.safetensors: .* must come from the same bundle")
def bundle_of_other_shape(world: World) -> list[str]:
    broken = Path(shutil.copytree(world.bundle, world.root / "other.bundle"))
    recipe = broken / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("width: 2", "width: 4"))
    return world.predict(bundle=broken)


@case(r"bundle: decides the classes \['background', 'cell'\], but .*data has \['soil', 'weed'\]; give .* --classes")
def bundle_of_other_classes(world: World) -> list[str]:
    world.write("data/classes.yaml", "classes:\n  - {name: soil, value: 0}\n  - {name: weed, value: 1}\n")
    return world.evaluate()


# --- images and command lines ----------------------------------------------------------------------------------------


@case(r"rgb\.png is uint8 with 3 channels, but the model was made for uint8 with 1 channel: convert the image")
def image_of_other_channels(world: World) -> list[str]:
    path = world.save(world.root / "rgb.png", np.zeros((40, 40, 3), np.uint8))
    return world.predict(str(path))


@case(r"deep\.png is uint16 with 1 channel, but the model was made for uint8 .*: convert the image to uint8")
def image_of_other_kind(world: World) -> list[str]:
    path = world.save(world.root / "deep.png", np.full((40, 40), 3000, np.uint16))
    return world.predict(str(path))


@case(r"scan\.png: there is no such file or folder; check the name")
def images_not_there(world: World) -> list[str]:
    return world.predict(str(world.root / "scan.png"))


@case(r"scans/\*\.tif: no image matches this pattern; atrous reads \.png")
def pattern_without_match(world: World) -> list[str]:
    return world.predict(str(world.root / "scans" / "*.tif"))


@case(r"images/cells_00001\.png and .*masks/cells_00001\.png would both give .*out/cells_00001\.png; rename one")
def two_images_of_one_name(world: World) -> list[str]:
    return world.predict(str(world.image()), str(world.mask()))


@case(r"images/cells_00000\.png: the result would replace an image; name another folder with -o")
def masks_over_images(world: World) -> list[str]:
    return [*world.predict()[:-1], str(world.data / "images")]


@case(r"--tile -5: a tile's side is a number of pixels from 1; leave it out for whole images")
def tile_below_one(world: World) -> list[str]:
    return world.predict("--tile", "-5")


@case(r"'--tile': Input should be a valid integer\. See: atrous predict --help")
def tile_not_a_number(world: World) -> list[str]:
    return world.predict("--tile", "big")


@case(r"--margin exakt: give a number of pixels from 0, exact or auto")
def margin_unknown(world: World) -> list[str]:
    return world.predict("--tile", "32", "--margin", "exakt")


@case(r"'hflop'.* Did you mean 'hflip'\?")
def view_unknown(world: World) -> list[str]:
    return world.predict("--views", "hflop")


@case(r"--refine: there is nothing named 'cfr' that refines\. Did you mean 'crf'\?")
def refinement_unknown(world: World) -> list[str]:
    return world.predict("--refine", "cfr")


@case(r"--refine, bilateral_x: crf takes no argument 'bilateral_x'\. Did you mean 'bilateral_xy'\?")
def refinement_argument_unknown(world: World) -> list[str]:
    return world.evaluate("--refine", "crf:bilateral_x=60")


@case(r"--refine: got '60' in 'crf:60'; say NAME:KEY=VALUE,\.\.\., such as crf:bilateral_xy=60")
def refinement_without_key(world: World) -> list[str]:
    return world.predict("--refine", "crf:60")


@case(r"--refine, iterations: got 0 \(int\), but iterations of crf must be int, at least 1")
def refinement_of_nothing(world: World) -> list[str]:
    return world.evaluate("--refine", "crf:iterations=0")


@case(r"command line, bilateral_rbg: CrfGrid takes no argument 'bilateral_rbg'\. Did you mean 'bilateral_rgb'\?")
def tuning_entry_unknown(world: World) -> list[str]:
    return ["tune-crf", str(world.bundle), str(world.data), "bilateral_rbg=3"]


@case(r"cells\.bundle: there is no such folder; settings are written into a bundle on this machine")
def tuning_of_no_bundle(world: World) -> list[str]:
    return ["tune-crf", str(world.root / "cells.bundle"), str(world.data)]


@case(r"data: has no split 'tset'\. Did you mean 'test'\?")
def tuning_by_an_unknown_split(world: World) -> list[str]:
    return ["tune-crf", str(world.bundle), str(world.data), "--split", "tset"]


@case(r"--format jpg: masks are written as auto, png or tif")
def format_unknown(world: World) -> list[str]:
    return world.predict("--format", "jpg")


@case(r"data: has no split 'vall'\. Did you mean 'val'\?")
def split_unknown(world: World) -> list[str]:
    return world.evaluate("--split", "vall")


@case(r"there is no command 'trian'\. Did you mean 'train'\?")
def command_unknown(world: World) -> list[str]:
    return ["trian", str(world.data)]


@case(r"there is no option --ovrlay\. Did you mean '--overlay'\?")
def option_unknown(world: World) -> list[str]:
    return world.predict("--ovrlay")


@case(r"Missing option '--out' / '-o': .*\. See: atrous ensemble --help")
def option_missing(world: World) -> list[str]:
    return ["ensemble", str(world.bundle), str(world.bundle)]


@case(r"size is 8x8 pixels, but made pictures need at least 32")
def sample_too_small(world: World) -> list[str]:
    return ["sample", "cells", str(world.out), "--size", "8"]


@case(r"there is no made data 'cell'\. Did you mean 'cells'\?")
def sample_unknown(world: World) -> list[str]:
    return ["sample", "cell", str(world.out)]


@case(r"data: is a folder with files in it; .* choose another name, or remove it first")
def sample_over_data(world: World) -> list[str]:
    return ["sample", "cells", str(world.data), "--count", "3"]


@case(r"data: the folder is not empty and was not made by a demo; name a new one")
def demo_over_data(world: World) -> list[str]:
    return ["demo", str(world.data)]


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A data folder, a bundle, and a run of two steps, made once."""
    from atrous.made import make_cells
    from atrous.workflows import train

    root = tmp_path_factory.mktemp("good")
    world = World(root, root / "run" / "bundle", root / "run")
    make_cells(world.data, count=10, size=64)
    train(world.data, recipe=world.write("recipe.yaml", RECIPE), out=world.run, evaluate=False)
    return world


@pytest.fixture
def world(good: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    shutil.copytree(good.data, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return World(tmp_path, good.bundle, good.run)


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() if p.is_file() else b"" for p in sorted(root.rglob("*"))}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_line_that_names_place_and_fix(case: Case, world: World, capfd: pytest.CaptureFixture[str]) -> None:
    argv = case.spoil(world)
    before = tree(world.root)
    capfd.readouterr()
    code = main(argv)
    out, err = capfd.readouterr()
    assert code == 2, out + err
    assert "Traceback" not in out + err
    if case.finding:
        lines = [line for line in out.splitlines() if line.startswith("error [")]
        assert not err
    else:
        lines = [line for line in err.splitlines() if line]
        assert len(lines) == 1, err
        assert lines[0].startswith("error: ")
    assert any(re.search(case.text, line) for line in lines), "\n".join(lines)
    assert tree(world.root) == before


def test_there_are_thirty_kinds() -> None:
    assert len({case.name for case in CASES}) >= 30
