"""The report of a run: what is in the folder is on the page, and what is lacking is said."""

import html
import re
import shutil
from pathlib import Path

import pytest

from atrous import cli
from atrous.errors import BundleError, UsageError
from atrous.workflows import ensemble, evaluate, predict, report, train, tune_crf


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


def test_a_good_report_is_not_replaced_by_a_poorer_one(run: Path, tmp_path: Path, data: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "run"))
    before = (other / "report.html").read_text()
    words = r"report\.html: stays as it is: .* without pictures, because .*gone: .*--data"
    with pytest.raises(UsageError, match=words):
        report(other, data=tmp_path / "gone", device="cpu")
    assert (other / "report.html").read_text() == before
    other_images = Path(shutil.copytree(data, tmp_path / "other"))
    for file in other_images.rglob("*.*"):
        file.rename(file.with_name(f"other-{file.name}"))
    with pytest.raises(UsageError, match=r"none of the \d+ images of the evaluation\. .*--data"):
        report(other, data=other_images, device="cpu")
    assert (other / "report.html").read_text() == before
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    assert "data:image/" in report(other, data=moved, device="cpu").read_text()


def test_without_a_report_numbers_alone_are_better_than_nothing(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Path(shutil.copytree(run, tmp_path / "run"))
    (other / "report.html").unlink()
    page = report(other, data=tmp_path / "gone", device="cpu")
    assert "Pictures none:" in text_of(page)
    assert "data:image/" not in page.read_text()
    assert "the report is without pictures, because" in caplog.text


def test_the_data_is_found_from_any_folder(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However run and data are named, and when both move together; in older runs too."""
    place = tmp_path / "project"
    shutil.copytree(data, place / "my data")
    other = Path(shutil.copytree(run, place / "runs" / "run"))
    monkeypatch.chdir(place)
    begin_again(other, "my data")
    monkeypatch.chdir(tmp_path)
    for name in (Path("project/runs/run"), other):
        page = report(name, device="cpu")
        assert "data:image/" in page.read_text()
        assert f"atrous train '{place / 'my data'}'" in text_of(page)
    place.rename(tmp_path / "moved")
    assert "data:image/" in report(tmp_path / "moved" / "runs" / "run", device="cpu").read_text()
    (tmp_path / "moved" / "runs" / "run" / "run.json").write_text('{"data": "my data", "from": null, "classes": null}')
    assert "data:image/" in report(tmp_path / "moved" / "runs" / "run", device="cpu").read_text()


def begin_again(run: Path, data: str) -> None:
    from atrous.recipe import load_recipe
    from atrous.workflows.run_folders import begin

    (run / "run.json").unlink()
    begin(run, load_recipe(run / "recipe.yaml"), {"data": data, "from": None, "classes": None})


@pytest.mark.parametrize("place", ["run", "run/bundle"])
def test_an_unfinished_run_is_said_to_be_unfinished(run: Path, data: Path, tmp_path: Path, place: str) -> None:
    other = Path(shutil.copytree(run, tmp_path / "run"))
    shutil.rmtree(other / "bundle")
    words = rf"run: the training of this run is not finished \(it stands at step 12\).*train {data} -o .*run --resume"
    for command, named in ((evaluate, place), (tune_crf, "run")):
        with pytest.raises(BundleError, match=words):
            command(tmp_path / named, data)
    with pytest.raises(BundleError, match=words):
        predict(tmp_path / place, data / "images", tmp_path / "masks")
    with pytest.raises(BundleError, match=words):
        ensemble([run, tmp_path / place], tmp_path / "both")
    with pytest.raises(UsageError, match=words):
        report(other)
    (other / "log.csv").unlink()
    (other / "run.json").unlink()
    with pytest.raises(BundleError, match=r"\(it stands at its beginning\).*train DATA"):
        evaluate(tmp_path / place, data)


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


def test_a_run_that_learned_nothing_says_so_everywhere(
    run: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard output, on top of the report, and in the model card."""
    hardly, nothing = "HARDLY TRAINED, 12 STEPS IN ALL", "THE NETWORK HAS LEARNED NOTHING OF USE"
    assert cli.main(["train", str(data), "-o", str(run), "--resume"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"WARNING: {hardly}")
    assert cli.main(["evaluate", str(run), str(data)]) == 0
    evaluated = capsys.readouterr().out
    collapsed = evaluate(run, data).caution != ""
    assert evaluated.startswith(f"WARNING: {nothing}") == collapsed
    page, card = report(run, device="cpu").read_text(), (run / "bundle" / "README.md").read_text()
    for text in (page.partition("</header>")[0], card.partition("## Use it")[0]):
        assert hardly in text
        assert (nothing in text) == collapsed
    assert "cautions" not in card


def test_the_time_that_is_too_short_is_told_before_the_training(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = ["model={name: unet2015, width: 2}", "data={crop: 64, workers: 0}", "training.device=cpu"]
    done = train(data, recipe="unet2015", out=tmp_path / "run", overrides=short, budget="0.2s", evaluate=False)
    assert "FIT INTO THE TIME" in caplog.text
    assert "HARDLY TRAINED" in done.caution
    tuned = train(
        data, recipe="unet2015", out=tmp_path / "tuned", from_bundle=done.out, evaluate=False,
        overrides=[*short, "training.max_steps=2"],
    )  # fmt: skip
    assert tuned.caution == ""
