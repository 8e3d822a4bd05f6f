"""The command: quick to answer, light to load, exact in what it hands on, honest in how it ends."""

import ast
import logging
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import typer

from atrous import cli, workflows
from atrous.cli.start import Terminated
from atrous.errors import DataError

COMMANDS = [
    "check", "convert", "demo", "ensemble", "evaluate", "find-lr", "models", "predict", "recipes", "report", "sample",
    "train", "tune-crf", "weights",
]  # fmt: skip


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a command hands to its workflow, which does nothing."""
    seen: dict[str, Any] = {}

    def record(name: str) -> Any:
        def stand_in(*args: Any, **kwargs: Any) -> Any:
            seen.update(kwargs, name=name, args=args)
            return [] if name == "predict" else "done"

        return stand_in

    jobs = ("sample", "check", "train", "evaluate", "predict", "report", "demo", "tune_crf", "find_lr", "ensemble")
    for name in jobs:
        monkeypatch.setattr(workflows, name, record(name))
    monkeypatch.setattr(workflows, "describe_counts", lambda *given: "")
    return seen


@pytest.mark.parametrize("line", ["import atrous.cli; atrous.cli.main(['--help'])", "import atrous.workflows"])
def test_help_and_import_load_nothing_heavy(line: str) -> None:
    heavy = ("torch", "numpy", "timm", "lightning", "torchvision", "matplotlib", "pydantic", "cv2", "PIL", "yaml")
    code = f"{line}\nimport sys; print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_prediction_loads_no_library_of_training() -> None:
    heavy = ("torchmetrics", "matplotlib", "scipy", "lightning", "pandas", "numba")
    code = f"import atrous.inference, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert f" {command} " in out
    assert sorted(typer.main.get_command(cli.app).commands) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"atrous {command}" in out
    assert command == "models" or f"Example: atrous {command}" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from atrous import __version__

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"atrous {__version__}\n"


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "predict" in "".join(capsys.readouterr())


def test_train_hands_on_overrides(handed: dict[str, Any]) -> None:
    line = "train data model.encoder=resnet34 --recipe unet training.max_steps=5 -o runs/a --resume --from b"
    assert cli.main([*line.split(), "--classes", "c", "--budget", "10m", "--folds", "5"]) == 0
    assert handed["args"] == (Path("data"),)
    assert (handed["budget"], handed["folds"]) == ("10m", 5)
    assert handed["overrides"] == ["model.encoder=resnet34", "training.max_steps=5"]
    assert handed["recipe"] == "unet"
    assert handed["out"] == Path("runs/a")
    assert handed["resume"] is True
    assert handed["from_bundle"] == "b"
    assert handed["classes"] == Path("c")


def test_train_needs_nothing_but_data(handed: dict[str, Any]) -> None:
    assert cli.main(["train", "data"]) == 0
    assert (handed["recipe"], handed["out"], handed["overrides"]) == (None, None, [])
    assert (handed["budget"], handed["folds"]) == (None, None)


def test_find_lr_and_ensemble_hand_on(handed: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    line = "find-lr data model.encoder=resnet34 -r unet -o c.svg --steps 50 --classes c"
    assert cli.main(line.split()) == 0
    assert (handed["args"], handed["recipe"], handed["steps"]) == ((Path("data"),), "unet", 50)
    assert (handed["overrides"], handed["out"], handed["classes"]) == (
        ["model.encoder=resnet34"],
        Path("c.svg"),
        Path("c"),
    )
    assert capsys.readouterr().out == "done\n\nwritten: c.svg\n"
    assert cli.main(["ensemble", "runs/a", "runs/b", "-o", "both"]) == 0
    assert handed["args"] == (["runs/a", "runs/b"], Path("both"))
    assert capsys.readouterr().out == "bundle: done\n"


@pytest.mark.parametrize(
    ("given", "margin"), [("exact", "exact"), ("auto", "auto"), ("32", 32), ("-3", -3), ("x", "x")]
)
def test_predict_hands_on_everything(given: str, margin: Any, handed: dict[str, Any]) -> None:
    line = "predict run a.png more/*.tif -o out --overlay --confidence --skip-existing --format tif --tile 64"
    line += " --values index"
    line += " --views hflip,vflip --refine crf:iterations=3 --device cpu --precision float32 --margin"
    assert cli.main([*line.split(), given]) == 0
    assert handed["args"] == ("run", ["a.png", "more/*.tif"], Path("out"))
    assert handed["outputs"] == workflows.PredictionFiles(
        "tif", overlay=True, confidence=True, skip_existing=True, values="index"
    )
    assert (handed["tile"], handed["margin"], handed["views"]) == (64, margin, ["hflip", "vflip"])
    assert (handed["device"], handed["precision"]) == ("cpu", "float32")
    assert handed["refine"] == "crf:iterations=3"


def test_evaluate_hands_on_everything(handed: dict[str, Any]) -> None:
    assert cli.main(["evaluate", "run", "data", "--split", "test", "--tile", "64", "--classes", "c.yaml"]) == 0
    assert handed["args"] == ("run", Path("data"))
    assert (handed["split"], handed["tile"], handed["classes"]) == ("test", 64, Path("c.yaml"))
    assert (handed["refine"], handed["boundary"]) == (None, True)
    assert cli.main(["evaluate", "run", "data", "--refine", "none", "--no-boundary"]) == 0
    assert (handed["refine"], handed["boundary"]) == ("none", False)


def test_tune_crf_hands_on_everything(handed: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    line = "tune-crf run data bilateral_xy=[30,60] iterations=10 --split test --images 7 --device cpu"
    assert cli.main([*line.split(), "--precision", "float32", "--classes", "c.yaml"]) == 0
    assert handed["args"] == ("run", Path("data"))
    assert handed["overrides"] == ["bilateral_xy=[30,60]", "iterations=10"]
    assert (handed["split"], handed["images"], handed["classes"]) == ("test", 7, Path("c.yaml"))
    assert (handed["device"], handed["precision"]) == ("cpu", "float32")
    assert capsys.readouterr().out == "done\n"


def test_other_commands_hand_on(handed: dict[str, Any]) -> None:
    cli.main(["sample", "cells", "out", "--count", "4", "--size", "64", "--seed", "9"])
    assert (handed["args"], handed["count"], handed["size"], handed["seed"]) == (("cells", Path("out")), 4, 64, 9)
    cli.main(["report", "run", "--data", "there"])
    assert (handed["args"], handed["data"]) == ((Path("run"),), Path("there"))
    cli.main(["demo"])
    assert handed["args"] == (Path("demo"),)


def fail(error: BaseException) -> Any:
    def stand_in(*args: Any, **kwargs: Any) -> None:
        raise error

    return stand_in


def test_an_error_of_the_user_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(workflows, "check", fail(DataError("a.png: is broken.\nCopy it again.")))
    assert cli.main(["check", "data"]) == 2
    assert capsys.readouterr().err == "error: a.png: is broken. Copy it again.\n"


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_debug_shows_where_it_came_from(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflows, "check", fail(DataError("a.png: is broken")))
    if how == "variable":
        monkeypatch.setenv("ATROUS_DEBUG", "1")
    with pytest.raises(DataError):
        cli.main(["check", "data", *(["--debug"] if how == "flag" else [])])


def test_an_error_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflows, "check", fail(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["check", "data"])


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(workflows, "check", fail(OSError(28, "No space left on device", "out/a.png")))
    assert cli.main(["check", "data"]) == 2
    assert capsys.readouterr().err.startswith("error: out/a.png: No space left on device; check")


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(workflows, "check", fail(KeyboardInterrupt()))
    assert cli.main(["check", "data"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


WAIT = """
import signal, sys, time
from atrous import cli, workflows
from atrous.cli.start import Terminated
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would this
def check(*_, **__):
    print("at work", file=sys.stderr, flush=True)
    time.sleep(60)
workflows.check = check
sys.exit(cli.main(["check", "data"]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="asks a POSIX system")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_command_in_words(number: int, code: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WAIT], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline() == "at work\n"  # type: ignore[union-attr]
        process.send_signal(number)
        assert process.communicate(timeout=60)[1] == "interrupted\n"
        assert process.returncode == code


def test_what_was_stopped_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workflows, "train", fail(Terminated("stopped at step 7; go on with --resume")))
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["train", "data"]) == 143
    assert capsys.readouterr().err == "interrupted: stopped at step 7; go on with --resume\n"
    assert signal.getsignal(signal.SIGTERM) is before


def leave(line: list[str], work: str = "pass") -> tuple[int, bytes]:
    """Code and errors of a command whose reader has gone."""
    code = f"import sys; from atrous import cli, workflows; {work}; sys.exit(cli.main({line}))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()  # type: ignore[union-attr]
        err = process.stderr.read()  # type: ignore[union-attr]
        return process.wait(timeout=60), err


@pytest.mark.parametrize("line", [["models"], ["--help"], ["--version"]])
def test_a_reader_that_leaves_is_no_error(line: list[str]) -> None:
    assert leave(line) == (0, b"")


FOUND = """
class Found:
    errors = ["one"]
    def write(self, path):
        path.write_text("written")
        return path
    def __str__(self):
        return "x" * 1_000_000
workflows.check = workflows.evaluate = lambda *_, **__: Found()
"""


def test_a_reader_that_leaves_changes_neither_the_code_nor_the_file(tmp_path: Path) -> None:
    work = f"exec({FOUND!r})"
    assert leave(["check", "data"], work) == (2, b"")
    file = tmp_path / "evaluation.json"
    assert leave(["evaluate", "bundle", "data", "-o", str(file)], work) == (0, b"")
    assert file.read_text() == "written"


@pytest.mark.skipif(sys.platform == "win32", reason="asks a POSIX shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_was_closed_before_is_no_error(closed: str) -> None:
    code = "import sys; from atrous.cli import main; sys.exit(main(['--version']) or main(['check', '/nowhere']))"
    done = subprocess.run(
        ["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, code], capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"Traceback" not in done.stdout + done.stderr


EVIL = "a\x1b]0;owned\x07\x1b[2Jb\x9b31m\r"
SHOWN = "a\\x1b]0;owned\\x07\\x1b[2Jb\\x9b31m\\x0d"


def test_names_do_nothing_to_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Names of files and classes come in reports, errors, warnings and the log."""

    def check(*_: Any, **__: Any) -> None:
        logging.getLogger("atrous.test").warning("log %s", EVIL)
        warnings.warn(f"warning {EVIL}", stacklevel=1)
        raise DataError(f"error \udcff {EVIL}")  # a byte of a name that is no UTF-8

    monkeypatch.setattr(workflows, "check", check)
    assert cli.main(["check", "data"]) == 2
    monkeypatch.setattr(
        workflows, "check", lambda *_, **__: type("Report", (), {"errors": (), "__str__": lambda _: EVIL})()
    )
    assert cli.main(["check", "data"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{SHOWN}\n"
    assert [line.partition(" ")[0] for line in err.splitlines()] == ["log", "warning:", "error:"]
    assert err.count(SHOWN.removesuffix("\\x0d")) == 3
    assert "error: error \\udcff a" in err
    assert "\x1b" not in err


def test_commands_speak_through_one_place() -> None:
    for file in (Path(cli.__file__).parent).glob("*.py"):
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        direct = [
            call.lineno for call in calls if ast.unparse(call.func) in ("print", "typer.echo", "sys.stdout.write")
        ]
        assert not direct or file.name == "saying.py", f"{file.name}: {direct}"


def test_models_lists_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    from atrous.models import MODELS, paper

    assert cli.main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = lines[1 : lines.index("")]
    assert all(f"  {name} " in "\n".join(rows) for name in MODELS)
    assert len(rows) == len(MODELS)
    for line in rows:
        told = paper(line.split()[1]) if line.split()[1] in MODELS else None
        if told is not None:
            assert line.split()[0] == str(told.year)
            assert line.endswith(told.idea)


def test_models_shows_and_draws_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "enet.svg"
    assert cli.main(["models", "enet", "--size", "64", "96", "-o", str(target)]) == 0
    out = capsys.readouterr().out
    assert "network" in out
    assert "x 64 x 96" in out
    assert out.endswith(f"written: {target}\n")
    assert target.is_file()


def test_models_draws_one_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "-o", "all.png"]) == 2
    assert "one network is drawn at a time; name it" in capsys.readouterr().err


def test_check_exits_by_what_it_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sample", "cells", str(tmp_path / "cells"), "--count", "6", "--size", "64"]) == 0
    assert cli.main(["check", str(tmp_path / "cells")]) == 0
    images = tmp_path / "cells" / "images"
    (tmp_path / "cells" / "masks" / "stray.png").write_bytes((images / "cells_00000.png").read_bytes())
    (tmp_path / "cells" / "train.txt").write_text("cells_00000\ncells_00000\n")
    capsys.readouterr()
    assert cli.main(["check", str(tmp_path / "cells")]) == 0
    assert "warning [" in capsys.readouterr().out
    (images / "cells_00000.png").write_text("no image")
    assert cli.main(["check", str(tmp_path / "cells")]) == 2
    assert "error [" in capsys.readouterr().out


def test_a_warning_is_one_line_and_the_process_is_left_as_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warn(*args: Any, **kwargs: Any) -> None:
        warnings.warn("seams differ\nby 0.1", RuntimeWarning, stacklevel=1)

    before = warnings.showwarning
    monkeypatch.setattr(workflows, "report", warn)
    assert cli.main(["report", "run"]) == 0
    assert capsys.readouterr().err == "warning: seams differ by 0.1\n"
    assert warnings.showwarning is before


def test_train_says_where_its_recipe_comes_from() -> None:
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    helps = {
        name: next(option.help for option in commands[name].params if option.name == "recipe")
        for name in ("train", "find-lr")
    }
    assert "Default: one made from the data." in helps["train"]
    assert "Default: unet." in helps["find-lr"]
