"""Colours of classes, and images and class maps as pictures: stretched, painted, overlaid, made small.

This stands below all rooms and knows arrays alone, so that a `Prediction`, `atrous predict` and the report draw alike.
"""

import base64
import colorsys
import io
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

__all__ = [
    "CONFUSED",
    "FALSE_ALARM",
    "IGNORED",
    "MISSED",
    "Color",
    "apart",
    "bare_class",
    "color_distance",
    "data_uri",
    "default_colors",
    "enlarge",
    "former_colors",
    "mark",
    "overlay",
    "paint",
    "shrink",
    "to_display",
    "write_numbers",
]

Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

IGNORED: Color = (150, 150, 158)
MISSED: Color = (213, 94, 0)
"""An object's pixel that was not found: vermilion of the Okabe-Ito palette."""
FALSE_ALARM: Color = (0, 114, 178)
"""A pixel of the background that was taken for an object: blue of the same palette."""
CONFUSED: Color = (30, 30, 36)
"""A pixel that was given another class: nearly black. All three are told apart by every kind of colour vision."""
PALETTE: tuple[Color, ...] = (
    (128, 110, 57), (24, 170, 96), (226, 178, 0), (168, 116, 255), (115, 232, 255), (128, 38, 98), (102, 68, 0),
    (230, 230, 138), (0, 255, 212), (204, 122, 156), (61, 102, 68), (106, 77, 255), (255, 170, 153), (199, 138, 230),
    (255, 234, 0), (153, 23, 142), (154, 178, 80), (0, 204, 204), (153, 92, 143), (19, 128, 109), (244, 120, 220),
    (204, 61, 109),
)  # fmt: skip
"""Chosen one after the other, each as far from all before it as it could be, and all far from the three above."""
NEAR = 30.0
"""Colours closer than this in CIELAB are taken for each other when they do not lie side by side."""


def default_colors(names: Sequence[str]) -> tuple[Color, ...]:
    """Colours that stay apart, from each other and from those of errors; "background" is black.

    Example:
        >>> default_colors(["background", "cell"])
        ((0, 0, 0), (24, 170, 96))
    """
    further = _further_colors()
    colors = [PALETTE[number] if number < len(PALETTE) else next(further) for number in range(len(names))]
    return tuple((0, 0, 0) if name == "background" else color for name, color in zip(names, colors, strict=True))


def _further_colors() -> Iterator[Color]:
    """Hues a golden section apart, in three lightnesses by turns; none that looks like an error."""
    for color in _spaced_colors(itertools.count(len(PALETTE))):
        if min(color_distance(color, error) for error in (MISSED, FALSE_ALARM, CONFUSED)) >= NEAR:
            yield color


def _spaced_colors(numbers: Iterable[int]) -> Iterator[Color]:
    for number in numbers:
        hue, light = (0.045 + 0.618034 * (number - 1)) % 1, (0.95, 0.7, 0.85)[number % 3 - 1]
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, light)
        yield round(255 * red), round(255 * green), round(255 * blue)


def former_colors(names: Sequence[str]) -> tuple[Color, ...]:
    """The default colours of bundles that were made before there were colours for errors."""
    spaced = _spaced_colors(range(len(names)))
    return tuple((0, 0, 0) if name == "background" else color for name, color in zip(names, spaced, strict=True))


def color_distance(one: Color, other: Color) -> float:
    """How different two colours look: their distance in CIELAB (CIE 1976), where 2 is just seen, side by side.

    Example:
        >>> round(color_distance((0, 0, 0), (255, 255, 255)))
        100
    """
    return math.dist(_lab(one), _lab(other))


def _lab(color: Color) -> tuple[float, float, float]:
    """SRGB in CIELAB, for the white of daylight (D65)."""
    red, green, blue = ((v / 12.92) if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in color))
    x = (0.4124564 * red + 0.3575761 * green + 0.1804375 * blue) / 0.95047
    y = 0.2126729 * red + 0.7151522 * green + 0.0721750 * blue
    z = (0.0193339 * red + 0.1191920 * green + 0.9503041 * blue) / 1.08883
    x, y, z = (v ** (1 / 3) if v > (6 / 29) ** 3 else v / (3 * (6 / 29) ** 2) + 4 / 29 for v in (x, y, z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def bare_class(names: Sequence[str], shares: Sequence[float]) -> int | None:
    """The class that is not painted over an image, because nothing else could be seen; None where there is none.

    Args:
        names: of the classes.
        shares: of the pixels, 0..1, or any numbers in proportion; [] where nobody knows.

    Example:
        >>> bare_class(["cell", "background"], []), bare_class(["road", "crack"], [0.98, 0.02])
        (1, 0)
        >>> bare_class(["sky", "road", "car"], [0.4, 0.4, 0.2]) is None
        True
    """
    if "background" in names:
        return list(names).index("background")
    most = max(range(len(shares)), key=shares.__getitem__, default=0)
    return most if len(shares) > 1 and 2 * shares[most] > sum(shares) else None


DIM = 100
"""8-bit images are stretched where nearly all pixels are below this."""


def to_display(image: np.ndarray) -> np.ndarray:
    """An image of any kind and channel count as 8-bit RGB.

    8-bit images are shown as they are, unless they are so dim that little would be seen. Those and all other
    kinds are stretched, each channel between its own percentiles 0.5 and 99.8. Of two channels the first is shown, of
    four and more the first three.

    Args:
        image: (H, W) or (H, W, C), any real numbers; NaN shows black.

    Returns:
        (H, W, 3) uint8.
    """
    array = image[..., None] if image.ndim == 2 else image
    array = array[..., :3] if array.shape[2] >= 3 else array[..., :1]
    lows, highs = _ranges(array)
    if array.dtype != np.uint8 or max(highs) < DIM:
        array = _stretch(array, lows, highs)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _ranges(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Between which numbers nearly all pixels of each channel are."""
    # Every n-th pixel is enough for percentiles, and keeps a gigapixel image from being sorted.
    step = max(1, int((array.shape[0] * array.shape[1] / 1_000_000) ** 0.5))
    seen = [array[::step, ::step, channel].astype(np.float32) for channel in range(array.shape[2])]
    known = [values[np.isfinite(values)] for values in seen]
    # Not the 99th: small bright objects are often less than one pixel in a hundred, and nothing else is to be seen.
    pairs = [np.percentile(values, (0.5, 99.8)) if values.size else (0.0, 1.0) for values in known]
    lows, highs = np.array(pairs, dtype=np.float64).T
    return lows, highs


def _stretch(array: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
    # Of 8 bits a blank image stays blank, and an empty channel dark: their noise is no picture.
    spans = np.maximum(highs - lows, 24 if array.dtype == np.uint8 else 1e-6)
    scaled = (array.astype(np.float32) - lows.astype(np.float32)) * (255.0 / spans).astype(np.float32)
    return np.nan_to_num(np.clip(scaled, 0, 255)).astype(np.uint8)


def paint(classes: np.ndarray, colors: Sequence[Color]) -> np.ndarray:
    """A class map in the colours of its classes; ignored pixels are a grey chequer.

    Args:
        classes: (H, W) integers; `IGNORE_INDEX` is ignored unless there is a class of that number.
        colors: red, green, blue in 0..255 for every class.

    Returns:
        (H, W, 3) uint8.
    """
    known = classes < len(colors)
    table = np.asarray(colors, dtype=np.uint8).reshape(-1, 3)
    painted = table[np.where(known, classes, 0)]
    if not known.all():
        y, x = np.arange(classes.shape[0])[:, None], np.arange(classes.shape[1])
        light = ((y // 8 + x // 8) % 2 == 0)[..., None]
        chequer = np.where(light, np.uint8(IGNORED[0] + 60), np.uint8(IGNORED[0] + 30))
        painted = np.where(known[..., None], painted, chequer)
    return painted


THICK_FROM = 400
"""Pictures from this side on are likely to be shown smaller than they are: outlines of objects are two pixels wide."""


def overlay(
    image: np.ndarray,
    classes: np.ndarray,
    colors: Sequence[Color],
    *,
    opacity: float = 0.45,
    outline: bool = True,
    objects: np.ndarray | None = None,
    bare: int | None = None,
) -> np.ndarray:
    """The class colours laid over the image, with a full-strength line where classes meet.

    Args:
        image: (H, W, 3) uint8, see `to_display`.
        classes: (H, W) class of every pixel; ignored pixels show the bare image.
        colors: red, green, blue in 0..255 for every class.
        opacity: 0 shows the image alone, 1 the colours alone.
        outline: draw the borders between classes at full strength.
        objects: (H, W) number of each pixel's object: then each is outlined, and has its number where there is room.
        bare: a class that is not painted, see `bare_class`.

    Returns:
        (H, W, 3) uint8.
    """
    painted = paint(classes, colors)
    mixed = image.astype(np.float32) * (1 - opacity) + painted.astype(np.float32) * opacity
    shown = (classes < len(colors)) & (classes != (-1 if bare is None else bare))
    result = np.where(shown[..., None], mixed.round().astype(np.uint8), image)
    if outline:
        edge = (_rims(classes) & shown) if bare is not None else _edges(classes)
        if objects is not None:
            edge |= _rims(objects, width=2 if max(objects.shape) >= THICK_FROM else 1) & (objects > 0)
        result[edge] = painted[edge]
    if objects is not None:
        write_numbers(result, objects)
    return result


def write_numbers(picture: np.ndarray, objects: np.ndarray) -> None:
    """Write on each object its number, in place; on those that are large enough for it.

    Args:
        picture: (H, W, 3) uint8.
        objects: (H, W) numbers, 0 where there is none.
    """
    import cv2

    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.38
    rows, columns = np.nonzero(objects)
    numbers, places, counts = np.unique(objects[rows, columns], return_inverse=True, return_counts=True)
    if not numbers.size:
        return
    middles = [np.bincount(places, weights=where) / counts for where in (rows, columns)]
    for number, count, y, x in zip(numbers.tolist(), counts.tolist(), *middles, strict=True):
        (width, height), _ = cv2.getTextSize(str(number), font, scale, 1)
        if count < 1.2 * width * height:
            continue
        corner = (round(x - width / 2), round(y + height / 2))
        cv2.putText(picture, str(number), corner, font, scale, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(picture, str(number), corner, font, scale, (255, 255, 255), 1, cv2.LINE_AA)


def mark(
    picture: np.ndarray, points: np.ndarray, colors: Sequence[Color], names: Sequence[str] = (), *, cross: bool = False
) -> np.ndarray:
    """Points over a picture, with their names where there are not too many.

    Args:
        picture: (H, W, 3) uint8.
        points: (P, 2) x and y in pixels, pixel centres at integers; those that are NaN or lie outside are left out.
        colors: one per point.
        names: one per point, or none.
        cross: a cross where the point is, in place of a disc.

    Returns:
        (H, W, 3) uint8, a copy.
    """
    import cv2

    marked, font = np.ascontiguousarray(picture).copy(), cv2.FONT_HERSHEY_SIMPLEX
    height, width = marked.shape[:2]
    radius, fine = max(round(max(height, width) / 160), 2), 4  # places in sixteenths of a pixel
    named = names if len(names) == len(points) <= NAMED_POINTS else [""] * len(points)
    for (x, y), color, name in zip(points.tolist(), colors, named, strict=True):
        if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
            continue
        for size, shade in ((radius + 1, (0, 0, 0)), (radius, color)):
            place = round(x * 2**fine), round(y * 2**fine)
            if cross:
                reach, line = radius * 2**fine, 2 if shade == (0, 0, 0) else 1
                for dx, dy in ((reach, reach), (reach, -reach)):
                    start, stop = (place[0] - dx, place[1] - dy), (place[0] + dx, place[1] + dy)
                    cv2.line(marked, start, stop, shade, line, cv2.LINE_AA, fine)
            else:
                cv2.circle(marked, place, size * 2**fine, shade, -1, cv2.LINE_AA, fine)
        if name:
            scale = max(0.38, max(height, width) / 1600)
            (long, high), _ = cv2.getTextSize(name, font, scale, 1)
            left = round(x) + radius + 3 if x + radius + 3 + long < width else round(x) - radius - 3 - long
            corner = max(left, 0), min(max(round(y + high / 2), high), height - 2)
            cv2.putText(marked, name, corner, font, scale, (0, 0, 0), 3, cv2.LINE_AA)
            cv2.putText(marked, name, corner, font, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return marked


NAMED_POINTS = 30
"""More points than this hide each other's names."""


def apart(classes: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """The classes with a line of class 0 between objects that touch, so that the eye sees each.

    Example:
        >>> apart(np.array([[1, 1, 1, 0]]), np.array([[3, 3, 4, 0]])).tolist()
        [[1, 0, 1, 0]]
    """
    shown = classes.copy()
    for axis in (0, 1):
        here, there = (np.moveaxis(objects, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        meet = (here != there) & (here > 0) & (there > 0)
        np.moveaxis(shown, axis, 0)[:-1][meet] = 0
    return shown


def _edges(numbers: np.ndarray) -> np.ndarray:
    """Pixels whose right or lower neighbour has another number."""
    edge = np.zeros(numbers.shape, dtype=bool)
    edge[:, :-1] |= numbers[:, :-1] != numbers[:, 1:]
    edge[:-1] |= numbers[:-1] != numbers[1:]
    return edge


def _rims(numbers: np.ndarray, width: int = 1) -> np.ndarray:
    """Pixels with another number within so many pixels."""
    import cv2

    values, square = numbers.astype(np.float32), np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    rim: np.ndarray = (cv2.dilate(values, square) != values) | (cv2.erode(values, square) != values)
    return rim


def enlarge(array: np.ndarray, factor: int) -> np.ndarray:
    """Each pixel as a square of so many."""
    return array if factor <= 1 else array.repeat(factor, 0).repeat(factor, 1)


def shrink(array: np.ndarray, side: int, *, labels: bool = False) -> np.ndarray:
    """The array made at most `side` pixels long; class maps (`labels`) keep their exact values."""
    height, width = array.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return array
    import cv2

    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(array, size, interpolation=cv2.INTER_NEAREST if labels else cv2.INTER_AREA)


def data_uri(rgb: np.ndarray, *, flat: bool = False) -> str:
    """A picture as an inline source: PNG with a palette for flat colours, JPEG for photographs."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(rgb))
    buffer = io.BytesIO()
    if flat:
        colors = picture.getcolors(256)
        (picture.quantize(len(colors), dither=Image.Dither.NONE) if colors else picture).save(
            buffer, "PNG", optimize=True
        )
    else:
        # Not optimised: that needs one buffer for it all, and Pillow makes it too small for noisy images.
        picture.save(buffer, "JPEG", quality=86, subsampling=0)
    kind = "png" if flat else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
