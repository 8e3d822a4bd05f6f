"""The names of the workflows are functions, whatever was imported first."""

import subprocess
import sys

import pytest

JOBS = ["check", "demo", "ensemble", "evaluate", "find_lr", "lineage", "predict", "report", "sample", "train"]


@pytest.mark.parametrize(
    "before",
    ["", "import atrous.workflows.evaluation", "from atrous.workflows.reporting import report",
     "import atrous.workflows.training, atrous.workflows.demonstration, atrous.workflows.prediction",
     "import atrous.workflows.rate_search, atrous.workflows.folds"],
)  # fmt: skip
def test_names_are_functions(before: str) -> None:
    code = f"{before}\nimport atrous, atrous.workflows as w\n"
    code += f"assert all(type(getattr(w, name)).__name__ == 'function' for name in {JOBS})\n"
    code += "assert w.evaluate is atrous.evaluate and w.Evaluation and w.PredictionFiles and w.ImageResult\n"
    code += "assert w.Run and w.RunPart and w.RateSearch\n"
    code += "assert w.Tuning and type(w.tune_crf).__name__ == 'function'\n"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    from atrous import workflows

    with pytest.raises(AttributeError, match="nothing"):
        _ = workflows.nothing


def test_each_job_of_a_notebook_is_found_at_the_top() -> None:
    import atrous
    from atrous import workflows

    for name in ("check", "convert", "evaluate", "predict", "report", "sample", "train", "tune_crf"):
        assert getattr(atrous, name) is getattr(workflows, name)
        assert name in atrous.__all__
    for name in (*atrous.__all__, *dir(atrous)):
        assert getattr(atrous, name) is not None or name.startswith("__")
    with pytest.raises(AttributeError, match="'atrous' has no attribute 'segment'"):
        _ = atrous.segment


def test_the_top_imports_the_standard_library_alone() -> None:
    code = (
        "import sys\nbefore = set(sys.modules)\nimport atrous\nnew = {name.partition('.')[0] for name in sys.modules}"
    )
    code += "\nassert new - {name.partition('.')[0] for name in before} - sys.stdlib_module_names == {'atrous'}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_version_is_that_of_the_package() -> None:
    import tomllib
    from pathlib import Path

    import atrous

    project = Path(__file__).parents[2] / "pyproject.toml"
    assert atrous.__version__ == tomllib.loads(project.read_text())["project"]["version"]
