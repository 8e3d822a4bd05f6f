"""Short vectors for numba: a few floats that are loaded, added, multiplied and stored as one.

Whether a loop over the classes of a pixel becomes vector instructions is otherwise the compiler's guess, and for loops
as short as these (21 classes) it guesses wrong. LLVM fits these vectors to whatever the processor has, so nothing here
depends on its kind. The number of lanes is a property of a type, the length of the tuple `lanes`: one kernel's source
serves several widths and needs no literal.
"""

from functools import reduce
from typing import Any

import numba.extending  # type: ignore[import-untyped]
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types  # type: ignore[import-untyped]
from numba.extending import models, register_model  # type: ignore[import-untyped]

__all__ = [
    "add",
    "at",
    "below",
    "exp",
    "fetch",
    "fill",
    "highest",
    "known",
    "load",
    "log",
    "maximum",
    "minus",
    "multiply",
    "multiply_add",
    "nearest",
    "plus",
    "store",
    "total",
]

intrinsic: Any = numba.extending.intrinsic  # its annotations describe the making of a function, not the call

FUSED = ("contract",)  # a product and a sum may become one instruction where the processor has it

FAINT = -50.0
"""Below it `exp` gives what it gives there, 2e-22, which is nothing to a score. Smaller numbers would become denormal
when they are multiplied further on, and some processors take a hundred times as long for those."""

LOG2_E = 1.4426950408889634
LN2_HIGH = 0.693359375  # few bits, so that its product with a whole number is exact
LN2_LOW = -2.12194440e-4
EXP_SERIES = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
LOG_SERIES = (
    7.0376836292e-2,
    -1.1514610310e-1,
    1.1676998740e-1,
    -1.2420140846e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
)


class Lanes(types.Type):
    """`count` numbers of one floating type, side by side in a register."""

    def __init__(self, dtype: Any, count: int) -> None:
        self.dtype, self.count = dtype, count
        super().__init__(f"Lanes({dtype}, {count})")  # type: ignore[no-untyped-call]


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        scalar = ir.FloatType() if fe_type.dtype == types.float32 else ir.DoubleType()
        super().__init__(dmm, fe_type, ir.VectorType(scalar, fe_type.count))  # type: ignore[no-untyped-call]


def _address(context: Any, builder: Any, kind: Any, array: Any, offset: Any, vector: Any) -> Any:
    """Where the element `offset` of a flat contiguous array lies, as the address of a vector."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), ir.PointerType(vector))


@intrinsic
def load(typingctx: Any, array: Any, offset: Any, lanes: Any) -> Any:
    """As many numbers of a flat array, from `offset` on, as the tuple `lanes` is long."""
    result = Lanes(array.dtype, lanes.count)

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        pointer = _address(context, builder, array, given[0], given[1], context.get_value_type(result))
        value = builder.load(pointer)
        value.align = array.dtype.bitwidth // 8
        return value

    return result(array, types.intp, lanes), code


@intrinsic
def at(typingctx: Any, array: Any, offset: Any) -> Any:
    """One number of a flat array; unlike an index, a negative offset is not counted from the end, which takes time."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        data = context.make_array(array)(context, builder, given[0]).data
        return builder.load(builder.gep(data, [given[1]]))

    return array.dtype(array, types.intp), code


@intrinsic
def fetch(typingctx: Any, array: Any, offset: Any) -> Any:
    """Ask for the cache line of an element that will soon be needed; an offset beyond the end does no harm."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        data = context.make_array(array)(context, builder, given[0]).data
        byte = ir.PointerType(ir.IntType(8))
        pointer = builder.bitcast(builder.gep(data, [given[1]]), byte)
        whole = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, whole, whole, whole])
        prefetch = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, kind, "llvm.prefetch.p0"
        )
        builder.call(prefetch, [pointer, whole(0), whole(3), whole(1)])  # for reading, to be kept, of data
        return context.get_dummy_value()

    return types.none(array, types.intp), code


@intrinsic
def store(typingctx: Any, array: Any, offset: Any, value: Any) -> Any:
    """Write a vector into a flat array."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        pointer = _address(context, builder, array, given[0], given[1], given[2].type)
        builder.store(given[2], pointer).align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.none(array, types.intp, value), code


def _broadcast(builder: Any, scalar: Any, vector: Any) -> Any:
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), lanes)


@intrinsic
def fill(typingctx: Any, scalar: Any, lanes: Any) -> Any:
    """A vector with the same number in each lane."""
    result = Lanes(scalar, lanes.count)

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return _broadcast(builder, given[0], context.get_value_type(result))

    return result(scalar, lanes), code


@intrinsic
def known(typingctx: Any, flag: Any, a: Any) -> Any:
    """The vector where the flag is set, else zeros, whatever the vector holds."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.select(given[0], given[1], ir.Constant(given[1].type, None))

    return a(flag, a), code


@intrinsic
def add(typingctx: Any, a: Any, b: Any) -> Any:
    """Sum, lane by lane."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.fadd(given[0], given[1], flags=FUSED)

    return a(a, b), code


@intrinsic
def multiply(typingctx: Any, a: Any, b: Any) -> Any:
    """Product, lane by lane."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.fmul(given[0], given[1], flags=FUSED)

    return a(a, b), code


@intrinsic
def multiply_add(typingctx: Any, scale: Any, b: Any, c: Any) -> Any:
    """`scale * b + c` for a number and two vectors."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        scaled = builder.fmul(_broadcast(builder, given[0], given[1].type), given[1], flags=FUSED)
        return builder.fadd(scaled, given[2], flags=FUSED)

    return b(b.dtype, b, c), code


@intrinsic
def plus(typingctx: Any, a: Any, b: Any) -> Any:
    """Sum, lane by lane, never fused with a product: for what has to round as elsewhere."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.fadd(given[0], given[1])

    return a(a, b), code


@intrinsic
def minus(typingctx: Any, a: Any, b: Any) -> Any:
    """Difference, lane by lane, never fused with a product."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.fsub(given[0], given[1])

    return a(a, b), code


@intrinsic
def below(typingctx: Any, a: Any, b: Any) -> Any:
    """One in each lane in which the first is smaller, else zero."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        vector = given[0].type
        less = builder.fcmp_ordered("<", given[0], given[1])
        return builder.select(less, _constant(vector, 1.0), _constant(vector, 0.0))

    return a(a, b), code


@intrinsic
def nearest(typingctx: Any, a: Any) -> Any:
    """The nearest whole number, the even one of two."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        vector = given[0].type
        kind = ir.FunctionType(vector, [vector])
        name = f"llvm.rint.v{vector.count}f{32 if isinstance(vector.element, ir.FloatType) else 64}"
        rint = cgutils.get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call]
        return builder.call(rint, [given[0]])

    return a(a), code


@intrinsic
def maximum(typingctx: Any, a: Any, b: Any) -> Any:
    """The larger, lane by lane."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", given[0], given[1]), given[0], given[1])

    return a(a, b), code


def _across(builder: Any, vector: Any, combine: Any) -> Any:
    """All lanes combined into one, in halves, and thirds where the count is no power of two."""
    count = vector.type.count
    while count > 1:
        pieces = 3 if count % 3 == 0 else 2
        count //= pieces
        parts = []
        for start in range(0, pieces * count, count):
            places = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(start, start + count)))
            parts.append(builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places))
        vector = reduce(combine, parts)
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


@intrinsic
def highest(typingctx: Any, a: Any) -> Any:
    """The largest lane."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return _across(builder, given[0], lambda x, y: builder.select(builder.fcmp_ordered(">", x, y), x, y))

    return a.dtype(a), code


@intrinsic
def total(typingctx: Any, a: Any) -> Any:
    """The sum of the lanes."""

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return _across(builder, given[0], builder.fadd)

    return a.dtype(a), code


def _constant(vector: Any, value: float) -> Any:
    return ir.Constant(vector, [value] * vector.count)


def _polynomial(builder: Any, x: Any, coefficients: tuple[float, ...]) -> Any:
    value = _constant(x.type, coefficients[0])
    for coefficient in coefficients[1:]:
        value = builder.fadd(builder.fmul(value, x, flags=FUSED), _constant(x.type, coefficient), flags=FUSED)
    return value


@intrinsic
def exp(typingctx: Any, a: Any) -> Any:
    """The exponential of single floats at most about 88, within 2 units of the last place; from `FAINT` on, as there.

    x = n ln 2 + r with n whole: 2**n is written into the exponent's bits and a short polynomial gives exp(r).
    """

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        vector = given[0].type
        whole = ir.VectorType(ir.IntType(32), vector.count)
        floor = _constant(vector, FAINT)
        x = builder.select(builder.fcmp_ordered(">", given[0], floor), given[0], floor)
        # Cutting towards zero rounds down here, as 128 makes the number positive: no rounding instruction is needed.
        turns = builder.fadd(builder.fmul(x, _constant(vector, LOG2_E)), _constant(vector, 128.5))
        n = builder.sub(builder.fptosi(turns, whole), ir.Constant(whole, [128] * vector.count))
        steps = builder.sitofp(n, vector)
        r = builder.fsub(x, builder.fmul(steps, _constant(vector, LN2_HIGH), flags=FUSED), flags=FUSED)
        r = builder.fsub(r, builder.fmul(steps, _constant(vector, LN2_LOW), flags=FUSED), flags=FUSED)
        tail = builder.fmul(builder.fmul(r, r), _polynomial(builder, r, EXP_SERIES), flags=FUSED)
        small = builder.fadd(builder.fadd(tail, r), _constant(vector, 1.0))
        bits = builder.shl(
            builder.add(n, ir.Constant(whole, [127] * vector.count)), ir.Constant(whole, [23] * vector.count)
        )
        return builder.fmul(small, builder.bitcast(bits, vector))

    return a(a), code


@intrinsic
def log(typingctx: Any, a: Any) -> Any:
    """The natural logarithm of normal positive single floats, within 2 units of the last place.

    x = 2**n m with m in sqrt(1/2)..sqrt(2): n comes from the exponent's bits, log(m) from a polynomial around 1.
    """

    def code(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        vector = given[0].type
        whole = ir.VectorType(ir.IntType(32), vector.count)
        bits = builder.bitcast(given[0], whole)
        half_root = ir.Constant(whole, [0x3F3504F3] * vector.count)  # the bits of sqrt(1/2)
        n = builder.ashr(builder.sub(bits, half_root), ir.Constant(whole, [23] * vector.count))
        mantissa = builder.sub(bits, builder.shl(n, ir.Constant(whole, [23] * vector.count)))
        m = builder.fsub(builder.bitcast(mantissa, vector), _constant(vector, 1.0))
        steps = builder.sitofp(n, vector)
        square = builder.fmul(m, m)
        tail = builder.fmul(builder.fmul(square, m), _polynomial(builder, m, LOG_SERIES), flags=FUSED)
        tail = builder.fadd(tail, builder.fmul(steps, _constant(vector, LN2_LOW), flags=FUSED), flags=FUSED)
        tail = builder.fadd(tail, builder.fmul(square, _constant(vector, -0.5), flags=FUSED), flags=FUSED)
        value = builder.fadd(m, tail, flags=FUSED)
        return builder.fadd(value, builder.fmul(steps, _constant(vector, LN2_HIGH), flags=FUSED), flags=FUSED)

    return a(a), code
