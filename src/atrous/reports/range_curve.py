"""The curve of a learning-rate range test, as a picture that stands alone."""

import io
from collections.abc import Sequence
from typing import Any, Literal

from atrous.reports.architecture import INK, LINE, MUTED, PAPER, PARTS

__all__ = ["draw_range_curve"]

CURVE, MARK = PARTS[0][1], PARTS[1][1]


def draw_range_curve(
    rates: Sequence[float],
    losses: Sequence[float],
    smooth: Sequence[float],
    *,
    suggestion: float | None,
    kind: Literal["png", "svg"] = "png",
) -> bytes:
    """Draw loss over learning rate, with a mark at the rate that is suggested.

    Args:
        rates: of each step.
        losses: of each step.
        smooth: their running mean.
        suggestion: one of the rates, or None.
        kind: "png" or "svg".

    Returns:
        The content of the file.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.family": "sans-serif", "svg.fonttype": "none", "svg.hashsalt": "range"}):
        canvas = Figure(figsize=(6.4, 4.0), layout="constrained", facecolor=PAPER)
        axes = canvas.add_subplot()
        axes.semilogx(rates, losses, color=CURVE, linewidth=0.8, alpha=0.35)
        axes.semilogx(rates, smooth, color=CURVE, linewidth=1.8)
        low, high = min(*smooth, *losses), max(smooth[0], min(max(smooth), 1.5 * smooth[0]))
        axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low) + 1e-6)
        if suggestion is not None:
            height = smooth[list(rates).index(suggestion)]
            axes.plot(suggestion, height, marker="o", markersize=8, color=MARK, fillstyle="none")
            axes.annotate(
                f"falls fastest at {suggestion:.2g}", (suggestion, height), xytext=(8, 8),
                textcoords="offset points", color=INK,
            )  # fmt: skip
        axes.set_xlabel("learning rate", color=MUTED)
        axes.set_ylabel("loss", color=MUTED)
        axes.tick_params(colors=MUTED, length=0, which="both")
        axes.grid(visible=True, axis="y", color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        for side, spine in axes.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(LINE)
        buffer = io.BytesIO()
        metadata: dict[str, Any] = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        canvas.savefig(buffer, format=kind, dpi=144, metadata=metadata)
    return buffer.getvalue()
