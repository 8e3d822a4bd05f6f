"""What is written may be read by whom the user's mask lets read it, weights too."""

import os
import stat

import pytest

from atrous.workflows import predict


@pytest.mark.skipif(os.name != "posix", reason="asks a POSIX system")
def test_all_files_have_the_permissions_of_new_ones(run, data, tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    predict(run, data / "images", tmp_path / "masks")
    found = [path for folder in (run, tmp_path) for path in folder.rglob("*") if path.is_file()]
    assert {"model.safetensors", "last.ckpt", "report.html"} <= {path.name for path in found}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {stat.S_IMODE(plain.stat().st_mode)}
