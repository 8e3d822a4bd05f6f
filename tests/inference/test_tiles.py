import pytest
from hypothesis import given
from hypothesis import strategies as st

from atrous.errors import UsageError
from atrous.inference import Span, spans


@given(
    st.integers(1, 3000), st.integers(1, 4000), st.tuples(st.integers(0, 600), st.integers(0, 600)), st.integers(1, 64)
)
def test_every_cover_keeps_its_promises(length, tile, margin, alignment):
    cover = spans(length, tile, margin, alignment)
    written = [pixel for span in cover for pixel in range(span.write.start, span.write.stop)]
    assert written == list(range(length))
    for span in cover:
        assert span.write.stop - span.write.start <= tile
        assert span.read.start == 0 or span.read.start <= span.write.start - margin[0]
        assert span.read.stop == length or span.read.stop >= span.write.stop + margin[1]
        assert 0 <= span.read.start < span.read.stop <= length
        assert span.read.start % alignment == 0
        assert span.read.stop in (length, span.read.stop // alignment * alignment)
        assert span.read.start > span.write.start - margin[0] - alignment
        assert span.read.stop < span.write.stop + margin[1] + alignment
        assert list(range(length))[span.read][span.keep] == list(range(length))[span.write]


@pytest.mark.parametrize("tile", [50, 51, 1000])
def test_a_tile_as_large_as_the_image_is_one_pass(tile):
    assert spans(50, tile, (7, 9), 16) == [Span(slice(0, 50), slice(0, 50))]


@pytest.mark.parametrize(
    ("length", "tile", "margin", "alignment"), [(0, 1, (0, 0), 1), (1, 0, (0, 0), 1), (5, 5, (-1, 0), 1)]
)
def test_impossible_tiles_are_refused(length, tile, margin, alignment):
    with pytest.raises(UsageError, match="give a tile of at least 1"):
        spans(length, tile, margin, alignment)
