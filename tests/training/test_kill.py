import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kill_resume.py")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 needs a POSIX system")


@pytest.mark.slow
def test_three_runs_killed_at_random_moments_resume_to_the_same_bits():
    """All twenty: python tests/training/kill_resume.py --count 20 --fresh."""
    # The runs use every core, as a user's do. Beside other tests their threads sleep while they wait for each other:
    # a thread that spins keeps the one that it waits for from its core, and most of the time goes there.
    found = subprocess.run(
        [sys.executable, str(SCRIPT), "--count", "3"],
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "3 of 3 equal" in found.stdout
