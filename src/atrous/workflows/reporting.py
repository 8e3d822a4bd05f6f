"""The report of a run: gathers what the run folder and its data hold, and has the page written."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from atrous.errors import AtrousError, UsageError

if TYPE_CHECKING:
    from atrous.bundle import Bundle
    from atrous.data import Folder
    from atrous.inference import Predictor
    from atrous.reports import Panel, ReportContent
    from atrous.workflows.evaluation import Evaluation, ImageResult

__all__ = ["report"]

Log = Sequence[dict[str, str]]

EXAMPLES, SEEN, RANKED = 4, 6, 3
"""Training images shown, crops as the network got them, and images shown as best and as worst."""
TILE_ABOVE = 4_000_000
"""Images of more pixels than this are segmented by tiles for the pictures."""


def report(
    run: str | Path,
    *,
    data: str | Path | None = None,
    evaluation: "Evaluation | None" = None,
    device: str = "auto",
    bundle: "Bundle | None" = None,
) -> Path:
    """Write `report.html` into a run folder.

    The best and the worst images are segmented anew for their pictures. Where the data is no longer there, the page has
    the numbers and says what it lacks.

    Args:
        run: the folder of a run.
        data: the data folder, where it is not where it was.
        evaluation: what to show instead of the run's own `evaluation.json`.
        device: what segments the pictured images: "auto", "cpu", "cuda", ...
        bundle: the run's own, where it has been loaded already.

    Raises:
        UsageError: if the folder is not a run.
    """
    from atrous.reports import write_report

    folder = Path(run)
    if not (folder / "bundle").is_dir():
        raise UsageError(f"{folder}: is not a run: it has no bundle/; name the folder that `atrous train` made.")
    return write_report(folder / "report.html", _gather(folder, data, evaluation, device, bundle))


def _gather(
    run: Path, data: str | Path | None, evaluation: "Evaluation | None", device: str, loaded: "Bundle | None"
) -> "ReportContent":
    """Everything the page tells."""
    from atrous.reports import ReportContent
    from atrous.workflows.runs import load_predictor, read_json, read_log

    checked = read_json(run / "check.json") or {}
    summary, told = checked.get("summary", {}), read_json(run / "run.json") or {}
    measured = evaluation or _own_evaluation(run)
    log = read_log(run / "log.csv")
    bundle, predictor = load_predictor(loaded or run, device=device)
    root = data or told.get("data") or (measured and measured.data)
    shown = _pictures(root, told.get("classes"), bundle, predictor, measured)
    folds = f" --folds {told['folds']}" if told.get("folds") else ""
    shares = [entry["share"] for entry in summary.get("classes", [])]
    return ReportContent(
        title=f"{bundle.model.spec.name} on {Path(root).name if root else 'its data'}",
        class_names=bundle.class_names,
        colors=predictor.colors,
        lead=_lead(bundle, summary, log, measured),
        headline=_headline(bundle, log, measured),
        data_facts=[*_data_facts(summary, root), *shown.missing],
        shares=shares if len(shares) == len(bundle.class_names) else [],
        examples=shown.examples,
        seen=shown.seen if log else (),
        findings=checked.get("findings"),
        log=log,
        evaluation=None if measured is None else {**vars(measured)},
        best=shown.best,
        worst=shown.worst,
        refined=shown.refined,
        refinement=str(predictor.refiner or ""),
        environment=_environment(run, log, measured),
        command=f"atrous train {root} --recipe {run / 'recipe.yaml'}{folds} -o NEW_RUN" if root else "",
        recipe=(run / "recipe.yaml").read_text(encoding="utf-8") if (run / "recipe.yaml").is_file() else "",
    )


def _own_evaluation(run: Path) -> "Evaluation | None":
    from atrous.workflows.evaluation import Evaluation

    path = run / "evaluation.json"
    if not path.is_file():
        return None
    try:
        return Evaluation.from_json(path.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path}: is not an evaluation ({error}); make it again: atrous evaluate -o {path}."
        ) from error


class _Shown(NamedTuple):
    """Images for the page, and a fact that says why there are none."""

    examples: "Sequence[Panel]" = ()
    seen: "Sequence[Panel]" = ()
    best: "Sequence[Panel]" = ()
    worst: "Sequence[Panel]" = ()
    refined: "Sequence[Panel]" = ()
    missing: Sequence[tuple[str, str]] = ()


def _pictures(
    root: Any, classes: Any, bundle: "Bundle", predictor: "Predictor", measured: "Evaluation | None"
) -> _Shown:
    """Examples, best and worst images, and some before and after the refinement; or why there are none."""
    from atrous.workflows.evaluation import labelled_pairs, open_like

    if not root:
        return _Shown(missing=[("Pictures", "none: the run does not say where its data is; give --data FOLDER")])
    try:
        folder = open_like(bundle.recipe, root, classes)
        pairs = labelled_pairs(folder, "train")
        step = max(1, len(pairs) // EXAMPLES)
        examples = [_panel(folder, pair) for pair in pairs[::step][:EXAMPLES]]
        seen = _seen(folder, bundle)
        best, worst = _ranked(folder, predictor, measured)
        refined = _refined(folder, predictor, measured)
    except AtrousError as error:
        return _Shown(missing=[("Pictures", f"none: {error}")])
    return _Shown(examples, seen, best, worst, refined)


def _seen(folder: "Folder", bundle: "Bundle") -> "list[Panel]":
    """The first crops of the training, as the network got them."""
    from atrous.recipe import Recipe
    from atrous.reports import Panel, to_display
    from atrous.tables import Place
    from atrous.training.augment import augmented_samples

    panels, fill = [], bundle.model.mean.tolist()
    for sample in augmented_samples(folder, Recipe(bundle.recipe, Place("recipe.yaml")), SEEN, fill):
        image = sample["image"].permute(1, 2, 0).numpy()  # (C, H, W) -> (H, W, C)
        if folder.kind == "uint8":
            image = image.clip(0, 255).round().astype(np.uint8)
        weight = sample["weight"].numpy() if "weight" in sample else None
        name = folder.splits["train"][int(sample["index"])].name
        panels.append(Panel(name, to_display(image), _flat(sample["mask"].numpy().astype(np.uint8)), weight=weight))
    return panels


def _ranked(
    folder: "Folder", predictor: "Predictor", measured: "Evaluation | None"
) -> "tuple[list[Panel], list[Panel]]":
    """The best and the worst images of an evaluation, no image in both."""
    if measured is None:
        return [], []
    order = measured.ranked()
    worst = order[: min(RANKED, (len(order) + 1) // 2)]
    best = order[len(worst) :][::-1][:RANKED]
    pairs = {pair.name: pair for pair in folder.splits.get(measured.split, ())}

    def panels(results: "Iterable[ImageResult]") -> "list[Panel]":
        return [_panel(folder, pairs[r.name], predictor, r.mean_iou) for r in results if r.name in pairs]

    return panels(best), panels(worst)


def _refined(folder: "Folder", predictor: "Predictor", measured: "Evaluation | None") -> "list[Panel]":
    """Images of an evaluation with and without the refinement, the worst first; none where nothing refines."""
    if measured is None or predictor.refiner is None:
        return []
    order = measured.ranked()
    pairs = {pair.name: pair for pair in folder.splits.get(measured.split, ())}
    named = [pairs[result.name] for result in order[:: max(1, len(order) // RANKED)] if result.name in pairs]
    panels = []
    for pair in named[:RANKED]:
        panel = _panel(folder, pair, predictor)
        panels.append(replace(panel, unrefined=_panel(folder, pair, predictor, refine="none").predicted))
    return panels


def _panel(
    folder: "Folder",
    pair: Any,
    predictor: "Predictor | None" = None,
    mean_iou: float | None = None,
    refine: str | None = None,
) -> "Panel":
    from atrous.data.folder import read_pair
    from atrous.reports import Panel, to_display

    raster, truth, instances = read_pair(pair, folder)
    predicted = apart = None
    if predictor is not None:
        large = raster.array.shape[0] * raster.array.shape[1] > TILE_ABOVE
        found = predictor(raster, tile=1024 if large else None, refine=refine, scores=False)
        predicted = _apart(found.classes, found.instances)
        apart = None if found.instances is None else instances  # where nobody tells objects apart, nor does the picture
    return Panel(pair.name, to_display(raster.visible()), _apart(_flat(truth), apart), predicted, mean_iou)


def _apart(classes: Any, instances: "np.ndarray | None") -> Any:
    """Classes to look at, with a line of background between objects that touch."""
    if classes is None or instances is None:
        return classes
    shown = classes.copy()
    for axis in (0, 1):
        here, there = (np.moveaxis(instances, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        meet = (here != there) & (here > 0) & (there > 0)
        np.moveaxis(shown, axis, 0)[:-1][meet] = 0
    return shown


def _flat(mask: "np.ndarray | None") -> Any:
    """A mask to look at: of classes that overlap, the last one on top, and 255 where none is."""
    if mask is None or mask.ndim == 2:
        return mask
    flat = np.full(mask.shape[1:], 255, np.uint8)
    for number, plane in enumerate(mask):
        flat[plane == 1] = number
    return flat


def _lead(bundle: "Bundle", summary: dict[str, Any], log: Log, measured: "Evaluation | None") -> str:
    """The run in one sentence."""
    model = bundle.model.spec
    encoder = model.arguments.get("encoder")
    article = "An" if model.name[0] in "aeio" else "A"  # a unet
    what = f"{article} {model.name} network" + (f" with a {encoder} encoder" if encoder else "")
    images = summary.get("splits", {}).get("train")
    learned = f" learned {len(bundle.class_names)} classes" + (f" from {images} images" if images else "")
    learned += f" in {_span(_seconds(log))}" if log else ""
    if measured is None:
        return f"{what}{learned}."
    right = 100 * measured.summary["pixel_accuracy"]
    count = f"{len(measured.images)} {measured.split} images"
    return f"{what}{learned}. Of the pixels of {count}, {right:.1f} % get the class that their masks give them."


def _headline(bundle: "Bundle", log: Log, measured: "Evaluation | None") -> list[tuple[str, str, str]]:
    numbers = []
    if measured is not None:
        numbers = [
            ("Mean IoU", f"{measured.summary['mean_iou']:.3f}", f"of {len(bundle.class_names)} classes; 1 is perfect"),
            ("Pixel accuracy", f"{100 * measured.summary['pixel_accuracy']:.1f} %", "of the labelled pixels are right"),
        ]
        if "seg" in measured.summary:
            counts = f"{measured.summary['objects']} objects, {measured.summary['found']} predicted; 1 is perfect"
            numbers.append(("SEG", f"{measured.summary['seg']:.3f}", counts))
    if log:
        numbers.append(("Training", _span(_seconds(log)), f"{log[-1]['step']} steps"))
    if measured is not None and measured.images:
        each = 1000 * median(image.seconds for image in measured.images)
        numbers.append(("Prediction", f"{each:.0f} ms", "per image (median)"))
    parameters = sum(parameter.numel() for parameter in bundle.model.parameters())
    numbers.append(("Weights", f"{parameters / 1e6:.2f} M", "numbers that were learned"))
    if measured is not None:
        numbers.append(("Device", measured.notes.get("device", "").upper(), measured.notes.get("precision", "")))
    return numbers


def _data_facts(summary: dict[str, Any], root: Any) -> list[tuple[str, str]]:
    facts = [("Folder", str(root))] if root else []
    if splits := summary.get("splits"):
        facts.append(("Images", ", ".join(f"{count} {name}" for name, count in splits.items())))
    if sizes := summary.get("sizes"):
        small, middle, large = (f"{h} × {w}" for h, w in (sizes["min"], sizes["median"], sizes["max"]))
        alike = sizes["distinct"] == 1
        facts.append(("Height × width", small if alike else f"{small} to {large}, median {middle}"))
    if "kind" in summary:
        channels = summary.get("num_channels")
        facts.append(("Numbers", f"{summary['kind']}, {channels} channel{'' if channels == 1 else 's'}"))
    if summary.get("mean"):
        pairs = zip(summary["mean"], summary["std"], strict=True)
        facts.append(("Mean ± deviation", ", ".join(f"{mean:.4g} ± {std:.3g}" for mean, std in pairs)))
    if summary.get("classes"):
        facts.append(("Classes", ", ".join(entry["name"] for entry in summary["classes"])))
    return facts


def _environment(run: Path, log: Log, measured: "Evaluation | None") -> list[tuple[str, str]]:
    """Times, machine and versions, as recorded by the run; what was not recorded is of this machine."""
    from atrous.workflows.outcome import read_parts
    from atrous.workflows.runs import describe_machine, read_json

    facts = [("Run", str(run))]
    if log:
        facts.append(("Training", f"{_span(_seconds(log))} for {log[-1]['step']} steps, validations included"))
    if measured is not None:
        facts.append(("Evaluation", f"{_span(measured.seconds)} for {len(measured.images)} images, {_notes(measured)}"))
    facts += [(f"Stage {part.name}", str(part)) for part in read_parts(run)]
    recorded = read_json(run / "environment.json")
    facts += [(str(key), str(value)) for key, value in (recorded or describe_machine()).items()]
    facts.append(("Page written", datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")))
    return facts


def _notes(measured: "Evaluation") -> str:
    return ", ".join(note for note in measured.notes.values() if note)


def _seconds(log: Log) -> float:
    try:
        return float(log[-1]["seconds"])
    except (IndexError, KeyError, ValueError):
        return 0.0


def _span(seconds: float) -> str:
    """A time span in words.

    Example:
        >>> _span(7.26), _span(178), _span(7322)
        ('7.3 s', '2 min 58 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
