"""The page that a bundle says of itself: what it is, how to use it, how good it was."""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

from atrous.bundle.classes import class_values
from atrous.encoders import WeightsOrigin

__all__ = ["model_card"]

MARKUP = re.compile(r"[|\[\]`*\\]")
"""What Markdown would read as more than text in a cell; words_with_lines it leaves alone."""


def model_card(
    name: str, recipe: Mapping[str, Any], classes: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]
) -> str:
    """The card as Markdown, with the head that the Hugging Face Hub reads.

    Args:
        name: of the bundle's folder.
        recipe: its sections; model, task and input are told.
        classes: rows of "name" and "color", and "value" where the values of the training masks are known.
        metrics: figures by name; plain numbers become a table, "iou" by class a column of the classes, and "tuned" the
            table of what post-processing changed; "cautions", sentences by what they are about, stand at the top.
    """
    model, task, images = recipe["model"], recipe["task"], recipe["input"]
    arguments = ", ".join(f"{key}={value}" for key, value in model.items() if key != "name")
    ranges = {"uint8": "0 to 255", "uint16": "0 to 65535", "float32": "as they are"}[images["kind"]]
    cautions = _cautions(metrics.get("cautions"))
    channels = f"{images['channels']} channel{'s' if images['channels'] != 1 else ''}"
    text = f"""---
library_name: atrous
pipeline_tag: image-segmentation
tags: [atrous, semantic-segmentation, {model["name"]}]
---

# {name}

{cautions}A `{model["name"]}` ({arguments or "no arguments"}) for {task["name"]} into
{len(classes)} classes, in the bundle format of the Python package `atrous`: weights as
safetensors, everything else as YAML and JSON. Reading it runs no code that is not in atrous.

## Use it

On the command line, for images of any size:

```
atrous predict {name} IMAGES -o MASKS
```

In Python:

```python
import atrous

predictor = atrous.Predictor.load("{name}")
prediction = predictor("image.png")        # or an array of (H, W) or (H, W, C)
prediction.classes                          # (H, W), the class of every pixel
prediction.confidence                       # (H, W), its score
```

## Input

Images of {channels}, `{images["kind"]}`, in their own numbers ({ranges}). The model normalises them itself.

## Classes

{_values_told(classes)}

{_class_table(classes, metrics.get("iou"))}
"""
    return text + _started(recipe.get("origin")) + _tuned(metrics.get("tuned")) + _measured(metrics)


def _cautions(given: Any) -> str:
    """Quoted in bold, so that nobody takes the bundle for a good one."""
    sentences = [text for text in given.values() if text] if isinstance(given, Mapping) else []
    return "".join(f"> **Warning: {text}**\n\n" for text in sentences)


def _started(origins: Any) -> str:
    """What the training started from, a line each; nothing for random weights."""
    lines = "".join(f"- {_cell(origin.part)}: {_cell(origin)}\n" for origin in WeightsOrigin.read_all(origins))
    return f"\n## Started from\n\n{lines}" if lines else ""


def _measured(metrics: Mapping[str, Any]) -> str:
    """The section of the plain figures; nothing where there are none."""
    figures = [(key, value) for key, value in metrics.items() if isinstance(value, int | float | str)]
    if not figures:
        return ""
    rows = "\n".join(f"| {_cell(key)} | {_number(value)} |" for key, value in figures)
    return f"\n## Measured\n\n| | |\n|---|---|\n{rows}\n"


def _tuned(figures: Any) -> str:
    """What post-processing changed for each class, on the images that it was chosen by; nothing where none was."""
    if not isinstance(figures, Mapping):
        return ""
    rows = "\n".join(
        f"| {_cell(name)} | {_number(was)} | {_number(figures['after'].get(name))} |"
        for name, was in figures["before"].items()
    )
    chosen = ", ".join(figures["chosen"]) or "nothing"
    text = f"\n## Post-processing\n\nChosen by {figures['images']} validation images: {chosen}.\n"
    for method, lost in figures["left_out"].items():
        if lost:
            text += f"\nLeft out, because classes would pay for the mean: {method} ({_costs(lost)}).\n"
    return f"{text}\n| class | IoU before | IoU after |\n|---|---|---|\n{rows}\n"


def _costs(lost: Mapping[str, Sequence[Any]]) -> str:
    return ", ".join(f"{_cell(name)} from {_number(was)} to {_number(now)}" for name, (was, now) in lost.items())


def _values_told(classes: Sequence[Mapping[str, Any]]) -> str:
    """What the column of values means."""
    if not all("value" in row for row in classes):
        return "Masks hold the number of the class."
    text = (
        "The values are those of the training masks, and `atrous predict` writes them into its masks (`--values index` "
        "writes 0, 1, 2, ... in the order of this table instead)."
    )
    if any(len(row["value"]) > 1 for row in classes):
        text += " Of a class with several values, masks get the first."
    if not all(row["value"] for row in classes):
        text += " A class without a value is known by its colour, which the palette of a mask has."
    return text


def _class_table(classes: Sequence[Mapping[str, Any]], iou: Any) -> str:
    measured = iou if isinstance(iou, Mapping) else None
    lines = ["| value | class | colour |", "|---|---|---|"]
    if measured is not None:
        lines = [line + end for line, end in zip(lines, (" IoU |", "---|"), strict=True)]
    for number, row in enumerate(classes):
        line = f"| {class_values(row, number)} | {_cell(row['name'])} | `#{bytes(row['color']).hex()}` |"
        lines.append(line + (f" {_number(measured.get(row['name']))} |" if measured is not None else ""))
    return "\n".join(lines)


def _number(value: Any) -> str:
    if value is None:
        return "undefined"
    return f"{value:.4f}" if isinstance(value, float) else _cell(value)


def _cell(value: Any) -> str:
    """Text from elsewhere, such as the name of a class, that can neither break the table nor be HTML or a link."""
    text = "".join(letter if letter.isprintable() else " " for letter in html.escape(str(value), quote=False))
    return MARKUP.sub(r"\\\g<0>", text)
