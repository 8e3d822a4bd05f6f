"""Machine code on disk is used as long as it is that of the source, and no longer."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import atrous

KERNEL = """
import numpy as np
from atrous.compilation import inlined, kernel
from helpers import FACTOR, grow

grow = inlined(grow)

@kernel
def run(values):
    total = 0.0
    for value in values:
        total += grow(value) * FACTOR
    return total

print(run(np.array([1.0, 2.0])), run.stats.cache_hits.total() if run.stats.cache_hits else 0)
"""


def call(folder: Path) -> tuple[float, int]:
    """What a fresh process computes, and how many signatures it found on disk.

    Without bytecode (-B): Python takes a file of the same size, written within the same second, for the old one.
    """
    done = subprocess.run([sys.executable, "-B", "kernels.py"], cwd=folder, capture_output=True, text=True, check=True)
    number, hits = done.stdout.split()
    return float(number), int(hits)


def test_a_changed_helper_changes_the_numbers_although_the_cache_is_there(tmp_path):
    (tmp_path / "kernels.py").write_text(KERNEL)
    (tmp_path / "helpers.py").write_text("FACTOR = 1.0\n\ndef grow(value):\n    return value + 1.0\n")
    assert call(tmp_path) == (5.0, 0)
    assert call(tmp_path) == (5.0, 1)  # from the disk
    (tmp_path / "helpers.py").write_text("FACTOR = 1.0\n\ndef grow(value):\n    return value + 2.0\n")
    assert call(tmp_path) == (7.0, 0)
    (tmp_path / "helpers.py").write_text("FACTOR = 3.0\n\ndef grow(value):\n    return value + 2.0\n")
    assert call(tmp_path) == (21.0, 0)


def start(folder: Path) -> Path:
    """A kernel and its helpers, compiled once; returns the folder of what is kept."""
    (folder / "kernels.py").write_text(KERNEL)
    (folder / "helpers.py").write_text("FACTOR = 1.0\n\ndef grow(value):\n    return value + 1.0\n")
    assert call(folder) == (5.0, 0)
    return folder / "__pycache__"


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", [lambda old: b"", lambda old: old[: len(old) // 2], lambda old: bytes(len(old))])
def test_damaged_machine_code_is_compiled_again_and_kept(tmp_path, kind, damage):
    (file,) = start(tmp_path).glob(f"kernels.run*.{kind}")
    file.write_bytes(damage(file.read_bytes()))
    assert call(tmp_path) == (5.0, 0)
    assert call(tmp_path) == (5.0, 1)


FULL = """
import errno, logging
from pathlib import Path
import numba.core.caching as caching
def refuse(self, name, data):
    raise OSError(errno.ENOSPC, "No space left on device")
caching.IndexDataCacheFile._save_data = refuse
logging.basicConfig()
"""


def test_a_full_disk_is_no_error_of_a_kernel_and_leaves_no_older_code(tmp_path):
    folder = start(tmp_path)
    (tmp_path / "helpers.py").write_text("FACTOR = 1.0\n\ndef grow(value):\n    return value + 2.0\n")
    line = [sys.executable, "-c", f"{FULL}\nimport runpy\nrunpy.run_path('kernels.py')"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "7.0"
    assert "cannot be written (No space left on device)" in done.stderr
    assert not list(folder.glob("kernels.run*.nbi"))


def test_the_kernels_of_the_package_are_kept_where_they_can_be():
    from atrous.images import _kernels

    kernels = [value for value in vars(_kernels).values() if hasattr(value, "_cache")]
    assert kernels
    assert all(value._cache.load_overload.__name__ == "load_or_compile" for value in kernels)


def test_kernels_use_nothing_of_the_package_beyond_their_own_folder():
    root = Path(atrous.__file__).parent
    seen = 0
    for file in root.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
        if not any(node.module == "atrous.compilation" for node in imports):
            continue
        seen += 1
        own = ".".join(["atrous", *file.parent.relative_to(root).parts])
        for node in imports:
            allowed = node.module in ("atrous.compilation", "atrous.types") or node.module.startswith(own)
            assert allowed or not node.module.startswith("atrous"), f"{file}: {node.module} is not in its cache's key"
    assert seen > 5
