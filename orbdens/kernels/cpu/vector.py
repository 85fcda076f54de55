# mypy: disable-error-code="import-untyped,no-untyped-call,no-untyped-def"
"""Vectors of one register's width inside Numba code: load, store, arithmetic, 2^x and sums over lanes.

LLVM turns a vector of 64 bytes into whatever the machine has (one AVX-512, two AVX2 or four NEON registers). Written
out because LLVM does not vectorise across an inner loop, which is where accumulators have to live.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from orbdens.kernels.compiling import cached_njit

VECTOR_BYTES = 64
# Without reference counts (_nrt): atomic increments at every array access would cost more than the arithmetic. Such
# functions cannot allocate, so callers hand them their scratch arrays. The inlined kind is for helpers that take the
# big tuples of arrays, which are dear to hand over.
_options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False, "no_cfunc_wrapper": True}
compiled: Any = cached_njit(**_options)
inlined: Any = njit(inline="always", **_options)
_intrinsic: Any = intrinsic  # Numba's annotations describe the undecorated function


class Vector(types.Type):
    """Numba type of a vector of ``lanes`` floats."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        self.lanes = VECTOR_BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"Vector({dtype}, {self.lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        scalar = ir.FloatType() if vector.dtype == types.float32 else ir.DoubleType()
        super().__init__(manager, vector, ir.VectorType(scalar, vector.lanes))


def _address(context: Any, builder: Any, array_type: Any, array: Any, row: Any, column: Any, vector: Any) -> Any:
    view = context.make_array(array_type)(context, builder, array)
    shape = cgutils.unpack_tuple(builder, view.shape, 2)
    element = builder.gep(view.data, [builder.add(builder.mul(row, shape[1]), column)])
    return builder.bitcast(element, ir.PointerType(vector))


@_intrinsic
def load(typing_context: Any, array: Any, row: Any, column: Any) -> Any:
    """Vector at array[row, column:] of a C-contiguous array."""
    vector = Vector(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(vector)
        array_, row_, column_ = arguments
        address = _address(context, builder, signature.args[0], array_, row_, column_, kind)
        return builder.load(address, align=array.dtype.bitwidth // 8)

    return vector(array, types.intp, types.intp), generate


@_intrinsic
def store(typing_context: Any, array: Any, row: Any, column: Any, value: Any) -> Any:
    """array[row, column:] = value for a C-contiguous array."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(value)
        array_, row_, column_, value_ = arguments
        address = _address(context, builder, signature.args[0], array_, row_, column_, kind)
        builder.store(value_, address, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, value), generate


@_intrinsic
def spread(typing_context: Any, array: Any, row: Any, column: Any) -> Any:
    """Vector with array[row, column] of a C-contiguous array in every lane; indices are not negative.

    Numba's own indexing would ask of every index whether it counts from the end.
    """
    vector = Vector(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_, row_, column_ = arguments
        kind = context.get_value_type(array.dtype)
        address = _address(context, builder, signature.args[0], array_, row_, column_, kind)
        return _broadcast(builder, builder.load(address, align=array.dtype.bitwidth // 8), vector.lanes)

    return vector(array, types.intp, types.intp), generate


def _broadcast(builder: Any, scalar: Any, lanes: int) -> Any:
    kind = ir.VectorType(scalar.type, lanes)
    single = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(
        single, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    )


@_intrinsic
def splat(typing_context: Any, scalar: Any) -> Any:
    """Vector with the same number in every lane."""
    vector = Vector(scalar)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _broadcast(builder, arguments[0], vector.lanes)

    return vector(scalar), generate


def _binary(method: str) -> Any:
    @_intrinsic
    def apply(typing_context: Any, left: Any, right: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, method)(*arguments)

        return left(left, right), generate

    def typed(left, right):  # Numba wants the names and annotations of the lambdas
        if isinstance(left, Vector) and left == right:
            return lambda left, right: apply(left, right)
        if isinstance(left, Vector) and left.dtype == right:
            return lambda left, right: apply(left, splat(right))
        if isinstance(right, Vector) and right.dtype == left:
            return lambda left, right: apply(splat(left), right)
        return None

    return typed


overload(operator.add, inline="always")(_binary("fadd"))
overload(operator.sub, inline="always")(_binary("fsub"))
overload(operator.mul, inline="always")(_binary("fmul"))


@_intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c; a may be a number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first = arguments[0] if isinstance(a, Vector) else _broadcast(builder, arguments[0], b.lanes)
        kind = context.get_value_type(b)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fmuladd.v{b.lanes}f{b.dtype.bitwidth}"
        )
        return builder.call(function, [first, arguments[1], arguments[2]])

    return c(a, b, c), generate


@_intrinsic
def total(typing_context: Any, value: Any) -> Any:
    """Sum over lanes, as a tree."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scalar = context.get_value_type(value.dtype)
        kind = context.get_value_type(value)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(scalar, [scalar, kind]),
            f"llvm.vector.reduce.fadd.v{value.lanes}f{value.dtype.bitwidth}",
        )
        return builder.call(function, [ir.Constant(scalar, 0.0), arguments[0]], fastmath=("reassoc",))

    return value.dtype(value), generate


@_intrinsic
def select_below(typing_context: Any, value: Any, limit: Any, inside: Any, outside: Any) -> Any:
    """inside where value is at most limit, outside elsewhere; all are vectors."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<=", arguments[0], arguments[1]), arguments[2], arguments[3])

    return value(value, value, value, value), generate


@_intrinsic
def smallest(typing_context: Any, value: Any) -> Any:
    """Smallest lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scalar, kind = context.get_value_type(value.dtype), context.get_value_type(value)
        function = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(scalar, [kind]),
            f"llvm.vector.reduce.fmin.v{value.lanes}f{value.dtype.bitwidth}",
        )
        return builder.call(function, [arguments[0]], fastmath=("nnan",))

    return value.dtype(value), generate


def _exp2_polynomial(degree: int) -> list[float]:
    """Coefficients of 2^f on [-1/2, 1/2], highest power first, exact at f = 0."""
    fit = np.polynomial.chebyshev.Chebyshev.interpolate(np.exp2, degree, domain=[-0.5, 0.5])
    return [*fit.convert(kind=np.polynomial.Polynomial).coef[:0:-1].tolist(), 1.0]


# type bits: polynomial (relative error 1e-8 and 2e-16), mantissa bits, exponent bias
_EXP2 = {32: (_exp2_polynomial(6), 23, 127), 64: (_exp2_polynomial(12), 52, 1023)}


@_intrinsic
def exp2(typing_context: Any, value: Any) -> Any:
    """2^value for value <= 0, exactly 0 where it would not be a normal number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits, lanes = value.dtype.bitwidth, value.lanes
        polynomial, mantissa, bias = _EXP2[bits]
        kind = context.get_value_type(value)
        integers = ir.VectorType(ir.IntType(bits), lanes)

        def constant(number: float, of: Any = kind) -> Any:
            return ir.Constant(of, [number] * lanes)

        def unary(name: str, x: Any) -> Any:
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(kind, [kind]), f"llvm.{name}.v{lanes}f{bits}"
            )
            return builder.call(function, [x])

        keep = builder.fcmp_ordered(">", arguments[0], constant(1.0 - bias))
        x = builder.select(keep, arguments[0], constant(0.0))
        whole = unary("rint", x)
        part = builder.fsub(x, whole)
        y = constant(polynomial[0])
        fused = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fmuladd.v{lanes}f{bits}"
        )
        for coefficient in polynomial[1:]:
            y = builder.call(fused, [y, part, constant(coefficient)])
        exponent = builder.add(builder.fptosi(whole, integers), constant(bias, integers))
        scale = builder.bitcast(builder.shl(exponent, constant(mantissa, integers)), kind)
        return builder.select(keep, builder.fmul(y, scale), constant(0.0))

    return value(value), generate
