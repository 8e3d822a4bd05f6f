"""The report of a run: gathers what the run folder and its data hold, and has the page written."""

import logging
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from atrous.bundle import explain_unfinished
from atrous.errors import UsageError
from atrous.evaluation import Evaluation
from atrous.reports import ReportContent, telling, write_report
from atrous.workflows.outcome import read_parts
from atrous.workflows.pictured import gather_pictures
from atrous.workflows.run_folders import RUN, Said, stored_evaluation
from atrous.workflows.run_paths import find_data
from atrous.workflows.runs import describe_machine, load_predictor
from atrous.workflows.state_files import read_check, read_json, read_log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atrous.bundle import Bundle
    from atrous.encoders import WeightsOrigin
    from atrous.tasks import Measure, Task

__all__ = ["report"]

LOG = logging.getLogger(__name__)


def report(
    run: str | Path,
    *,
    data: str | Path | None = None,
    evaluation: Evaluation | None = None,
    device: str = "auto",
    bundle: "Bundle | None" = None,
) -> Path:
    """Write `report.html` into a run folder.

    The best and the worst images are segmented anew for their pictures. Where the data is no longer there, a report
    that is there already stays as it is; a new one has the numbers and says what it lacks.

    Args:
        run: the folder of a run.
        data: the data folder, where it is not where it was.
        evaluation: what to show instead of the run's own `evaluation.json`.
        device: what segments the pictured images: "auto", "cpu", "cuda", ...
        bundle: the run's own, where it has been loaded already.

    Raises:
        UsageError: if the folder is not a run, its training is not finished, or its images cannot be shown and there is
            a report that would be replaced.
    """
    folder = Path(run)
    if not (folder / "bundle").is_dir():
        words = explain_unfinished(folder) or f"{folder}: is not a run: name the folder that `atrous train` made."
        raise UsageError(words)
    page = folder / "report.html"
    content, lacking = _gather(folder, data, evaluation, device, bundle)
    if lacking and page.exists():
        raise UsageError(
            f"{page}: stays as it is: a new one would be without pictures, because {lacking} Name the folder of the "
            "images with --data."
        )
    if lacking:
        LOG.warning("%s: the report is without pictures, because %s", page, lacking)
    return write_report(page, content)


def _gather(
    run: Path, data: str | Path | None, evaluation: Evaluation | None, device: str, loaded: "Bundle | None"
) -> tuple[ReportContent, str]:
    """Everything the page tells, and why it lacks pictures, or ""."""
    summary, findings = read_check(run / "check.json")
    begun = read_json(run / RUN, Said) or {}
    measured = evaluation or stored_evaluation(run)
    log = read_log(run / "log.csv")
    bundle, predictor = load_predictor(loaded or run, device=device)
    root = data or find_data(run, begun) or begun.get("data") or (measured and measured.data)
    shown = gather_pictures(root, begun.get("classes"), bundle, predictor, measured)
    folds = f" --folds {begun['folds']}" if begun.get("folds") else ""
    shares = [entry["share"] for entry in summary.get("classes", [])]
    content = ReportContent(
        title=f"{bundle.model.spec.name} on {Path(root).name if root else 'its data'}",
        class_names=bundle.class_names,
        colors=predictor.colors,
        bare=telling.bare(bundle.class_names, shares, measured),
        cautions=telling.cautions(bundle, measured),
        lead=telling.lead(bundle, summary, log, measured),
        headline=telling.headline(bundle, log, measured),
        data_facts=[
            *telling.data_facts(summary, root),
            *([("Pictures", f"none: {shown.lacking}")] if shown.lacking else []),
        ],
        shares=shares if len(shares) == len(bundle.class_names) else [],
        examples=shown.examples,
        seen=shown.seen if log else (),
        findings=findings,
        log=log,
        monitor=_monitor(bundle, predictor.task),
        evaluation=None if measured is None else {**vars(measured), "table": measured.table()},
        best=shown.best,
        worst=shown.worst,
        refined=shown.refined,
        refinement=str(predictor.refiner or ""),
        tuned=bundle.metrics.get("tuned"),
        environment=_environment(run, log, measured, bundle.origins),
        command=f"atrous train {quote(str(root))} --recipe {quote(str(run / 'recipe.yaml'))}{folds} -o NEW_RUN"
        if root
        else "",
        recipe=_written(run / "recipe.yaml"),
    )
    return content, shown.lacking


def _monitor(bundle: "Bundle", task: "Task") -> "Measure":
    """The figure that chose the weights: the bundle has its value, and an older one another than its task's now."""
    known = [measure for measure in task.measures if f"val_{measure.name}" in bundle.metrics]
    return known[0] if known else task.monitor


def _written(recipe: Path) -> str:
    """A recipe as it stands in a file, or nothing where there is none."""
    return recipe.read_text(encoding="utf-8", errors="replace") if recipe.is_file() else ""


def _environment(
    run: Path, log: telling.LogRows, measured: Evaluation | None, origins: "Sequence[WeightsOrigin]"
) -> list[tuple[str, str]]:
    """What was started from, and times, machine and versions as the run recorded them, or else of this machine."""
    facts = [("Run", str(run))]
    if log:
        spent = telling.span(telling.seconds_of(log))
        facts.append(("Training", f"{spent} for {log[-1]['step']} steps, validations included"))
    if measured is not None:
        facts.append(
            ("Evaluation", f"{telling.span(measured.seconds)} for {len(measured.images)} images, {measured.how}")
        )
    facts += [("Started from", f"{origin.part}: {origin}") for origin in origins]
    facts += [(f"Stage {part.name}", str(part)) for part in read_parts(run)]
    recorded = read_json(run / "environment.json", dict[str, str])
    facts += [(str(key), str(value)) for key, value in (recorded or describe_machine()).items()]
    facts.append(("Page written", datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")))
    return facts
