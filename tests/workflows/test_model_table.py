"""The lineage: its figures are what the networks cost today, its table and descriptions say them."""

import json
from pathlib import Path

import pytest

from atrous import workflows
from atrous.errors import ModelError, UsageError
from atrous.models import MODELS, paper
from atrous.workflows import lineage as _  # noqa: F401 - the function, whatever module was imported first
from atrous.workflows.model_table import figures_of, known_figures

REFRESH = "the figures of a network have changed: run python -m atrous.workflows.model_table"
KNOWN = known_figures()


def test_figures_are_kept_for_networks_that_exist() -> None:
    assert KNOWN.keys() <= MODELS.keys(), REFRESH
    assert len(KNOWN) > 20


@pytest.mark.parametrize("key", KNOWN)
def test_the_stored_parameters_are_those_of_today(key: str) -> None:
    from atrous.analysis import parameters
    from atrous.reports.model_figures import blank_model

    model = blank_model(key)
    assert (KNOWN[key].num_classes, KNOWN[key].parameters) == (model.num_classes, parameters(model)), REFRESH


QUICK = ("enet", "fcn8s", "deeplabv3_smp")


@pytest.mark.parametrize("key", [pytest.param(key, marks=() if key in QUICK else pytest.mark.slow) for key in KNOWN])
def test_the_stored_figures_are_those_of_today(key: str) -> None:
    assert KNOWN[key] == figures_of(key), REFRESH


def test_the_table_is_sorted_by_year_and_holds_every_network() -> None:
    table = workflows.lineage()
    years = [entry.year for entry in table.entries if entry.year]
    assert years == sorted(years)
    assert sorted(entry.key for entry in table.entries) == sorted(MODELS)
    text = str(table)
    assert " year  name" in f" {text}"
    row = next(line for line in text.splitlines() if " unet2015 " in line)
    assert row.split()[:6] == ["2015", "unet2015", "31,030,658", "246.6", "204", "yes"]
    row = next(line for line in text.splitlines() if " deeplabv3 " in line)
    assert "whole image  no " in row


def test_a_narrow_terminal_breaks_the_ideas_only() -> None:
    table = workflows.lineage()
    wide, narrow = table.to_text(None).splitlines(), table.to_text(120).splitlines()
    assert len(narrow) > len(wide)
    body = narrow[: narrow.index("")]
    assert max(map(len, body)) <= 120
    assert [line for line in body if line.startswith("20")] != []


def test_a_terminal_of_80_columns_has_the_ideas_below_their_rows() -> None:
    lines = workflows.lineage().to_text(80).splitlines()
    assert max(map(len, lines)) <= 80
    row = next(i for i, line in enumerate(lines) if " pspnet " in line)
    assert lines[row + 1] == "      Averages over a pyramid of regions tell every pixel what scene it is in."
    assert lines[0].split()[-2:] == ["exact", "tiles"]


def test_a_network_without_stored_figures_is_worked_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import importlib

    module = importlib.import_module("atrous.workflows.model_table")
    kept = {"enet": KNOWN["enet"]}
    file = tmp_path / "figures.json"
    file.write_text(json.dumps({key: vars(figures) for key, figures in kept.items()}))
    monkeypatch.setattr("atrous.reports.model_figures._figures_file", lambda: file)
    monkeypatch.setattr(module, "MODELS", {key: MODELS[key] for key in ("enet", "segnet_basic")})
    worked_out = {entry.key: entry.figures for entry in module.lineage().entries}
    assert worked_out == {"enet": KNOWN["enet"], "segnet_basic": KNOWN["segnet_basic"]}


def test_figures_of_some_networks_are_written_anew_and_the_others_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from dataclasses import asdict, replace

    from atrous.reports.model_figures import known_figures, write_figures

    file = tmp_path / "figures.json"
    old = replace(KNOWN["enet"], parameters=1)
    file.write_text(json.dumps({"gone": asdict(old), "fcn8s": asdict(KNOWN["fcn8s"]), "enet": asdict(old)}))
    monkeypatch.setattr("atrous.reports.model_figures._figures_file", lambda: file)
    assert write_figures(["enet"]) == file
    assert known_figures() == {key: KNOWN[key] for key in ("fcn8s", "enet")}
    with pytest.raises(ModelError, match="there is no model 'ennet'"):
        write_figures(["ennet"])
    assert list(known_figures()) == [key for key in MODELS if key in ("fcn8s", "enet")]


# ---------- one network


def test_a_description_sets_the_paper_beside_ours() -> None:
    found = workflows.describe("segnet", size=(96, 128))
    text = str(found)
    told = paper("segnet")
    assert told is not None
    for part in (told.title, told.url, told.idea, "29,449,355 (equal)", *told.facts, "encoder.3"):
        assert part in text
    assert "512 x 12 x 16" in text  # the fourth stage's map
    assert found.num_classes == 11


def test_a_count_that_differs_says_by_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    told = paper("segnet_basic")
    assert told is not None
    other = replace(told, num_classes=11, parameters=1_416_000)
    monkeypatch.setattr("atrous.workflows.model_table.paper", lambda name: other)
    monkeypatch.setattr("atrous.reports.model_figures.paper", lambda name: other)
    assert "1,416,000 (+587 here)" in str(workflows.describe("segnet_basic", size=(64, 64)))


def test_a_network_that_sees_everything_says_by_what() -> None:
    text = str(workflows.describe("deeplabv3_smp", size=(64, 64)))
    assert "whole image (by decoder.aspp" in text


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_network_is_drawn(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "made" / f"enet.{kind}"
    workflows.describe("enet", size=(64, 64), out=target)
    assert target.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_wrong_arguments_are_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model 'unett'\. Did you mean 'unet'"):
        workflows.describe("unett")
    with pytest.raises(UsageError, match=r"ends in \.png or \.svg; give -o net\.png"):
        workflows.describe("unet", out=tmp_path / "net.jpg")
    with pytest.raises(UsageError, match="size 0 64: give a height"):
        workflows.describe("unet", size=(0, 64))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        workflows.describe("enet", size=(64, 64), out=tmp_path / "file" / "enet.png")
