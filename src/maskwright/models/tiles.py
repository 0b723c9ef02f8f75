"""Matrix products of one tile, whose sums stay in the processor's registers, for compiled loops.

LLVM makes no such kernel of plain loops: it is written here as LLVM's own operations. A tile has as many sums
as registers hold beside their factors, and each of both factors that is loaded is used for a whole row or
column of them; so multiplication, not the cache, sets the pace.

Arrays are float32 with rows in one piece. Only the first ROWS rows and COLUMNS columns are looked at; nothing
checks that there are as many.

Axes: R = ROWS, C = COLUMNS, K products of a sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

# Twelve registers of eight floats for sums, of the sixteen that processors with AVX2 have.
ROWS, LANES, VECTORS = 6, 8, 2
COLUMNS = LANES * VECTORS

BYTE, INT, FLOAT = ir.IntType(8), ir.IntType(64), ir.FloatType()
VECTOR = ir.VectorType(FLOAT, LANES)
ANY_VECTOR = ir.Constant(VECTOR, ir.Undefined)
FIRST_LANE = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
FLOAT_BYTES = 4

Untyped = Any  # numba's and LLVM's objects, which mypy knows nothing of
Sums = list[list[ir.Value]]  # ROWS × VECTORS


@intrinsic  # type: ignore[untyped-decorator]
def add_product(_: Untyped, a_RK: Untyped, b_KC: Untyped, out_RC: Untyped) -> Untyped:
    """Add the product of a and b to `out`."""

    def generate(context: Untyped, builder: Untyped, signature: Untyped, arguments: Untyped) -> Untyped:
        a, b, out = _tiles(context, builder, signature, arguments)
        out.store(_products(a, b, out.sums()))
        return context.get_dummy_value()

    return types.void(a_RK, b_KC, out_RC), generate


@intrinsic  # type: ignore[untyped-decorator]
def put_biased_product(
    _: Untyped,
    a_RK: Untyped,
    b_KC: Untyped,
    rows_R1: Untyped,
    columns_RC: Untyped,
    out_RC: Untyped,
    largest_RC: Untyped,
) -> Untyped:
    """Put the product of a and b, plus a bias of each row and one of each sum, into `out`.

    `largest` keeps the larger of what it was and the result.
    """

    def generate(context: Untyped, builder: Untyped, signature: Untyped, arguments: Untyped) -> Untyped:
        a, b, rows, columns, out, largest = _tiles(context, builder, signature, arguments)
        start = [
            [builder.fadd(rows.spread(row, INT(0)), vector) for vector in vectors]
            for row, vectors in zip(rows.rows, columns.sums(), strict=True)
        ]
        sums = _products(a, b, start)
        out.store(sums)
        largest.store(_larger(builder, sums, largest.sums()))
        return context.get_dummy_value()

    return types.void(a_RK, b_KC, rows_R1, columns_RC, out_RC, largest_RC), generate


class _Tile:
    """A matrix as the operations see it: where its rows begin."""

    def __init__(self, context: Untyped, builder: Untyped, kind: Untyped, value: Untyped) -> None:
        array = context.make_array(kind)(context, builder, value)
        self.builder = builder
        self.start = builder.bitcast(array.data, BYTE.as_pointer())
        self.bytes_between = builder.extract_value(array.strides, 0)
        self.columns = builder.extract_value(array.shape, 1)
        self.rows = [self.at(builder.mul(self.bytes_between, INT(row))) for row in range(ROWS)]

    def at(self, offset: ir.Value) -> ir.Value:
        """The row that begins so many bytes after the first."""
        return self.builder.bitcast(self.builder.gep(self.start, [offset]), FLOAT.as_pointer())

    def vectors(self, row: ir.Value) -> list[ir.Value]:
        """Those of a row."""
        return [self.builder.load(place, align=FLOAT_BYTES) for place in self._places(row)]

    def sums(self) -> Sums:
        """The vectors of all rows."""
        return [self.vectors(row) for row in self.rows]

    def spread(self, row: ir.Value, column: ir.Value) -> ir.Value:
        """A vector of one number, repeated."""
        number = self.builder.load(self.builder.gep(row, [column]))
        first = self.builder.insert_element(ANY_VECTOR, number, ir.IntType(32)(0))
        return self.builder.shuffle_vector(first, ANY_VECTOR, FIRST_LANE)

    def store(self, sums: Sums) -> None:
        """Put sums in their places."""
        for row, vectors in zip(self.rows, sums, strict=True):
            for place, vector in zip(self._places(row), vectors, strict=True):
                self.builder.store(vector, place, align=FLOAT_BYTES)

    def _places(self, row: ir.Value) -> list[ir.Value]:
        places = (self.builder.gep(row, [INT(i * LANES)]) for i in range(VECTORS))
        return [self.builder.bitcast(place, VECTOR.as_pointer()) for place in places]


def _tiles(
    context: Untyped, builder: Untyped, signature: Untyped, arguments: Sequence[Untyped]
) -> list[_Tile]:
    pairs = zip(signature.args, arguments, strict=True)
    return [_Tile(context, builder, kind, value) for kind, value in pairs]


def _products(a: _Tile, b: _Tile, start: Sums) -> Sums:
    """A loop over K: `start` plus the product of a and b."""
    builder = a.builder
    before = builder.block
    loop, after = builder.append_basic_block("products"), builder.append_basic_block("summed")
    builder.branch(loop)
    builder.position_at_end(loop)
    k, offset = builder.phi(INT), builder.phi(INT)
    sums = [[builder.phi(VECTOR) for _ in vectors] for vectors in start]
    factors = b.vectors(b.at(offset))
    more = []
    for row, vectors in zip(a.rows, sums, strict=True):
        factor = a.spread(row, k)
        more.append([_multiply_add(builder, factor, *pair) for pair in zip(factors, vectors, strict=True)])
    next_k, next_offset = builder.add(k, INT(1)), builder.add(offset, b.bytes_between)
    flat = [[one for vectors in some for one in vectors] for some in (sums, start, more)]
    for value, first, following in zip(
        (k, offset, *flat[0]), (INT(0), INT(0), *flat[1]), (next_k, next_offset, *flat[2]), strict=True
    ):
        value.add_incoming(first, before)
        value.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", next_k, a.columns), loop, after)
    builder.position_at_end(after)
    return more


def _multiply_add(builder: Untyped, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """The sum x · y + z, which LLVM may contract to one operation, and does where the processor has it."""
    return builder.fadd(builder.fmul(x, y, flags=["contract"]), z, flags=["contract"])


def _larger(builder: Untyped, one: Sums, other: Sums) -> Sums:
    """The larger of each pair; as a comparison it would be stored by a mask, which is slow."""
    kind = ir.FunctionType(VECTOR, [VECTOR, VECTOR])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.maxnum.v{LANES}f32")
    return [
        [builder.call(function, pair, fastmath=["nnan"]) for pair in zip(*rows, strict=True)]
        for rows in zip(one, other, strict=True)
    ]
