"""The report's curves as inline SVG whose inks are CSS variables, so that light and dark pages share one figure."""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atrous.tasks import MEAN_IOU, Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Figure", "learning_curves"]

# matplotlib knows no CSS variables: it draws with these stand-ins, which `_themed` replaces in the finished SVG.
INK, MUTED, LINE, FIRST, SECOND = "#010101", "#010102", "#010103", "#010104", "#010105"
_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", FIRST: "--first", SECOND: "--second"}

LogRow = Mapping[str, float]


@dataclass(frozen=True)
class Figure:
    """A drawn figure: what it shows, in words for who does not see it, and its SVG."""

    title: str
    caption: str
    svg: str


def learning_curves(log: Sequence[Mapping[str, Any]], monitor: Measure = MEAN_IOU) -> list[Figure]:
    """Loss, validation score and learning rate over the steps, as many of them as the log holds; and the adversary's.

    Args:
        log: rows with `step` and any of `loss`, `val_loss`, `lr`, `adversary_loss`, `adversary_real`, `adversary_fake`
            and `val_` with the monitor's name; a value that is absent, empty or not a number was not measured at that
            step.
        monitor: the figure that chose the weights.
    """
    drawn = [_loss(log), _score(log, monitor), _rate(log), _adversary(log), _belief(log)]
    return [figure for figure in drawn if figure is not None]


def series(log: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Steps and values of one column, without the rows where it was not measured.

    Example:
        >>> series([{"step": 1, "loss": "0.5"}, {"step": 2, "loss": ""}, {"step": 3, "loss": 0.25}], "loss")
        ([1.0, 3.0], [0.5, 0.25])
    """
    steps, values = [], []
    for row in log:
        step, value = _number(row.get("step")), _number(row.get(key))
        if math.isfinite(step) and math.isfinite(value):
            steps.append(step)
            values.append(value)
    return steps, values


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _smooth(values: Sequence[float], window: int) -> list[float]:
    """Mean of the last `window` values at every place; shorter at the start."""
    return [sum(values[max(0, i - window + 1) : i + 1]) / min(i + 1, window) for i in range(len(values))]


def _loss(log: Sequence[Mapping[str, Any]]) -> Figure | None:
    steps, losses = series(log, "loss")
    val_steps, val_losses = series(log, "val_loss")
    if len(steps) < 2:
        return None
    window = max(1, len(losses) // 25)

    def draw(axes: "Axes") -> None:
        axes.plot(steps, losses, color=FIRST, linewidth=0.8, alpha=0.35)
        axes.plot(steps, _smooth(losses, window), color=FIRST, linewidth=1.8, label="training")
        if val_steps:
            axes.plot(val_steps, val_losses, color=SECOND, linewidth=1.6, marker=".", label="validation")
        axes.set_ylim(bottom=0, top=_ceiling(losses + val_losses))
        _legend(axes)

    alt = f"Training loss falls from {losses[0]:.3g} to {_smooth(losses, window)[-1]:.3g} at step {steps[-1]:.0f}"
    alt += f"; validation loss ends at {val_losses[-1]:.3g}." if val_losses else "."
    caption = "Lower is better. The faint line is every logged step, the bold one its running mean."
    return _figure("Loss", caption, alt, draw)


def _score(log: Sequence[Mapping[str, Any]], monitor: Measure) -> Figure | None:
    steps, scores = series(log, f"val_{monitor.name}")
    if not steps:
        return None
    best = (max if monitor.higher_is_better else min)(range(len(scores)), key=scores.__getitem__)

    def draw(axes: "Axes") -> None:
        axes.plot(steps, scores, color=SECOND, linewidth=1.6, marker="o", markersize=3.5)
        axes.plot(steps[best], scores[best], marker="o", markersize=8, color=SECOND, fillstyle="none")
        axes.set_ylim(*_limits(scores, monitor))
        right = steps[best] > (steps[0] + steps[-1]) / 2
        axes.annotate(
            f"best {scores[best]:.3f}", (steps[best], scores[best]), xytext=(4 if right else -4, 8),
            textcoords="offset points", ha="right" if right else "left", color=INK,
        )  # fmt: skip

    alt = f"Validation {monitor.words} over the steps; best {scores[best]:.3f} at step {steps[best]:.0f}."
    caption = f"{'Higher' if monitor.higher_is_better else 'Lower'} is better"
    caption += "" if monitor.perfect is None else f", {monitor.perfect:g} is perfect"
    caption += ". The ring marks the step whose weights were kept."
    title = monitor.words[0].upper() + monitor.words[1:]
    return _figure(f"{title} on validation images", caption, alt, draw)


def _limits(scores: Sequence[float], monitor: Measure) -> tuple[float, float]:
    """From what height to what height a curve of scores is drawn: shares within 0 and 1, others with some room."""
    low, high = min(scores), max(scores)
    if monitor.perfect == 1:
        low = max(0.0, low - 0.05)
        return low, min(1.0, high + 0.15 * (high - low) + 0.01)
    room = max(high - low, abs(high) / 10, 1e-6)
    return low - 0.05 * room, high + 0.15 * room


def _rate(log: Sequence[Mapping[str, Any]]) -> Figure | None:
    steps, rates = series(log, "lr")
    if len(steps) < 2:
        return None

    def draw(axes: "Axes") -> None:
        axes.plot(steps, rates, color=FIRST, linewidth=1.6)
        axes.set_ylim(bottom=0)
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))

    alt = f"Learning rate over the steps, highest {max(rates):.3g}, last {rates[-1]:.3g}."
    return _figure("Learning rate", "How large the optimiser's steps were allowed to be.", alt, draw)


def _adversary(log: Sequence[Mapping[str, Any]]) -> Figure | None:
    steps, losses = series(log, "adversary_loss")
    if len(steps) < 2:
        return None
    window = max(1, len(losses) // 25)

    def draw(axes: "Axes") -> None:
        axes.plot(steps, losses, color=FIRST, linewidth=0.8, alpha=0.35)
        axes.plot(steps, _smooth(losses, window), color=FIRST, linewidth=1.8)
        axes.set_ylim(bottom=0, top=_ceiling(losses))

    last = _smooth(losses, window)[-1]
    alt = f"Loss of the adversary over the steps, first {losses[0]:.3g}, last {last:.3g}."
    caption = (
        "Of the network that learns to tell masks from outputs. Near 0, it always can; where it guesses, it is high."
    )
    return _figure("Loss of the adversary", caption, alt, draw)


def _belief(log: Sequence[Mapping[str, Any]]) -> Figure | None:
    steps, real = series(log, "adversary_real")
    fake_steps, fake = series(log, "adversary_fake")
    if len(steps) < 2 or len(fake_steps) < 2:
        return None
    window = max(1, len(real) // 25)

    def draw(axes: "Axes") -> None:
        axes.plot(steps, _smooth(real, window), color=FIRST, linewidth=1.6, label="true masks")
        axes.plot(fake_steps, _smooth(fake, window), color=SECOND, linewidth=1.6, label="outputs")
        axes.set_ylim(0, 1)
        _legend(axes)

    alt = f"The adversary calls true masks true with {real[-1]:.2f}, and outputs with {fake[-1]:.2f}, at the last step."
    caption = (
        "How likely the adversary thinks each to be a true mask: far apart, it knows them; both near 0.5, it guesses."
    )
    return _figure("What the adversary believes", caption, alt, draw)


def _ceiling(losses: Sequence[float]) -> float:
    """A top for the loss axis that the first few wild steps do not set alone."""
    ordered = sorted(losses)
    usual = ordered[min(len(ordered) - 1, int(0.98 * len(ordered)))]
    return max(1.12 * usual, 1e-3) if ordered[-1] > 2 * usual else max(1.05 * ordered[-1], 1e-3)


def _legend(axes: "Axes") -> None:
    legend = axes.legend(frameon=False, loc="best")
    for text in legend.get_texts():
        text.set_color(INK)


def _figure(title: str, caption: str, alt: str, draw: "Callable[[Axes], None]") -> Figure:
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    settings = {"svg.fonttype": "none", "font.size": 10.5, "font.family": "sans-serif", "svg.hashsalt": title}
    with mpl.rc_context(settings):
        canvas = Canvas(figsize=(4.1, 2.8), layout="constrained")
        axes = canvas.add_subplot()
        draw(axes)
        _quiet(axes)
        buffer = io.StringIO()
        canvas.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Figure(title, caption, _themed(buffer.getvalue(), title, alt))


def _quiet(axes: "Axes") -> None:
    """Few lines, all in the page's own inks."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("step", color=MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(colors=MUTED, length=0)
    axes.yaxis.get_offset_text().set_color(MUTED)
    axes.grid(visible=True, axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(LINE)


def _themed(svg: str, title: str, alt: str) -> str:
    """The bare <svg> element: coloured by CSS variables, ids of its own, named for who does not see it."""
    body = svg[svg.index("<svg") :]
    for stand_in, variable in _VARIABLES.items():
        body = body.replace(stand_in, f"var({variable})")
    body = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    # Several figures share one page, so their ids must not meet.
    prefix = re.sub(r"\W+", "-", title.lower())
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", body)
    body = re.sub(r' (width|height)="[\d.]+pt"', "", body, count=2)
    return body.replace("<svg", f'<svg role="img" aria-label="{alt}"', 1)
