"""A run is gone on with on the images and masks that it was begun with, and on no others."""

import shutil

import numpy as np
import pytest
from PIL import Image

from atrous.data import fingerprint as module
from atrous.data.fingerprint import fingerprint
from atrous.errors import DataError
from atrous.made import make_cells
from atrous.training.identity import identify, must_be_same_run
from atrous.workflows import train

SMALL = ["model.width=2", "data={crop: 32, batch_size: 2, workers: 0, augment: []}", "training.max_steps=2"]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Data, and a run on it."""
    root = tmp_path_factory.mktemp("begun")
    cells = make_cells(root / "cells", count=8, size=48)
    train(cells, recipe="unet2015", out=root / "run", overrides=[*SMALL, "training.device=cpu"], evaluate=False)
    return cells, root / "run"


@pytest.fixture
def copied(begun, tmp_path):
    """Both, copied elsewhere, with new times."""
    shutil.copytree(begun[0], tmp_path / "cells", copy_function=shutil.copyfile)
    shutil.copytree(begun[1], tmp_path / "run")
    return tmp_path / "cells", tmp_path / "run"


def first(folder, split="train"):
    return sorted((folder / f"{split}.txt").read_text().split())[0]


def invert(path):
    Image.fromarray(
        255 - np.array(Image.open(path).convert("L")) if "images" in path.parts else 1 - np.array(Image.open(path))
    ).save(path)


def test_a_copy_goes_on(copied):
    cells, run = copied
    assert not train(cells, out=run, resume=True, evaluate=False).trained


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("kind", ["masks", "images"])
def test_changed_images_and_masks_are_noticed(copied, kind, split):
    cells, run = copied
    path = cells / kind / f"{first(cells, split)}.png"
    invert(path)
    with pytest.raises(DataError) as told:
        train(cells, out=run, resume=True, evaluate=False)
    assert str(told.value) == (
        f"{run}: the {kind} have changed since the run was begun (the last to be written is {path}), so it cannot be "
        "resumed; put them back, or start a new run, from its weights with --from."
    )


def test_a_changed_test_image_is_none_of_the_run(copied):
    cells, run = copied
    invert(cells / "masks" / f"{first(cells, 'test')}.png")
    assert not train(cells, out=run, resume=True, evaluate=False).trained


def test_changed_mask_values_are_noticed(copied):
    cells, run = copied
    path = cells / "classes.yaml"
    path.write_text(
        path.read_text().replace("value: 0", "value: 7").replace("value: 1", "value: 0").replace("value: 7", "value: 1")
    )
    with pytest.raises(DataError, match=r"the class values have changed .*classes\.yaml"):
        train(cells, out=run, resume=True, evaluate=False)


def test_a_run_from_before_files_were_looked_at_goes_on(tmp_path):
    (tmp_path / "a.png").write_text("a")
    contents = {"masks": fingerprint([tmp_path / "a.png"])}
    old, new = (identify({}, {"train": ["a"]}, ["a", "b"], contents=known) for known in (None, contents))
    must_be_same_run(old, new, place="run")
    with pytest.raises(DataError, match="the masks have changed"):
        must_be_same_run({**new, "masks": "other"}, new, place="run")


def test_a_fingerprint_is_of_content_and_of_sizes_where_there_is_much(tmp_path, monkeypatch):
    (tmp_path / "a.zarr").mkdir()
    one, two = tmp_path / "one.npy", tmp_path / "a.zarr" / "0"
    one.write_text("abc")
    two.write_text("def")
    before = fingerprint([one, None, (two.parent,)])
    assert before.newest == str(two)
    two.write_text("dex")
    assert fingerprint([one, two.parent]).digest != before.digest
    two.write_text("def")
    one.touch()
    assert fingerprint([one, two.parent]) == (before.digest, str(one))
    assert fingerprint([two.parent, one]).digest != before.digest
    monkeypatch.setattr(module, "READ", 5)
    module._digest.cache_clear()
    sizes = fingerprint([one, two.parent]).digest
    two.write_text("dex")
    assert fingerprint([one, two.parent]).digest == sizes
    two.write_text("dexy")
    assert fingerprint([one, two.parent]).digest != sizes
    module._digest.cache_clear()
