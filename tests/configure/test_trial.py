"""Which network is picked for the time there is, with the paces of a machine that is made up."""

from dataclasses import replace

import pytest

from atrous.configure import Machine
from atrous.configure.facts import look
from atrous.configure.network import STEPS_WANTED
from atrous.configure.trial import FEWEST_CROPS, pick_network
from atrous.data import open_folder
from atrous.made import make_cells

CPU = Machine("cpu", 2, 1 << 40, "2 processor cores")
COSTS = {"unet": 2.0e-6, "attention_unet": 1.0e-5}
"""Seconds of a step for each pixel of its batch."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return open_folder(make_cells(tmp_path_factory.mktemp("made") / "cells", count=20, size=128))


@pytest.fixture
def picked(folder):
    """Picks a network for the touching cells, or for what they are said to be."""
    tried = []

    def pace_of(candidate, crop, batch):
        tried.append((candidate.model["name"], batch))
        return COSTS[candidate.model["name"]] * crop[0] * crop[1] * batch

    def pick(seconds, given=None, **changed):
        facts = replace(look(folder), **changed)
        return pick_network(folder, facts, CPU, given or {}, seconds=seconds, pace_of=pace_of)

    pick.tried = tried
    return pick


def test_touching_cells_are_told_apart_at_full_resolution_where_the_time_is_enough(picked):
    found = picked(3600)
    assert found.model["name"] == "attention_unet"
    assert "the borders between objects are a pixel wide" in found.why
    assert not found.small_batch
    assert "unet" not in dict(picked.tried)


@pytest.mark.parametrize("facts", [{}, {"instances": False}, {"channels": 3, "instances": False}])
def test_a_network_that_gets_enough_steps_is_always_kept(picked, facts):
    """For touching objects, and for thin grey and coloured ones."""
    plain = picked(1e6, **facts)
    found = picked(STEPS_WANTED * COSTS["unet"] * 128 * 128 * plain.batch * 1.1, **facts)
    assert found.model["name"] == "unet"
    assert not found.small_batch
    assert "the borders" not in found.why


def test_smaller_batches_give_more_steps_where_even_that_is_too_slow(picked):
    whole = picked(1e6).batch
    seconds = STEPS_WANTED * COSTS["unet"] * 128 * 128 * whole / 3
    found = picked(seconds)
    assert (found.model["name"], found.small_batch, found.batch) == ("unet", True, whole // 3)
    assert seconds / found.pace >= STEPS_WANTED
    assert "steps of small batches in the time" in found.why
    assert picked(seconds / 1000).batch == FEWEST_CROPS


def test_what_is_given_stays(picked):
    found = picked(1.0, {"model": {"name": "attention_unet", "width": 4}, "data": {"batch_size": 7}})
    assert (found.model["width"], found.batch, found.small_batch) == (4, 7, False)
    assert dict(picked.tried) == {"attention_unet": 7}
