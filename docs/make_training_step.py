"""Draws docs/images/training_step.svg and fills in the tables of docs/training-step.md.

    python docs/make_training_step.py

The steps below are the source of both. A test takes a real training step and checks that it calls these functions in
this order, and that the committed drawing and page are what this command writes.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

DOCS = Path(__file__).parent
PAGE, DRAWING = DOCS / "training-step.md", DOCS / "images" / "training_step.svg"
BLOCK = re.compile(r"(<!-- steps: (?P<name>\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


class Step(NamedTuple):
    """A function that a training step passes.

    Attributes:
        file: under src/atrous.
        function: its qualified name.
        gives: what it hands on, with shapes, in the words of the drawing.
        does: a sentence for the table.
    """

    file: str
    function: str
    gives: str
    does: str


BEFORE = [
    Step("workflows/training.py", "train", "", "Reads the recipe, or has one written; chooses the folder of the run."),
    Step("training/resolved.py", "resolve_run", "", "Checks every section, with the line of what does not fit."),
    Step("workflows/single.py", "train_into", "", "Takes the stages of the recipe one after the other."),
    Step("training/inputs.py", "open_inputs", "", "Opens the data folder with the splits of the recipe."),
    Step("training/preparation.py", "prepare", "", "Builds the model and the task, and sets the input normalisation."),
    Step("training/fitting.py", "make_plan", "", "Builds data set, transforms, optimizer and schedule into a `Plan`."),
    Step("training/engine.py", "carry_out", "", "Builds the loaders and Lightning's trainer, and starts it."),
]

LOADER = [
    Step("training/stream.py", "Stream.batch", "B pairs (draw, image index)",
         "Numbers the draws of the step and takes their images from the permutation of the epoch."),
    Step("training/stream.py", "Augmented.__getitem__", "a sample",
         "Gives each draw its own random generator, seeded by the number of the draw."),
    Step("data/dataset.py", "FolderDataset.draw", "image (C, H, W), mask (H, W)",
         "Reads the image and its mask, or a region of a very large image."),
    Step("data/reading.py", "read_pair", "image (H, W, C), mask (H, W), objects (H, W)",
         "Opens the files, maps mask values to classes, and marks pixels without data as ignored."),
    Step("augment/chain.py", "Compose.__call__", "image (C, h, w), mask (h, w)",
         "Applies the transforms of `data.augment` to image, mask and objects together; h x w is the crop."),
    Step("training/stream.py", "collate_step", "image (B, C, h, w), mask (B, h, w)",
         "Stacks samples into batches, `training.accumulate` of them."),
]  # fmt: skip

MAIN = [
    Step("training/module.py", "TrainingModule.transfer_batch_to_device", "the batch on the device",
         "Raises an error that a loader met, moves the batch, and lays images out channels-last."),
    Step("training/module.py", "TrainingModule.on_train_batch_start", "learning rates, torch's seed",
         "Sets both from the number of the step, so that the step depends on nothing else."),
    Step("training/module.py", "TrainingModule.training_step", "the loss and its parts",
         "Runs everything below for each batch of the step, and averages the gradients."),
    Step("models/base.py", "EncoderDecoder.forward", '{"out": (B, K, h, w), ...}',
         "Runs the network. Auxiliary outputs have their own grids (B, K, h', w')."),
    Step("models/base.py", "DenseModel.normalize", "image (B, C, h, w), normalised",
         "Subtracts `mean` and divides by `std`, which are part of the model."),
    Step("layers/basic.py", "fit", "image (B, C, h+, w+)",
         "Pads right and bottom to a multiple of the coarsest stride; the logits are cropped again afterwards."),
    Step("tasks/segmentation.py", "Segmentation.losses", "{name: scalar}",
         "Shrinks the mask to the grid of each output, evaluates every loss, and weights it."),
    Step("losses/cross_entropy.py", "cross_entropy", "scalar",
         "Computes the mean over the labelled pixels, in float32. The recipe may name any function of `LOSSES`."),
    Step("training/module.py", "TrainingModule.on_before_optimizer_step", "clipped gradients",
         "Clips the norm of the gradient after the backward pass. The optimizer step of torch follows."),
    Step("training/averaging.py", "WeightAverage.update", "averaged weights",
         "Updates the averaged weights, if the recipe has `ema` or `swa`."),
    Step("training/callbacks.py", "Recorder.on_train_batch_end", "rows of log.csv",
         "Reads the loss, stops if it is not finite, and writes a row every `log_every` steps."),
    Step("training/callbacks.py", "Checkpoints.on_train_batch_end", "checkpoints/last.ckpt",
         "Writes a checkpoint once a minute, or every `checkpoint_every` steps."),
]  # fmt: skip

TABLES = {"before": BEFORE, "loader": LOADER, "main": MAIN}
WIDTH, HEIGHT, GAP, LEFT, TOP = 420, 56, 18, 16, 56
INK, SOFT, LINE, FILL = "#1f2a37", "#5b6775", "#0072b2", "#f3f6f9"


def table(steps: Iterable[Step]) -> str:
    """Steps as a Markdown table."""
    rows = [f"| {number} | `{step.file}` | `{step.function}` | {step.does} |" for number, step in enumerate(steps, 1)]
    return "\n".join(["", "| | file | function | what it does |", "|---|---|---|---|", *rows, "", ""])


def filled(page: str) -> str:
    """The text of the page with its tables."""
    return BLOCK.sub(lambda found: f"{found[1]}{table(TABLES[found['name']])}{found[4]}", page)


def box(step: Step, left: int, top: int) -> str:
    """A function in the drawing: its file, its name, what it hands on."""
    lines = [(17, 11, SOFT, "", step.file), (33, 13, INK, "font-weight='bold'", step.function)]
    lines += [(49, 12, LINE, "", f"→ {step.gives}")]
    texts = "".join(
        f"<text x='{left + 12}' y='{top + down}' font-size='{size}' fill='{color}' {style}>{escape(text)}</text>"
        for down, size, color, style, text in lines
    )
    frame = f"<rect x='{left}' y='{top}' width='{WIDTH}' height='{HEIGHT}' rx='6' fill='{FILL}' stroke='{SOFT}'/>"
    return f"{frame}{texts}"


def lane(title: str, steps: list[Step], left: int) -> list[str]:
    """A column of boxes with arrows between them."""
    middle, parts = left + WIDTH // 2, [f"<text x='{left}' y='{TOP - 18}' font-size='15' fill='{INK}'>{title}</text>"]
    for number, step in enumerate(steps):
        top = TOP + number * (HEIGHT + GAP)
        if number:
            parts.append(f"<path d='M{middle} {top - GAP} V{top - 3}' stroke='{SOFT}' marker-end='url(#tip)'/>")
        parts.append(box(step, left, top))
    return parts


def drawing() -> str:
    """The drawing as SVG: the loader's column, the main process's, and the batch that goes from one to the other."""
    second = LEFT + WIDTH + 70
    height = TOP + len(MAIN) * (HEIGHT + GAP) + 8
    bottom, top = TOP + (len(LOADER) - 1) * (HEIGHT + GAP) + HEIGHT // 2, TOP + HEIGHT // 2
    turn = LEFT + WIDTH + 35
    batch = f"M{LEFT + WIDTH} {bottom} H{turn} V{top} H{second - 3}"
    return "\n".join([
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {second + WIDTH + LEFT} {height}' "
        "font-family='ui-monospace, monospace'>",
        "<title>A training step: the functions that a batch passes, and what each hands on</title>",
        f"<defs><marker id='tip' orient='auto' markerWidth='7' markerHeight='7' refX='3' refY='3'>"
        f"<path d='M0 0 L6 3 L0 6 z' fill='{SOFT}'/></marker></defs>",
        "<rect width='100%' height='100%' fill='white'/>",
        *lane("loader, in worker processes", LOADER, LEFT),
        *lane("main process, one optimizer step", MAIN, second),
        f"<path d='{batch}' fill='none' stroke='{LINE}' stroke-width='2' marker-end='url(#tip)'/>",
        "</svg>",
    ]) + "\n"  # fmt: skip


if __name__ == "__main__":
    DRAWING.write_text(drawing(), encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"written: {DRAWING}, {PAGE}")
