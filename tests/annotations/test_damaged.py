"""Damaged annotations of every format: an error that names the file, or what is left of it; never a traceback."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from atrous.data.convert import FORMATS, LandmarkFormat, choose_format
from atrous.errors import AtrousError
from atrous.workflows.conversion import convert
from tests.annotation_samples import SAMPLES, make

WRONG = [None, -1, 0, 1e308, float("nan"), float("inf"), 10**30, "", "x", "../../x", "a" * 5000, [], {}, [[]], [[1]],
         True, [1, 2, 3], {"a": 1}, "\x00", 2**31, -0.5, [None], "\ud800", 0.5]  # fmt: skip
TEXTS = (".json", ".txt", ".yaml", ".xml", ".geojson", ".zip", ".roi")


def test_every_format_has_a_sample():
    assert SAMPLES.keys() == {name for name, one in FORMATS.items() if not isinstance(one, LandmarkFormat)}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_recognised_and_read(tmp_path, name):
    source = make(name, tmp_path / "in")
    assert choose_format(source, None) is FORMATS[name]
    assert [key for key, one in FORMATS.items() if one.fits(source)] == [name]
    done = convert(source, tmp_path / "out")
    assert done.images
    assert not done.notes or name == "yolo"


def places(table: Any, path: tuple = ()):
    """The way to every entry."""
    yield path
    entries = table.items() if isinstance(table, dict) else enumerate(table) if isinstance(table, list) else ()
    for key, entry in list(entries)[:30]:
        yield from places(entry, (*path, key))


def damage(table: Any, rng: random.Random) -> Any:
    """One entry taken out, doubled, or made something else."""
    path = rng.choice(list(places(table)))
    if not path:
        return rng.choice(WRONG)
    parent = table
    for key in path[:-1]:
        parent = parent[key]
    chance = rng.random()
    if chance < 0.2:
        parent.pop(path[-1])
    elif chance < 0.3 and isinstance(parent, list):
        parent.append(parent[path[-1]])
    else:
        parent[path[-1]] = rng.choice(WRONG)
    return table


def garble(data: bytes, rng: random.Random) -> bytes:
    """Bytes changed, taken out, put in, or cut off."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 2, 5))):
        at, chance = rng.randrange(len(data) + 1), rng.random()
        if chance < 0.4 and at < len(data):
            data[at] = rng.randrange(256)
        elif chance < 0.9:
            data[at : at + rng.randrange(20)] = rng.randbytes(rng.randrange(6))
        else:
            del data[at:]
    return bytes(data)


def check(name: str, tmp_path: Path, count: int) -> None:
    source = make(name, tmp_path / "in")
    files = [path for path in sorted(source.rglob("*")) if path.suffix in TEXTS or "Class" in str(path.parent.name)]
    rng = random.Random(name)
    for number in range(count):
        path = rng.choice([path for path in files if path.is_file()])
        whole = path.read_bytes()
        if path.suffix.endswith("json") and rng.random() < 0.8:
            path.write_text(json.dumps(damage(json.loads(whole), rng)))
        else:
            path.write_bytes(garble(whole, rng))
        out = tmp_path / f"out{number}"
        said = ""
        try:
            convert(source, out, format=name if rng.random() < 0.7 else None)
        except AtrousError as problem:
            said = str(problem)
        assert not said or (str(source) in said and not out.exists())
        path.write_bytes(whole)
        shutil.rmtree(out, ignore_errors=True)


@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_annotations(tmp_path, name):
    check(name, tmp_path, 12)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_many_damaged_annotations(tmp_path, name):
    check(name, tmp_path, 300)
