"""Damaged files through the commands: no traceback, no hang, no memory that grows, and every error names its file.

    python -m benchmarks.fuzz [--count 2000] [--seed 0] [--only FORMAT] [--place FOLDER]

Case K of a seed is always the same: a small data set in one of the formats of `fuzz_files`, one of its files damaged,
and every command that reads that file. The commands run in a process that has imported everything once and is replaced
when it dies, hangs or grows. What was found stands in FOLDER/cases.jsonl; a run that was stopped goes on there.
"""

import argparse
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzz_damage import damage
from benchmarks.fuzz_files import FORMATS, Case, make_case
from benchmarks.harness import keep_rows

SECONDS, GROWTH = 20.0, 300.0
"""Of the processor, and MB of memory, that a command may take on images of 24 x 32 pixels."""
PATIENCE = 180.0
"""Seconds of a clock after which a command that does nothing is ended."""
TOO_MUCH = 2000.0
"""MB of growth at which a command is ended, so that the machine lives on."""
COMMANDS = 400
"""That a process runs before another takes its place."""

RECIPE = """\
model:     {name: unet2015, width: 2}
data:      {crop: 16, batch_size: 2, workers: 0, augment: [{name: horizontal_flip}]}
optimizer: {name: adamw, lr: 0.001}
schedule:  {name: poly}
training:  {max_steps: 3, device: cpu, precision: float32, log_every: 1, validate_every: 2}
"""
BUNDLES = {"colour": (3, "uint8"), "grey16": (1, "uint16"), "plain": (1, "float32")}


# ---------- the process that runs commands


def serve() -> None:
    """Run the commands that come as lines of JSON, and answer each with what it took."""
    import torch

    torch.set_num_threads(1)
    from atrous.cli import main as command

    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        job = json.loads(line)
        with Path(job["output"]).open("w+b") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            before, began = memory(os.getpid())[0], time.process_time()
            try:
                code: Any = command(job["arguments"])
            except BaseException:
                import traceback

                traceback.print_exc()
                code = "traceback"
            sys.stdout.flush()
            sys.stderr.flush()
        took = time.process_time() - began
        growth = memory(os.getpid())[1] - before
        answers.write(json.dumps({"code": code, "seconds": took, "growth": growth}) + "\n")
        answers.flush()


def memory(process: int) -> tuple[float, float]:
    """MB of memory that a process holds, and the most that it held."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    found = {line.split(":")[0]: int(line.split()[1]) / 1000 for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return found.get("VmRSS", 0.0), found.get("VmHWM", 0.0)


def processor_seconds(process: int) -> float:
    """Of the processor that a process has used."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Worker:
    """A process that runs commands one after the other."""

    def __init__(self, place: Path) -> None:
        self.place, self.output = place, place / "output.txt"
        self._process, self._count = self._start(), 0

    def _start(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "benchmarks.fuzz", "--serve"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def warm(self) -> None:
        """Import what commands import, on account of none of them."""
        case = Case(self.place / "warm", self.place / "warm" / "images" / "im0.png", "colour")
        if case.data.exists():
            with tempfile.TemporaryDirectory(dir=self.place) as folder:
                for _, arguments in commands(case, self.place, Path(folder)):
                    self._ask(arguments)

    def run(self, arguments: list[str]) -> dict[str, Any]:
        """What became of a command: code, seconds, growth, text; its code is a word where it was ended."""
        if self._count >= COMMANDS or self._process.poll() is not None:
            self.close()
            self._process, self._count = self._start(), 0
            self.warm()
        self._count += 1
        return self._ask(arguments)

    def _ask(self, arguments: list[str]) -> dict[str, Any]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"arguments": arguments, "output": str(self.output)}) + "\n")
        process.stdin.flush()
        found = self._watch(process)
        text = self.output.read_text(errors="replace") if self.output.exists() else ""
        return {**found, "text": text}

    def _watch(self, process: "subprocess.Popen[str]") -> dict[str, Any]:
        assert process.stdout is not None
        began, used, held = time.monotonic(), processor_seconds(process.pid), memory(process.pid)[0]
        first = self._count <= 1  # imports are on its account
        while not select.select([process.stdout], [], [], 0.1)[0]:
            seconds, growth = processor_seconds(process.pid) - used, memory(process.pid)[0] - held
            code = ""
            if seconds > SECONDS * (4 if first else 1) or time.monotonic() - began > PATIENCE:
                code = "hang"
            elif growth > TOO_MUCH + (1000 if first else 0):
                code = "growth"
            if code:
                process.kill()
                process.wait()
                return {"code": code, "seconds": seconds, "growth": growth}
        line = process.stdout.readline()
        if not line:
            process.wait()
            died = f"died: {signal.Signals(-process.returncode).name}" if process.returncode < 0 else "died"
            return {"code": died, "seconds": 0.0, "growth": 0.0}
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


# ---------- cases


def prepare(place: Path, worker: Worker) -> None:
    """Sound bundles, and a sound run; each command once, so that all kernels are compiled."""
    from atrous import create_model, save_bundle

    (place / "recipe.yaml").write_text(RECIPE)
    for name, (channels, dtype) in BUNDLES.items():
        model = create_model("unet2015", num_classes=2, in_channels=channels, width=2).eval()
        save_bundle(place / f"{name}.bundle", model, class_names=("background", "foreground"), dtype=dtype)
    for name in FORMATS:
        folder = place / "sound" / name.replace(" ", "-")
        if name == "run":
            continue
        case = make_case(name, folder / "data", np.random.default_rng(0))
        complete(case, place)
        for reads, arguments in commands(case, place, folder):
            found = worker.run(arguments)
            assert found["code"] == 0, f"{name}, {reads}: {found}"
            if name == "png" and reads == "train":
                shutil.copytree(folder / "run", place / "run")
                shutil.copytree(folder / "data", place / "warm")
    shutil.rmtree(place / "sound")


def complete(case: Case, place: Path) -> None:
    """Add to a data set the recipe, bundle or run that is to be damaged."""
    root = case.data
    if case.target.name == "recipe.yaml" and case.target.parent == root:
        shutil.copyfile(place / "recipe.yaml", case.target)
    elif case.target.parent.name == "bundle":
        shutil.copytree(place / "colour.bundle", root / "bundle")
    elif (root / "run") in case.target.parents:
        shutil.copytree(place / "run", root / "run")
        for part in ("images", "masks"):  # a run goes on on its own data alone
            shutil.rmtree(root / part)
            shutil.copytree(place / "warm" / part, root / part)
        said = json.loads((root / "run" / "run.json").read_text())
        (root / "run" / "run.json").write_text(json.dumps({**said, "data": str(root)}))


def commands(case: Case, place: Path, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The command lines that read what was damaged."""
    data, source = str(case.data), str(case.annotations or case.data)
    recipe = case.target if case.target.name == "recipe.yaml" else place / "recipe.yaml"
    bundle = case.data / "bundle" if case.bundle == "own" else place / f"{case.bundle}.bundle"
    images = case.target.parent if "images" in case.target.parts else case.data / "images"
    while images.suffix == ".zarr" or any(parent.suffix == ".zarr" for parent in images.parents):
        images = images.parent
    to = ["--to", "labelme" if sum(str(folder).encode()) % 2 else "coco"]
    lines = {
        "check": ["check", data],
        "predict": ["predict", str(bundle), str(images), "-o", str(folder / "predicted")],
        "evaluate": ["evaluate", str(bundle), data, "-o", str(folder / "evaluation.json")],
        "train": ["train", data, "--recipe", str(recipe), "-o", str(folder / "run"), "training.max_steps=3"],
        "convert": ["convert", source, "-o", str(folder / "converted"), *(() if case.annotations else to)],
        "resume": ["train", data, "--resume", "-o", str(case.data / "run")],
        "report": ["report", str(case.data / "run")],
    }
    for name in case.reads:
        yield name, lines[name]


def judge(found: dict[str, Any], case: Case) -> str:
    """What is wrong with how a command ended; empty where nothing is."""
    text, code = found["text"], found["code"]
    if code not in (0, 2):
        return str(code)
    if "Traceback" in text:
        return "traceback"
    if found["seconds"] > SECONDS:
        return "hang"
    if found["growth"] > GROWTH:
        return "growth"
    if code == 2 and not any(name in text for name in names(case)):
        return "no file named"
    if any("\x1b" in line or "\x07" in line for line in text.splitlines()):
        return "terminal escape"
    return ""


def names(case: Case) -> set[str]:
    """Of the damaged file, or of the image or mask that goes with it."""
    inside = [case.target, *case.target.parents][: len(case.target.parts) - len(case.data.parts)]
    store = next((path for path in inside if path.suffix == ".zarr"), case.target)
    known = {store.name, store.stem.removesuffix(".nii") + "."}
    return known | {"run/", "run:"} if "run" in case.target.parts else known


def one(number: int, seed: int, only: str | None, place: Path, worker: Worker) -> Iterator[dict[str, Any]]:
    """All commands of a case."""
    rng = np.random.default_rng([seed, number])
    name = only or list(FORMATS)[number % len(FORMATS)]
    folder = place / f"case{number}"
    shutil.rmtree(folder, ignore_errors=True)
    case = make_case(name, folder / "data", rng)
    complete(case, place)
    done = damage(case.target, rng)
    for command, arguments in commands(case, place, folder):
        found = worker.run(arguments)
        problem = judge(found, case)
        row = {"case": number, "format": name, "file": case.target.name, "damage": done, "command": command}
        kept = found["text"][-3000:] if problem else found["text"][-300:]
        yield {**row, **{key: found[key] for key in ("code", "seconds", "growth")}, "problem": problem, "text": kept}
    shutil.rmtree(folder, ignore_errors=True)


def by_format(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What was tried and found in every format."""
    found = {}
    for name in FORMATS:
        own = [row for row in rows if row["format"] == name]
        if own:
            found[name] = {
                "files": len({row["case"] for row in own}),
                "commands": len(own),
                "refused": sum(row["code"] == 2 for row in own),
                "seconds": round(max(row["seconds"] for row in own), 1),
                "growth": round(max(row["growth"] for row in own)),
                "wrong": dict(Counter(row["problem"] for row in own if row["problem"])),
            }
    return found


def summary(rows: list[dict[str, Any]]) -> str:
    """A table of what was tried and what was found."""
    lines = ["| format | files | commands | refused | slowest, s | growth, MB | wrong |", "|---" * 7 + "|"]
    for name, found in by_format(rows).items():
        wrong = ", ".join(f"{count} {what}" for what, count in found["wrong"].items()) or "0"
        cells = (name, *(found[key] for key in ("files", "commands", "refused", "seconds", "growth")), wrong)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    files, wrong = len({row["case"] for row in rows}), sum(bool(row["problem"]) for row in rows)
    return "\n".join([*lines, "", f"{files} files, {len(rows)} commands, {wrong} wrong."])


def run(place: Path, *, count: int, seed: int = 0, first: int = 0, only: str | None = None) -> list[dict[str, Any]]:
    """Try so many cases; what was tried before in the same place is not tried again."""
    place.mkdir(parents=True, exist_ok=True)
    kept = place / "cases.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {row["case"] for row in rows}
    worker = Worker(place)
    try:
        if (place / "run").is_dir():
            worker.warm()
        else:
            prepare(place, worker)
        for number in range(first, first + count):
            if number in done:
                continue
            found = list(one(number, seed, only, place, worker))
            rows += found
            with kept.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in found)
            for row in found:
                if row["problem"]:
                    print(f"{number} {row['format']} ({row['damage']}), {row['command']}: {row['problem']}", flush=True)
    finally:
        worker.close()
    return rows


def main() -> None:
    """All cases, and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(FORMATS))
    parser.add_argument("--place", type=Path)
    parser.add_argument("--save", action="store_true", help="write the table to benchmarks/results")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    with contextlib.ExitStack() as stack:
        place = options.place or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        rows = run(place, count=options.count, seed=options.seed, first=options.first, only=options.only)
        print(summary(rows))
        if options.save:
            keep_rows("fuzz", by_format(rows), summary(rows), arguments=f" --count {options.count}")


if __name__ == "__main__":
    main()
