"""Paired runs of two or more ways to do one thing, their medians, and where they were measured.

A single timing says little on a shared machine: every round runs each contender once, in turn, so that a slow moment
hits all of them; the ratio is the median of the per-round ratios to the first contender, the peer.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "torch", "torchvision", "timm", "segmentation_models_pytorch", "albumentations", "opencv-python-headless", "numba",
    "itk-rtk", "diffdrr", "nanodrr",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One contender in one comparison: median seconds, spread, and the ratio to the peer (above 1 is faster)."""

    comparison: str
    contender: str
    seconds: float
    low: float
    high: float
    ratio: float
    note: str = ""


def machine() -> dict[str, str]:
    """Processor, its instructions that matter here, cores, and the versions of what was measured."""
    cpu, flags = platform.processor() or platform.machine(), ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = dict(line.split(":", 1) for line in info.read_text().split("\n\n")[0].splitlines() if ":" in line)
        named = {key.strip(): value.strip() for key, value in lines.items()}
        cpu = f"{named.get('model name', cpu)} (family {named.get('cpu family', '?')})"
        wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
        flags = " ".join(flag for flag in wanted if flag in named.get("flags", "").split())
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except ImportError:
            continue
    return {
        "cpu": cpu,
        "flags": flags,
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **found,
    }


def compare(name: str, contenders: dict[str, Callable[[], object]], *, rounds: int = 7, warmup: int = 2) -> list[Row]:
    """Run every contender once a round; the first named is the peer that the ratios refer to."""
    for run in contenders.values():
        for _ in range(warmup):
            run()
    times: dict[str, list[float]] = {key: [] for key in contenders}
    for _ in range(rounds):
        for key, run in contenders.items():
            start = time.perf_counter()
            run()
            times[key].append(time.perf_counter() - start)
    peer = times[next(iter(contenders))]
    rows = []
    for key, taken in times.items():
        ratio = statistics.median(p / t for p, t in zip(peer, taken, strict=True))
        rows.append(Row(name, key, statistics.median(taken), min(taken), max(taken), ratio))
    return rows


def table(rows: list[Row]) -> str:
    """A Markdown table; losing rows stand in it like the winning ones."""
    lines = ["| comparison | contender | median | range | against the peer | note |", "|---|---|---|---|---|---|"]
    for row in rows:
        unit, factor = ("ms", 1e3) if row.seconds < 1 else ("s", 1)
        spread = f"{row.low * factor:.1f}-{row.high * factor:.1f}"
        lines.append(
            f"| {row.comparison} | {row.contender} | {row.seconds * factor:.1f} {unit} | {spread} | "
            f"{row.ratio:.2f}x | {row.note} |"
        )
    return "\n".join(lines)


def read_rows(name: str) -> dict[str, dict[str, Any]]:
    """The rows that a resumable runner has kept in results/NAME.json, by their keys."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text())["rows"] if file.exists() else {}


def keep_rows(name: str, rows: dict[str, dict[str, Any]], text: str, *, arguments: str = " DATA") -> None:
    """Write the rows of a resumable runner, whole or not at all, and results/NAME.md with its command and `text`."""
    beside = RESULTS / f"{name}.part"
    beside.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    beside.replace(RESULTS / f"{name}.json")
    where = ", ".join(f"{key} {value}" for key, value in machine().items())
    (RESULTS / f"{name}.md").write_text(f"# {name}\n\n`python -m benchmarks.{name}{arguments}`\n\n{where}\n\n{text}\n")


def save(name: str, command: str, rows: list[Row], extra: dict[str, object] | None = None) -> None:
    """Write results/NAME.md and results/NAME.json, and print the table."""
    RESULTS.mkdir(exist_ok=True)
    where = machine()
    line = ", ".join(f"{key} {value}" for key, value in where.items())
    text = f"# {name}\n\n`{command}`\n\n{line}\n\n{table(rows)}\n"
    for key, value in (extra or {}).items():
        text += f"\n{key}: {value}\n"
    (RESULTS / f"{name}.md").write_text(text)
    data = {"command": command, "machine": where, "rows": [asdict(row) for row in rows], "extra": extra or {}}
    (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
    print(text)
