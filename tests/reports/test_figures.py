"""Curves: well-formed, themed, and of the numbers that were measured."""

import math
import re
from xml.etree import ElementTree

import pytest

from atrous.reports.figures import learning_curves, series

LOG = [
    {"step": str(s), "loss": f"{1 / (1 + s):.4f}", "lr": "0.01", "val_loss": "", "val_mean_iou": score}
    for s in range(1, 101)
    for score in [f"{s / 100}" if s % 20 == 0 else ""]
]


def test_one_figure_for_each_thing_measured() -> None:
    titles = [figure.title for figure in learning_curves(LOG)]
    assert titles == ["Loss", "Mean IoU on validation images", "Learning rate"]
    assert learning_curves([]) == []
    assert [figure.title for figure in learning_curves([{"step": 5, "val_mean_iou": 0.5}])] == [
        "Mean IoU on validation images"
    ]


def test_an_adversary_has_figures_of_its_own() -> None:
    rows = [
        {**row, "adversary_loss": "1.2", "adversary_real": "0.7", "adversary_fake": f"{0.3 + index / 1000:.3f}"}
        for index, row in enumerate(LOG)
    ]
    figures = {figure.title: figure for figure in learning_curves(rows)}
    assert {"Loss of the adversary", "What the adversary believes"} < set(figures)
    assert "outputs with 0.40" in figures["What the adversary believes"].svg
    empty = [{**row, "adversary_loss": "", "adversary_real": "", "adversary_fake": ""} for row in LOG]
    assert len(learning_curves(empty)) == 3


def test_figures_are_xml_without_fixed_colors_and_ids_do_not_meet() -> None:
    ids: list[str] = []
    for figure in learning_curves(LOG):
        root = ElementTree.fromstring(figure.svg)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        ids += [node.get("id", "") for node in root.iter() if node.get("id")]
        assert "#0101" not in figure.svg
        assert "var(--" in figure.svg
        for reference in re.findall(r"url\(#([^)]+)\)", figure.svg):
            assert reference in ids
    assert len(ids) == len(set(ids))


def test_the_best_score_is_told_to_those_who_do_not_see() -> None:
    assert "best 1.000 at step 100" in learning_curves(LOG)[1].svg


@pytest.mark.parametrize("odd", [math.inf, math.nan, "nan", "", None, "x"])
def test_what_is_no_number_is_left_out(odd: object) -> None:
    assert series([{"step": 1, "loss": odd}, {"step": 2, "loss": 3}], "loss") == ([2.0], [3.0])
    log = [*LOG, {"step": 101, "loss": odd, "lr": odd, "val_loss": odd, "val_mean_iou": odd}]
    assert len(learning_curves(log)) == 3


def test_scores_that_never_move_can_be_drawn() -> None:
    log = [{"step": s, "loss": 0.0, "lr": 0.0, "val_mean_iou": 0.0, "val_loss": 0.0} for s in range(5)]
    assert len(learning_curves(log)) == 3
