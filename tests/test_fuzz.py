"""A slice of the fuzzer: three damaged files of every kind, through the commands that read them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory as Linux tells it")


def environment() -> dict[str, str]:
    paths = [str(ROOT / "src"), str(ROOT)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_damaged_files_end_in_an_error_that_names_them(tmp_path: Path) -> None:
    """All of them: python -m benchmarks.fuzz."""
    line = [sys.executable, "-m", "benchmarks.fuzz", "--count", "45", "--place", str(tmp_path)]
    done = subprocess.run(
        line, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=1500, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("45 files, "), done.stdout
    assert done.stdout.splitlines()[-1].endswith(" 0 wrong."), done.stdout


def test_the_damage_of_a_case_is_always_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.fuzz_damage import damage
    from benchmarks.fuzz_files import FORMATS, make_case

    for name in ("png", "tiff in strips", "numpy", "nifti", "coco", "classes.yaml"):
        found = []
        for again in "ab":
            rng = np.random.default_rng([0, list(FORMATS).index(name)])
            case = make_case(name, tmp_path / again / name, rng)
            sound = case.target.read_bytes()
            found.append((case.target.name, damage(case.target, rng), case.target.read_bytes()))
            assert case.target.read_bytes() != sound
        assert found[0] == found[1]
