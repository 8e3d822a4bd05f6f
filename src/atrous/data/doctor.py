"""The data set doctor: reads every image and mask once, says what is there and what is wrong with it.

It reads in a few threads and keeps counts, not pixels, so its memory does not grow with the folder (but for a digest of
every image, by which copies are found).

The summary of a report holds:

- `root`, `layout` (as what the folder was read, see `datasets`), `complete` (False if it was stopped, or only a part
  was asked for), `splits` and `read`: pairs per split;
- `sizes`: `min`, `median`, `max` as [height, width], by area, and `distinct`; `kinds` and `channels` with counts;
  `kind` and `num_channels`: what the folder is read as;
- `classes`: of the training images, a list of `name`, `values`, `color`, `pixels`, `totals` (labelled pixels of the
  images in which the class occurs), `images`, `share` (of the labelled pixels); `discovered`: they come from the masks,
  no table was given; `ignore`: ignored mask values; `pixels`:
  per split, pixels of each class; `ignored`: per split, ignored pixels. Ignored pixels count nowhere else;
- `landmarks`: of the training images, a list of `name`, `visible`, `hidden`, `absent` (how often), and `mirror`, the
  name of its mirror image; then `classes` are the same names, and have no pixels;
- `mean`, `std`: per channel, over the valid pixels of the training images.
"""

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from atrous.class_names import folder_names
from atrous.data.brought import BroughtImages
from atrous.data.classes import Classes
from atrous.data.discovery import Palettes, mixed_255
from atrous.data.examine import Moments, PairFacts, examine, used_values
from atrous.data.folder import Contents, Folder, examine_folder, header_findings, spread
from atrous.data.instance_maps import NotNumbered
from atrous.data.landmark_check import landmark_findings, landmark_rows
from atrous.data.splits import Pair
from atrous.data.turned import TurnedImages
from atrous.findings import CheckReport, Finding, error, readable, warning
from atrous.images.colors import to_hex
from atrous.images.derived import DerivedPlanes
from atrous.images.files import JPEG_SUFFIXES, ImageFile
from atrous.types import IGNORE_INDEX

__all__ = ["CheckReport", "Finding", "check_folder", "quick_check"]

MUCH = 0.1
"""Share of ignored pixels from which on the doctor asks whether 255 is a class after all."""


def check_folder(
    path: str | Path | Folder | Contents,
    *,
    val_fraction: float = 0.2,
    seed: int = 0,
    classes: str | Path | Classes | None = None,
    layout: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> CheckReport:
    """Read everything once and report what is there and every problem.

    Args:
        path: a folder, with the arguments of `open_folder`; or one that is open, or has been examined.
        val_fraction: as in `open_folder`.
        seed: as in `open_folder`.
        classes: as in `open_folder`.
        layout: as in `open_folder`.
        progress: called with (pairs done, pairs in total), from the calling thread.
        stop: when it is set, the report holds what was read until then.

    Raises:
        DataError: if there is no such folder, or nothing in it that looks like a data set.
    """
    if isinstance(path, Folder | Contents):
        contents = _contents(path)
    else:
        contents = examine_folder(path, val_fraction=val_fraction, seed=seed, classes=classes, layout=layout)
    work = [(split, pair) for split, pairs in contents.splits.items() for pair in pairs]
    tally = _FolderTotals(contents)
    for done, facts in enumerate(_examine_all(work, contents, stop), start=1):
        tally.add(facts)
        if progress is not None:
            progress(done, len(work))
    return tally.report()


def quick_check(folder: str | Path | Folder, *, pairs: int = 16, headers: int = 2000) -> CheckReport:
    """Read some headers and a few pairs, to find the coarse mistakes at once.

    Args:
        folder: a path, or a folder that is open.
        pairs: how many are read in full, spread over the training and validation pairs; mean, standard deviation and
            class counts are theirs.
        headers: how many image headers are read, spread over the folder.

    Raises:
        DataError: as `check_folder`.
    """
    contents = _contents(folder) if isinstance(folder, Folder) else examine_folder(folder)
    # Every split gets its share, training first: classes and moments are those of training images.
    work = [("train", pair) for pair in spread(contents.splits["train"], max(pairs - pairs // 4, 1))]
    work += [("val", pair) for pair in spread(contents.splits["val"], pairs // 4)]
    chosen = {pair for _, pair in work}
    tally = _FolderTotals(contents)
    rest = [pair for pair in spread(contents.pairs, headers) if pair not in chosen]
    tally.findings += header_findings(contents, rest, tally.brought, tally.turned)
    tally.looked += len(rest)
    for facts in _examine_all(work, contents, None):
        tally.add(facts)
    return tally.report()


def _contents(folder: Folder | Contents) -> Contents:
    """An open folder as one that may have errors."""
    if isinstance(folder, Contents):
        return folder
    known = folder.classes, folder.channels, folder.dtype, folder.findings, folder.layout
    return Contents(folder.root, folder.splits, *known)


def _examine_all(
    work: Sequence[tuple[str, Pair]], contents: Contents, stop: threading.Event | None
) -> Iterator[PairFacts]:
    """Facts in order, a few threads ahead; ends early when `stop` is set."""
    workers = min(4, os.cpu_count() or 1)
    waiting: deque[Future[PairFacts]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="check") as pool:
        for split, pair in work:
            if stop is not None and stop.is_set():
                break
            waiting.append(pool.submit(examine, split, pair, contents))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting and not (stop is not None and stop.is_set()):
            yield waiting.popleft().result()


class _FolderTotals:
    """Adds up the facts of pairs, in their order."""

    def __init__(self, contents: Contents) -> None:
        classes = len(contents.classes) if contents.classes else 0
        self.contents = contents
        self.findings = list(contents.findings)
        self.read: Counter[str] = Counter()
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.channels: Counter[int] = Counter()
        self.kinds: Counter[str] = Counter()
        self.pixels = {split: np.zeros(classes + 1, np.int64) for split in contents.splits}
        self.images = {split: np.zeros(classes, np.int64) for split in contents.splits}
        self.totals = np.zeros(classes, np.int64)
        self.moments: Moments | None = None
        self.digests: dict[bytes, tuple[str, ImageFile]] = {}
        self.palettes = Palettes()
        self.maps = NotNumbered()
        self.files_255: dict[str, str] = {}
        self.invalid = 0
        self.brought = BroughtImages()
        self.turned = TurnedImages()
        self.looked = 0
        self.by_image: dict[ImageFile, tuple[int, int]] = {}

    def add(self, facts: PairFacts) -> None:
        """Add one pair."""
        self.findings += facts.findings
        self.read[facts.split] += 1
        self.looked += 1
        self.brought.add(facts.brought, facts.pair.image)
        self.turned.add(facts.pair, facts.orientation, facts.size)
        if facts.size is not None:
            self.sizes[facts.size] += 1
            self.channels[facts.channels] += 1
            self.kinds[facts.dtype] += 1
            self.by_image[facts.pair.image] = facts.size
        if facts.digest:
            self._compare(facts)
        if facts.objects is not None:
            self.maps.add(facts.objects, facts.pair.instances)
        if facts.counts is not None:
            self._look_at_values(facts, facts.counts)
            seen = facts.counts[:-1] > 0
            self.pixels[facts.split] += facts.counts
            self.images[facts.split] += seen
            if facts.split == "train":
                self.invalid += facts.invalid
                self.totals += np.where(seen, facts.counts[:-1].sum(), 0)
        if facts.split == "train" and facts.moments and facts.channels == self.contents.channels:
            self.moments = facts.moments if self.moments is None else self.moments.merge(facts.moments)

    def _look_at_values(self, facts: PairFacts, counts: np.ndarray) -> None:
        """Remember what only all masks together tell: palettes that differ, and what 255 may mean."""
        classes, mask = self.contents.classes, facts.pair.mask
        if classes is None or mask is None:
            return
        if facts.palette is not None:
            self.palettes.add(facts.palette, used_values(counts, classes), mask)
        if classes.discovered and classes.values == ((0,), (1,)):
            if counts[2] and not counts[1]:
                self.files_255.setdefault("alone", str(mask))
            elif counts[1] and not counts[2]:
                self.files_255.setdefault("beside", str(mask))

    def _left_out(self) -> float:
        """Share of the training pixels that the masks ignore, where the images have numbers."""
        pixels = self.pixels["train"]
        return int(pixels[-1] - self.invalid) / max(int(pixels.sum()) - self.invalid, 1)

    def _value_findings(self) -> Iterator[Finding]:
        if (finding := self.palettes.finding()) is not None:
            yield finding
        if (finding := self.maps.finding()) is not None:
            yield finding
        if len(self.files_255) == 2:
            yield mixed_255(self.files_255["alone"], self.files_255["beside"])

    def _compare(self, facts: PairFacts) -> None:
        """Find copies."""
        split, image = self.digests.setdefault(facts.digest, (facts.split, facts.pair.image))
        if image == facts.pair.image:
            return
        if split != facts.split:
            message = f"has the same pixels as {image}, which is in {split}, and is itself in {facts.split}"
            fix = "Keep one of them: an image that was trained on measures nothing."
            self.findings.append(error("duplicate_across_splits", facts.pair.image, message, fix))
        else:
            message = f"has the same pixels as {image}"
            self.findings.append(warning("duplicate_image", facts.pair.image, message, "Keep one of them."))

    def report(self) -> CheckReport:
        """The report of everything added."""
        contents = self.contents
        counts = {split: len(pairs) for split, pairs in contents.splits.items()}
        summary: dict[str, Any] = {
            "root": readable(contents.root),
            "layout": contents.layout,
            "complete": all(self.read[split] == count for split, count in counts.items()),
            "splits": counts,
            "read": {split: self.read[split] for split in counts},
            "sizes": _sizes(self.sizes),
            "kinds": dict(self.kinds.most_common()),
            "channels": {str(number): count for number, count in self.channels.most_common()},
            "kind": contents.dtype,
            "num_channels": contents.channels,
            "classes": self._classes(),
            "landmarks": landmark_rows(contents),
            "discovered": bool(contents.classes and contents.classes.discovered),
            "ignore": _ignored(contents.classes),
            "pixels": {split: [int(n) for n in pixels[:-1]] for split, pixels in self.pixels.items()},
            "ignored": {split: int(pixels[-1]) for split, pixels in self.pixels.items()},
            "mean": [],
            "std": [],
        }
        if self.moments is not None:
            summary["mean"] = [float(m) for m in self.moments.mean]
            summary["std"] = [float(s) for s in np.sqrt(self.moments.squares / self.moments.number)]
        told = any(finding.severity == "error" for finding in self.findings)
        findings = [
            *self.findings,
            *self._value_findings(),
            *self.brought.findings(self.looked),
            *self.turned.findings(),
            *landmark_findings(contents, self.by_image),
            *(
                []
                if contents.landmarks
                else _folder_findings(contents, summary, self.images, self._left_out(), told=told)
            ),
        ]
        return CheckReport(tuple(findings), summary)

    def _classes(self) -> list[dict[str, Any]]:
        """One row per class."""
        classes = self.contents.classes
        if classes is None:
            return []
        pixels, images = self.pixels["train"][:-1], self.images["train"]
        labelled = max(int(pixels.sum()), 1)
        rows = zip(classes.names, classes.values, classes.colors, strict=True)
        return [
            {
                "name": name,
                "values": list(values),
                "color": to_hex(color),
                "pixels": int(pixels[k]),
                "totals": int(self.totals[k]),
                "images": int(images[k]),
                "share": int(pixels[k]) / labelled,
            }
            for k, (name, values, color) in enumerate(rows)
        ]


def _sizes(sizes: Counter[tuple[int, int]]) -> dict[str, Any]:
    """Smallest, median and largest size by area."""
    if not sizes:
        return {}
    ordered = sorted(sizes.elements(), key=lambda size: (size[0] * size[1], size))
    small, middle, large = ordered[0], ordered[len(ordered) // 2], ordered[-1]
    return {"min": list(small), "median": list(middle), "max": list(large), "distinct": len(sizes)}


def _folder_findings(
    contents: Contents, summary: dict[str, Any], images: dict[str, np.ndarray], left_out: float, *, told: bool
) -> Iterable[Finding]:
    """What is wrong with the folder as a whole.

    Args:
        contents: of the folder.
        summary: of its files.
        images: in how many images of a split each class occurs.
        left_out: share of the pixels that the masks ignore.
        told: there are errors in files, which may be why nothing is labelled.
    """
    root, classes = contents.root, contents.classes
    masks = (pair.mask for pair in contents.pairs if isinstance(pair.mask, Path))  # not what JSON draws on a JPEG
    lossy = [mask for mask in masks if mask.suffix.lower() in JPEG_SUFFIXES]
    if lossy and classes is not None:
        message = f"is a JPEG, as are {len(lossy)} masks in all; JPEG changes values near every edge"
        yield warning("lossy_mask", lossy[0], message, "Export the masks again as PNG.")
    if classes is None or not summary["read"].get("train"):
        return
    if classes.discovered and classes.values == ((0,), (255,)):
        message = "masks hold 0 and 255: read as background and foreground, so 255 is not ignored here"
        fix = "Write classes.yaml if it should be otherwise: classes: [{name: ..., value: 0}, ...], ignore: [255]."
        yield warning("mask_0_255", root, message, fix)
    if classes.discovered and IGNORE_INDEX in classes.ignore and left_out > MUCH:
        message = f"255 is taken for 'ignored', which leaves out {100 * left_out:.0f} % of the pixels"
        fix = "If it is a class, write classes.yaml and give it a name there; if not, write ignore: [255] there."
        yield warning("much_ignored", root, message, fix)
    yield from _unpaired(root, classes)
    multilabel = any(isinstance(pair.mask, DerivedPlanes) for pair in contents.pairs)
    if multilabel:
        yield from _named_alike(root, classes)
    if not summary["complete"]:
        return  # what a part does not hold, the rest may
    rows = summary["classes"]
    if not any(row["pixels"] for row in rows):
        if not told:
            fix = "Label some, or look at 'ignore'."
            yield error("no_labels", root, "has no labelled pixel in its training images", fix)
        return
    elsewhere = {split: seen for split, seen in images.items() if split != "train"}
    for number, row in enumerate(rows):
        if row["pixels"] == 0:
            yield _unseen(root, row["name"], [split for split, seen in elsewhere.items() if seen[number]])
        elif row["pixels"] == sum(other["pixels"] for other in rows) and not multilabel:
            message = f"has one class alone in its training images, {row['name']!r}: there is nothing to learn"
            yield error("one_class", root, message, "Add images with other classes, or look at classes.yaml.")
        elif row["share"] > 0.99 and not multilabel:
            message = f"{100 * row['share']:.2f} % of the labelled training pixels are {row['name']!r}"
            fix = "Add images of the others, or weigh the loss (cross_entropy with weights: median_frequency)."
            yield warning("imbalance", root, message, fix)


def _unpaired(root: Path, classes: Classes) -> Iterable[Finding]:
    """Classes whose names say left and right, and which nobody has called each other's mirror image."""
    places = {name.lower(): number for number, name in enumerate(classes.names)}
    paired = {number for pair in classes.flip_pairs for number in pair}
    found = [
        f"[{classes.names[number]}, {classes.names[places[other]]}]"
        for name, number in places.items()
        if (other := name.replace("left", "right")) != name and other in places
        if number not in paired and places[other] not in paired
    ]
    if found:
        message = f"has classes of a left and a right side, such as {found[0]}, and no flip_pairs that name them"
        fix = f"If a mirror exchanges them, write into classes.yaml: flip_pairs: [{', '.join(found)}]."
        yield warning("unpaired_sides", root, message, fix)


def _named_alike(root: Path, classes: Classes) -> Iterator[Finding]:
    """Classes whose folders of predictions cannot bear their names, because those would be the same."""
    given = dict(zip(classes.names, folder_names(classes.names), strict=True))
    alone = {name: folder_names([name])[0] for name in classes.names}
    if moved := [name for name in given if given[name] != alone[name]]:
        first = next(name for name in given if given[name].casefold() == alone[moved[0]].casefold())
        message = f"classes {first!r} and {moved[0]!r} are the same as names of folders"
        fix = f"Predictions go to labels/{given[first]} and labels/{given[moved[0]]}; rename one to tell them apart."
        yield warning("names_alike", root, message, fix)


def _ignored(classes: Classes | None) -> list[int | str]:
    """Ignored values, and ignored colours as "#rrggbb"."""
    return [] if classes is None else [*classes.ignore, *map(to_hex, classes.ignore_colors)]


def _unseen(root: Path, name: str, splits: list[str]) -> Finding:
    """The finding about a class that no training image shows."""
    if splits:
        message = f"class {name!r} occurs in {' and '.join(splits)} and in no training image, so it cannot be learnt"
        return warning(
            "class_never_seen", root, message, "Move an image with it to train, or ignore or merge its value."
        )
    message = f"class {name!r} occurs nowhere"
    return warning("class_never_seen", root, message, "Leave it out of classes.yaml, or add images with it.")
