"""The page: complete in itself, small enough to mail, true to what it was given, and at ease in a narrow window."""

import html
import json
import re
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from shutil import which

import numpy as np
import pytest
import torch

from atrous.errors import UsageError
from atrous.metrics import summarize
from atrous.reports import Panel, ReportContent, write_report
from atrous.reports.page import MAX_BYTES

CHROMIUM = which("chromium") or which("chromium-browser") or which("google-chrome")


def content(num_classes: int = 2, size: int = 64) -> ReportContent:
    rng = np.random.default_rng(0)
    names = [f"class {k}" for k in range(num_classes)]
    matrix = rng.integers(0, 50, (num_classes, num_classes)) + 1000 * np.eye(num_classes, dtype=np.int64)

    def panel(name: str) -> Panel:
        truth = rng.integers(0, num_classes, (size, size)).astype(np.uint8)
        truth[:4] = 255
        image = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        return Panel(name, image, truth, np.roll(truth, 1, 1) % num_classes, 0.5)

    return ReportContent(
        title="A run",
        class_names=names,
        colors=[(k % 256, 80, 200 - k % 200) for k in range(num_classes)],
        lead="It went well.",
        headline=[("Mean IoU", "0.912", "of two classes"), ("Device", "NVIDIA H200, bfloat16", "one of them")],
        data_facts=[("Folder", "/a/very/long/path" * 12)],
        shares=[1 / num_classes] * num_classes,
        examples=[panel("left")],
        findings=[{"severity": "warning", "file": "images/a.png", "message": "is odd", "fix": "Look at it."}],
        log=[{"step": s, "loss": 1 / (s + 1), "lr": 0.1, "val_mean_iou": s / 10} for s in range(10)],
        evaluation={"split": "val", "matrix": matrix.tolist(), "summary": summarize(torch.from_numpy(matrix), names)},
        best=[panel("good one")],
        worst=[panel("bad one")],
        environment=[("Machine", "a computer")],
        command="atrous train data --recipe unet -o run",
        recipe="model: {name: unet}\n",
    )


class Reader(HTMLParser):
    """Gathers what a page refers to, its text, and its open elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.links: list[str] = []
        self.alts: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"]] if given.get("id") else []
        if tag == "img":
            self.sources.append(given["src"] or "")
            self.alts.append(given.get("alt") or "")
        if tag in ("a", "link"):
            self.links.append(given.get("href") or "")
        assert tag not in ("script", "iframe", "object")

    def handle_data(self, data: str) -> None:
        self.text += data


def page(tmp_path: Path, told: ReportContent) -> str:
    return write_report(tmp_path / "report.html", told).read_text(encoding="utf-8")


def test_the_page_needs_nothing_outside_itself(tmp_path: Path) -> None:
    text = page(tmp_path, content())
    reader = Reader(text)
    assert len(reader.sources) == 2 + 4 + 4
    assert all(source.startswith("data:image/") for source in reader.sources)
    assert all(reader.alts)
    assert all(link.startswith(("#", "data:")) for link in reader.links)
    assert not re.search(r"url\((?!#)|@import", text)
    assert len(reader.ids) == len(set(reader.ids))
    assert {link[1:] for link in reader.links if link.startswith("#")} <= set(reader.ids)
    assert list(tmp_path.iterdir()) == [tmp_path / "report.html"]


def test_the_page_tells_what_it_was_given(tmp_path: Path) -> None:
    told = content()
    text = Reader(page(tmp_path, told)).text
    given = ["A run", "It went well.", "0.912", "Is odd.", "Look at it.", "images/a.png", "class 1", "good one"]
    given += ["bad one", "a computer", "atrous train data --recipe unet -o run", "model: {name: unet}"]
    for words in given:
        assert words in text
    assert f"{told.evaluation['summary']['iou']['class 1']:.3f}" in text
    share = np.asarray(told.evaluation["matrix"])[0] / np.sum(told.evaluation["matrix"][0])
    assert f"{100 * share[1]:.1f} %" in text


def test_before_and_after_a_refinement(tmp_path: Path) -> None:
    told = content()
    panel = told.best[0]
    before = panel.predicted.copy()
    before[:8] = 1 - before[:8]  # an eighth of the pixels
    told = replace(told, refined=[replace(panel, unrefined=before)], refinement="crf:bilateral_xy=60")
    reader = Reader(page(tmp_path, told))
    assert len(reader.sources) == 2 + 4 + 4 + 4
    assert {"#refined"} <= set(reader.links)
    assert "refined" in reader.ids
    for words in ("Before and after refinement", "crf:bilateral_xy=60", "12.50 % of the pixels changed", "right only"):
        assert words in reader.text
    plain = Reader(page(tmp_path, content()))
    assert "refined" not in plain.ids
    assert "#refined" not in plain.links


def test_boundary_scores_have_a_column_where_they_were_measured(tmp_path: Path) -> None:
    told = content()
    assert "Boundary F1" not in Reader(page(tmp_path, told)).text
    summary = {**told.evaluation["summary"], "boundary_f1": {"class 0": 0.123, "class 1": float("nan")}}
    text = Reader(page(tmp_path, replace(told, evaluation={**told.evaluation, "summary": summary}))).text
    assert "Boundary F1" in text
    assert "0.123" in text


def test_precision_recall_and_dice_stand_beside_the_iou(tmp_path: Path) -> None:
    matrix = torch.tensor([[90, 10], [5, 20]])
    summary = summarize(matrix, ["class 0", "class 1"])
    text = page(
        tmp_path, replace(content(), evaluation={"split": "val", "matrix": matrix.tolist(), "summary": summary})
    )
    for title, value in (("IoU", 20 / 35), ("Dice", 40 / 55), ("Precision", 20 / 30), ("Recall", 20 / 25)):
        assert f'data-of="{title}">{value:.3f}<' in text


def test_errors_have_a_legend_and_the_commonest_class_is_not_painted(tmp_path: Path) -> None:
    text = Reader(page(tmp_path, replace(content(), bare=0))).text
    for words in ("class 0 (not painted)", "missed", "false alarm: no such thing there", "ignored"):
        assert words in text
    assert "taken for another class" not in text  # there is none
    assert "taken for another class" in Reader(page(tmp_path, replace(content(3), bare=0))).text
    plain = Reader(page(tmp_path, content(3))).text
    assert "not painted" not in plain
    assert "missed: given to a commoner class" in plain
    assert "wrong class" in Reader(page(tmp_path, replace(content(3), shares=[]))).text


def test_cautions_come_first(tmp_path: Path) -> None:
    text = page(tmp_path, replace(content(), cautions=["HARDLY <TRAINED>"]))
    assert text.index("HARDLY &lt;TRAINED&gt;") < text.index("It went well.")


def test_names_cannot_break_the_page(tmp_path: Path) -> None:
    told = replace(content(), title="<script>alert(1)</script>", class_names=["a<b", 'c"d'], recipe="</pre><script>")
    told = replace(told, evaluation={**told.evaluation, "summary": {"iou": {"a<b": 0.5, 'c"d': 0.25}, "accuracy": {}}})
    reader = Reader(page(tmp_path, told))  # fails on a script element
    assert "<script>alert(1)</script>" in reader.text
    assert "0.250" in reader.text


def test_a_run_without_log_evaluation_or_pictures_says_so(tmp_path: Path) -> None:
    text = Reader(page(tmp_path, ReportContent("Bare", ["a"], [(0, 0, 0)]))).text
    for words in (
        "no log of a training",
        "has not been evaluated",
        "no evaluated images",
        "no recipe",
        "No check of the files",
    ):
        assert words in text


def test_an_undefined_score_is_a_dash(tmp_path: Path) -> None:
    matrix = torch.tensor([[5, 0, 0], [1, 4, 0], [0, 0, 0]])
    summary = summarize(matrix, ["class 0", "class 1", "class 2"])
    told = replace(content(3), evaluation={"split": "val", "matrix": matrix.tolist(), "summary": summary})
    text = page(tmp_path, told)
    assert "nan" not in Reader(text).text.lower()
    assert "–" in Reader(text).text


@pytest.mark.parametrize("num_classes", [1, 9, 41, 150])
def test_any_number_of_classes(tmp_path: Path, num_classes: int) -> None:
    text = Reader(page(tmp_path, content(num_classes))).text
    assert f"class {num_classes - 1}" in text
    assert ("commonest mistakes" in text) == (num_classes > 2)


def test_pictures_shrink_until_the_page_can_be_mailed(tmp_path: Path) -> None:
    told = content(size=900)
    large = [replace(told.worst[0], name=str(i)) for i in range(8)]
    text = page(tmp_path, replace(told, worst=large, best=large))
    assert 200_000 < len(text.encode()) <= MAX_BYTES
    assert len(Reader(text).sources) == 2 + 4 * 16


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(UsageError, match=r"report\.html: cannot be written \(Is a directory\)"):
        write_report(tmp_path / "report.html", content())
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


MEASURE = """<!doctype html><meta charset="utf-8"><body>
<iframe id="f" width="390" height="3000" srcdoc="{page}"></iframe>
<script>
const errors = []; window.onerror = (m) => errors.push(m);
document.getElementById("f").onload = () => {{
  const d = document.getElementById("f").contentDocument, w = d.documentElement;
  const wide = [...d.querySelectorAll("body *")].filter(e => !e.closest(".scroll, pre, svg")
    && e.getBoundingClientRect().right > w.clientWidth + 1).map(e => e.tagName + "." + e.className);
  const cut = [...d.querySelectorAll(".scroll, table")].map(e => [e.className, e.scrollWidth, e.clientWidth])
    .filter(([name, all, seen]) => all > seen + 1 || all > 390);
  const broken = [...d.images].filter(i => !i.naturalWidth).length;
  document.body.innerHTML = "<p id=told>" + JSON.stringify(
    {{scroll: w.scrollWidth, client: w.clientWidth, height: w.scrollHeight, wide, cut, broken, errors}}) + "</p>";
}};
</script></body>"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
@pytest.mark.parametrize("num_classes", [2, 5, 12, 40])
def test_in_a_narrow_window_nothing_sticks_out(tmp_path: Path, num_classes: int) -> None:
    told = page(tmp_path, content(num_classes)).replace(' loading="lazy"', "")
    frame = tmp_path / "frame.html"
    frame.write_text(MEASURE.format(page=html.escape(told, quote=True)), encoding="utf-8")
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    options += " --disable-component-update --disable-sync --enable-logging=stderr"
    command = [
        str(CHROMIUM),
        *options.split(),
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=8000",
        "--dump-dom",
    ]
    command.append(frame.as_uri())
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<p id="told">(.*?)</p>', done.stdout)
    assert found, done.stdout[-500:]
    measured = json.loads(html.unescape(found[1]))
    assert measured["height"] > 1000
    assert measured["scroll"] <= measured["client"] <= 390
    assert measured["wide"] == []
    assert measured["cut"] == []
    assert measured["broken"] == 0
    assert measured["errors"] == []
    assert "CONSOLE" not in done.stderr
