"""The report of a run: what is in the folder is on the page, and what is lacking is said."""

import html
import re
import shutil
from pathlib import Path

import pytest

from atrous.errors import UsageError
from atrous.workflows import evaluate, report


def text_of(page: Path) -> str:
    bare = re.sub(r"<style>.*?</style>|<svg.*?</svg>|<[^>]+>", " ", page.read_text(), flags=re.DOTALL)
    return " ".join(html.unescape(bare).split())


def test_the_page_tells_the_run(run: Path, data: Path) -> None:
    page = report(run, device="cpu")
    assert page == run / "report.html"
    text = text_of(page)
    scores = evaluate(run, data, split="val")
    assert f"{scores.summary['mean_iou']:.3f}" in text
    assert f"{scores.summary['iou']['cell']:.3f}" in text
    for words in ("unet2015 on cells", "12 steps", "72 × 88", "uint8, 1 channel", "max_steps: 12", "Processor",
                  "Worst", "Best", f"atrous train {data}"):  # fmt: skip
        assert words in text
    assert page.read_text().count("data:image/") == 4 * 2 + 6 * 2 + 2 * 4  # examples, seen, worst and best
    assert page.read_text().count("<svg") == 3


def test_another_evaluation_may_be_shown(run: Path, data: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "run"))
    tested = evaluate(other, data, split="test", device="cpu")
    text = text_of(report(other, evaluation=tested, device="cpu"))
    assert "Measured on the test images" in text
    assert tested.images[0].name in text


def test_moved_data_costs_the_pictures_alone(run: Path, tmp_path: Path, data: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "run"))
    page = report(other, data=tmp_path / "gone", device="cpu")
    assert "Pictures none:" in text_of(page)
    assert "data:image/" not in page.read_text()
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    assert "data:image/" in report(other, data=moved, device="cpu").read_text()


def test_a_run_without_log_and_evaluation(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "run"))
    for name in ("log.csv", "evaluation.json", "check.json", "environment.json", "recipe.yaml"):
        (other / name).unlink()
    text = text_of(report(other, device="cpu"))
    assert "no log of a training" in text
    assert "has not been evaluated" in text


@pytest.mark.parametrize("name", ["evaluation.json", "check.json"])
def test_a_broken_file_is_named(run: Path, tmp_path: Path, name: str) -> None:
    other = Path(shutil.copytree(run, tmp_path / "run"))
    (other / name).write_text('{"half":')
    with pytest.raises(UsageError, match=rf"{name}: .*again"):
        report(other, device="cpu")


def test_a_folder_that_is_no_run(data: Path) -> None:
    with pytest.raises(UsageError, match="is not a run"):
        report(data)
    assert not (data / "report.html").exists()
