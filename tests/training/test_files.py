import pickle

import pytest
import torch

from atrous.errors import UsageError
from atrous.tasks import Instances
from atrous.training import files
from atrous.training.files import COLUMNS, Log, columns_of, read_checkpoint, read_rows, write_checkpoint


def test_a_checkpoint_comes_back(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    write_checkpoint(path, {"model": {"w": torch.arange(3.0)}, "state": {"step": 4, "best": None}})
    saved = read_checkpoint(path)
    assert torch.equal(saved["model"]["w"], torch.arange(3.0))
    assert saved["state"] == {"step": 4, "best": None}
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


def test_no_checkpoint_is_none(tmp_path):
    assert read_checkpoint(tmp_path / "last.ckpt") is None


def test_a_failed_write_keeps_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    write_checkpoint(path, {"step": 1})

    def full(content, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.torch, "save", full)
    with pytest.raises(UsageError, match=r"No space left on device.*--resume"):
        write_checkpoint(path, {"step": 2})
    assert read_checkpoint(path)["step"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_full_disk_under_torch_save_is_told(tmp_path, monkeypatch):
    def save(content, file):
        raise RuntimeError("[enforce fail at inline_container.cc:858] . PytorchStreamWriter failed writing file")

    monkeypatch.setattr(files.torch, "save", save)
    with pytest.raises(UsageError, match="cannot be written"):
        write_checkpoint(tmp_path / "last.ckpt", {"step": 1})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"some text"])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"last\.ckpt: is not a readable checkpoint"):
        read_checkpoint(path)


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("ran",))

    path = tmp_path / "last.ckpt"
    torch.save({"format": 1, "x": Evil()}, path, pickle_module=pickle)
    with pytest.raises(UsageError, match="not a readable checkpoint"):
        read_checkpoint(path)


def test_another_format_is_refused(tmp_path):
    torch.save({"format": 0}, tmp_path / "last.ckpt")
    with pytest.raises(UsageError, match="this version"):
        read_checkpoint(tmp_path / "last.ckpt")


def test_a_log_goes_on_after_the_checkpoint(tmp_path):
    path = tmp_path / "log.csv"
    log = Log(path)
    for step in (2, 4, 6):
        log.write({"step": step, "loss": 0.5})
    log.close()
    with path.open("a") as file:
        file.write("8,1.2,3.4,0.0")  # killed in the middle of a row
    log = Log(path, step=4)
    log.write({"step": 6, "loss": 0.25})
    log.sync()
    log.close()
    assert [(row["step"], row["loss"]) for row in read_rows(path)] == [("2", "0.5"), ("4", "0.5"), ("6", "0.25")]
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)


def test_each_row_is_in_the_file_at_once(tmp_path):
    log = Log(tmp_path / "log.csv")
    log.write({"step": 1})
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 2
    log.close()


def test_a_log_gets_the_columns_of_a_new_measure(tmp_path):
    path = tmp_path / "log.csv"
    log = Log(path)
    log.write({"step": 2, "val_mean_iou": 0.5})
    log.close()
    log = Log(path, step=2, columns=columns_of(Instances.measures))
    log.write({"step": 4, "val_mean_iou": 0.6, "val_average_precision": 0.7})
    log.close()
    rows = read_rows(path)
    assert [row["val_mean_iou"] for row in rows] == ["0.5", "0.6"]
    assert [row["val_average_precision"] for row in rows] == ["", "0.7"]
