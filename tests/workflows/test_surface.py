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
    code += "assert w.evaluate is atrous.evaluate and w.Evaluation and w.Outputs and w.ImageResult\n"
    code += "assert w.Run and w.Part and w.RateSearch\n"
    code += "assert w.Tuning and type(w.tune_crf).__name__ == 'function'\n"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    from atrous import workflows

    with pytest.raises(AttributeError, match="nothing"):
        _ = workflows.nothing
