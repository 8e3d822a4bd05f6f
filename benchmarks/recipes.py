"""What a step of every recipe costs on one core of this machine, and so the whole training.

    python -m benchmarks.recipes                       the recipes that are missing
    python -m benchmarks.recipes fcn8s pspnet_small    these, again
    python -m benchmarks.recipes --table               the table of what there is

Each recipe, and each stage of one, trains for a few steps on made scenes as large as its crops, from untrained weights,
in a process of its own that has one thread. What is counted is the processor's time from the first step to the last:
reading, augmenting, forward, loss, backward and optimiser. So other work on the machine matters little. Where a step's
images do not fit into `MOST_PIXELS`, fewer are taken, at last a part of one; of the batches that one step accumulates,
one is. The figures are scaled up in proportion. Rows are kept as they finish.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

import torch

from atrous import sample, train  # before the first fork, so that no measurement imports them again
from atrous.recipe import list_recipes, load_recipe, write_yaml
from atrous.recipes.overlay import lay_over
from benchmarks.harness import keep_rows, read_rows

CACHE = Path(__file__).parent / ".cache"
MOST_PIXELS = 300_000
"""Pixels of a measured step: one image of 500x500, or four of 256x256."""
MEMORY = 8 * 2**30
"""Bytes that a measurement may take; what needs more fails."""
MARGINS = {"dilation": 186, "unet2015": 92}
"""Pixels by which networks of unpadded convolutions enlarge an image on every side."""
FLOAT32 = ("dilation",)
"""Networks that are measured in float32. In bfloat16 torch 2.15 leaves weight gradients of dilated convolutions of 24
channels partly unwritten on this processor, and the context module that widens six classes has one."""
SECONDS = 1200
"""Longest that one measurement may take."""


def made_data(size: int, task: str) -> Path:
    """Made scenes of one size, or figures for landmarks, kept from run to run."""
    kind = "figures" if task == "landmarks" else "scenes"
    folder = CACHE / f"{kind}{size}"
    if not folder.exists():
        sample(kind, folder, count=6, size=size, seed=0)
    return folder


def stages_of(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The values of a recipe, or of each of its stages, by the stage's name."""
    base = {key: value for key, value in values.items() if key != "stages"}
    stages = values.get("stages") or [{"name": ""}]
    own = [{key: value for key, value in stage.items() if key != "name"} for stage in stages]
    return {stage["name"]: lay_over(base, part, (), (), {}) for stage, part in zip(stages, own, strict=True)}


def untrained(value: Any) -> Any:
    """A section without the wish for weights that would have to be fetched."""
    if isinstance(value, dict):
        return {key: False if key == "pretrained" else untrained(inner) for key, inner in value.items()}
    return [untrained(inner) for inner in value] if isinstance(value, list) else value


def reduced(data: dict[str, Any], margin: int) -> tuple[list[int], int, float]:
    """Crop and images of a measured step, and by what its seconds are multiplied to be those of a whole batch."""
    crop = data.get("crop", 256)
    if crop is None:  # whole images
        crop = 256
    sides = [crop, crop] if isinstance(crop, int) else list(crop)
    batch = data.get("batch_size", 8)
    images = min(batch, max(MOST_PIXELS // ((sides[0] + 2 * margin) * (sides[1] + 2 * margin)), 1))
    factor = batch / images
    while sides[0] * sides[1] > MOST_PIXELS:
        sides, factor = [side // 2 for side in sides], factor * 4
    return sides, images, factor


def playing(adversary: dict[str, Any]) -> dict[str, Any]:
    """An adversary that plays from the first step on; where it takes long turns, two steps each."""
    turns = min(adversary.get("alternate", 1), 2)
    optimizer = {**adversary.get("optimizer", {"name": "adam"}), "lr": 1e-12}
    return {**adversary, "start": 0, "alternate": turns, "optimizer": optimizer}


def measure(values: dict[str, Any], place: Path) -> dict[str, Any]:
    """Train a few steps of one stage in a process of its own; its seconds a step are scaled to the recipe's own."""
    data, training = values["data"], values.get("training", {})
    name = values["model"]["name"]
    sides, images, factor = reduced(data, MARGINS.get(name, 0))
    factor *= training.get("accumulate", 1)
    size = max(sides) + 2 * MARGINS.get(name, 0)
    steps = 2 if size > 300 else 4 if size > 128 else 15
    if "adversary" in values:
        steps = 5  # the first is not counted: of turns of two steps, two of each are
    short = {"max_steps": steps + 1, "log_every": 1, "clip": training.get("clip")}
    if name in FLOAT32:
        short["precision"] = "float32"
    cut = {"batch_size": images, "workers": 0, **({} if data.get("crop", 256) is None else {"crop": sides})}
    made = {
        **values,
        "model": untrained(values["model"]),
        "data": {**data, **cut},
        "optimizer": {**values["optimizer"], "lr": 1e-12},  # untrained weights do not bear the rates of trained ones
        "training": short,
    }
    if "adversary" in values:
        made["adversary"] = playing(values["adversary"])
    context = multiprocessing.get_context("fork")  # what was imported once serves every measurement
    ours, theirs = context.Pipe()
    data_for = made_data(max(sides), values["task"]["name"])
    child = context.Process(target=_train, args=(made, data_for, place, steps, theirs))
    child.start()
    theirs.close()
    try:
        if not ours.poll(SECONDS):
            raise TimeoutError(f"not done in {SECONDS} s")
        seconds, memory = ours.recv()
    except EOFError:
        raise RuntimeError("failed") from None
    finally:
        child.kill()
        child.join()
    return {
        "steps": training.get("max_steps"),
        "seconds_a_step": seconds * factor,
        "crop": sides,
        "images": images,
        "factor": factor,
        "memory_mb": memory,
    }


def _train(values: dict[str, Any], data: Path, place: Path, steps: int, reply: Connection) -> None:
    """Train until the watch has seen enough, which ends the process."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    recipe = place / "measured.yaml"
    recipe.write_text(write_yaml(values))
    Thread(target=_watch, args=(place / "run" / "log.csv", steps, reply.send), daemon=True).start()
    train(data, recipe=recipe, out=place / "run", evaluate=False)


def _watch(log: Path, steps: int, send: Callable[[tuple[float, int]], None]) -> None:
    """Send the processor's seconds of a step, from a log's first row to the one given, and the peak memory in MB."""
    first: tuple[int, float] | None = None
    while True:
        time.sleep(0.01)
        rows = log.read_text().count("\n") - 1 if log.exists() else 0
        if rows > 0 and first is None:
            first = rows, time.process_time()
        if rows >= steps and first is not None:
            taken = (time.process_time() - first[1]) / (rows - first[0])
            status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            send((taken, round(int(status["VmHWM"].split()[0]) / 1024)))
            return


def hours(row: dict[str, Any]) -> float | None:
    """Of one core, for the whole recipe; None where it counts minutes instead of steps."""
    if any(stage["steps"] is None for stage in row.values()):
        return None
    return sum(stage["steps"] * stage["seconds_a_step"] for stage in row.values()) / 3600


def table(rows: dict[str, dict[str, Any]]) -> str:
    """A Markdown table in alphabetical order, a line a stage."""
    lines = [
        "| recipe | stage | seconds a step | steps | hours | measured on | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in sorted(rows.items()):
        for stage, found in row.items():
            whole = hours({stage: found})
            height, width = found["crop"]
            scaled = f", x {found['factor']:g}" if found["factor"] != 1 else ""
            lines.append(
                f"| {name} | {stage} | {found['seconds_a_step']:.3g} | {found['steps'] or '–'} | "
                f"{'–' if whole is None else f'{whole:.3g}'} | {found['images']} of {height}x{width}{scaled} | "
                f"{found['memory_mb']} |"
            )
    return "\n".join(lines)


def run_missing(names: list[str]) -> None:
    """Measure what is asked for, or what is missing."""
    torch.set_num_threads(1)
    for name in names or [name for name in list_recipes() if name not in read_rows("recipes")]:
        row = {}
        try:
            for stage, values in stages_of(load_recipe(name).values).items():
                with tempfile.TemporaryDirectory() as place:
                    row[stage] = measure(values, Path(place))
        except (RuntimeError, TimeoutError) as error:
            print(f"{name}: {error}", flush=True)
            continue
        rows = {**read_rows("recipes"), name: row}
        keep_rows("recipes", rows, f"One thread, seconds of the processor.\n\n{table(rows)}", arguments="")
        print("\n".join(table({name: row}).splitlines()[2:]), flush=True)


def main() -> None:
    """Measure or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="recipes; those that are missing where none is named")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        print(table(read_rows("recipes")))
    else:
        run_missing(given.names)


if __name__ == "__main__":
    main()
