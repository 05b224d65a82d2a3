"""What a Keras variable is made of: PyTorch tensors, and what NumPy does with them. It can be computed, and printed."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from birdplane_keras.parity.kinds.layouts import Joint, TensorMatch

Values = Mapping[str, np.ndarray]  # by the tensor's dotted name
Spelling = Callable[[str], str]  # how a tensor is spelled in code, by its dotted name


class TorchTensor:
    """A tensor of a PyTorch module, or what is made of several, as a mapping names it.

    Written as with NumPy: slices, `reshape`, `transpose`, `take`, `+`, `np.stack`, `np.concatenate` and `np.split`.
    For a query of four heads of 16, out of one tensor for query, key and value::

        TorchTensor("attention.qkv.weight")[0:64].transpose(1, 0).reshape(64, 4, 16)

    Args:
        name: The parameter's or buffer's dotted name.
    """

    def __init__(self, name: str) -> None:
        self.names: tuple[str, ...] = (name,)
        self.added: frozenset[str] = frozenset()  # the tensors that are added to others
        self._seen: TorchTensor | None = None  # what this is, in another shape
        self._value: Callable[[Values], Any] = lambda values: values[name]
        self._code: Callable[[Spelling], str] = lambda spell: spell(name)

    @classmethod
    def _made(
        cls,
        of: Sequence["TorchTensor"],
        value: Callable[[Values], Any],
        code: Callable[[Spelling], str],
        added: Sequence[str] = (),
    ) -> "TorchTensor":
        made = cls(of[0].names[0])
        made.names = tuple(dict.fromkeys(name for each in of for name in each.names))
        made.added = frozenset(added).union(*(each.added for each in of))
        made._value, made._code = value, code
        return made

    def value(self, values: Values) -> np.ndarray:
        """Returns what is made of the values of the tensors, in the shape of the Keras variable."""
        return np.asarray(self._value(values))

    def code(self, spell: Spelling) -> str:
        """Returns it as Python code, given how each tensor is spelled."""
        return self._code(spell)

    def __repr__(self) -> str:
        return self.code(lambda name: f'TorchTensor("{name}")')

    def _called(self, method: str, *args: Any, told: str | None = None) -> "TorchTensor":
        text = ", ".join(map(repr, args)) if told is None else told
        return self._made(
            [self],
            lambda values: getattr(self._value(values), method)(*args),
            lambda spell: f"{self._code(spell)}.{method}({text})",
        )

    def reshape(self, *shape: Any) -> "TorchTensor":
        """As of an array."""
        numbers = flat_integers(shape)
        if self._seen is not None:  # in one shape, and now in another
            return self._seen.reshape(numbers)
        made = self._called("reshape", numbers, told=", ".join(map(str, numbers)) or "()")
        made._seen = self
        return made

    def transpose(self, *axes: Any) -> "TorchTensor":
        """As of an array."""
        order = flat_integers(axes)
        return self if order and order == tuple(range(len(order))) else self._called("transpose", *order)

    @property
    def T(self) -> "TorchTensor":  # noqa: N802 (as NumPy calls it)
        """With the axes in reverse."""
        return self.transpose()

    def astype(self, dtype: Any) -> "TorchTensor":
        """As of an array; of a type by its name."""
        return self._called("astype", str(np.dtype(dtype)))

    def take(self, indices: Any, axis: int) -> "TorchTensor":
        """As of an array."""
        return self._called("take", np.asarray(indices), axis, told=f"{code_of_order(np.asarray(indices))}, {axis}")

    def __getitem__(self, places: Any) -> "TorchTensor":
        return self._made(
            [self],
            lambda values: self._value(values)[places],
            lambda spell: f"{self._code(spell)}[{code_of_places(places)}]",
        )

    def __add__(self, other: "TorchTensor") -> "TorchTensor":
        if not isinstance(other, TorchTensor):
            return NotImplemented
        if set(self.names) & set(other.names):
            raise ValueError(f"expected different tensors to be added, received {self!r} and {other!r}")
        return self._made(
            [self, other],
            lambda values: self._value(values) + other._value(values),
            lambda spell: f"({self._code(spell)} + {other._code(spell)})",
            added=other.names,
        )

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func is np.split:
            array, parts, axis = (*args, kwargs.get("axis", 0))[:3]
            return [array._piece(parts, axis, index) for index in range(parts)]
        if func not in (np.stack, np.concatenate):
            return NotImplemented
        arrays, *rest = args
        told = "".join(f", {each!r}" for each in rest) + "".join(f", {key}={each!r}" for key, each in kwargs.items())
        return self._made(
            arrays,
            lambda values: func([each._value(values) for each in arrays], *rest, **kwargs),
            lambda spell: f"np.{func.__name__}([{', '.join(each._code(spell) for each in arrays)}]{told})",
        )

    def _piece(self, parts: int, axis: int, index: int) -> "TorchTensor":
        return self._made(
            [self],
            lambda values: np.split(self._value(values), parts, axis)[index],
            lambda spell: f"np.split({self._code(spell)}, {parts}, {axis})[{index}]",
        )

    @property
    def joint(self) -> Joint:
        """What is read of the tensors, in the order of their names, and how it is written into them."""
        write = partial(write_back, self)
        return Joint(read=self._read, write=write, read_gradient=self._read_gradient, adds=bool(self.added))

    def _read(self, *values: np.ndarray) -> np.ndarray:
        return self.value(dict(zip(self.names, values, strict=True)))

    def _read_gradient(self, *gradients: np.ndarray | None) -> np.ndarray | None:
        known = [gradient for gradient in gradients if gradient is not None]
        if not known:
            return None
        if self.added:  # either one's is the sum's
            named, zero = zip(self.names, gradients, strict=True), np.zeros_like(known[0])
            return self._read(*(zero if n in self.added else known[0] if g is None else g for n, g in named))
        return self._read(*(np.zeros_like(known[0]) if gradient is None else gradient for gradient in gradients))


def expression_of(match: TensorMatch) -> TorchTensor:
    """Returns what a matched variable is made of."""
    tensors: list[Any] = [TorchTensor(name) for name in match.torch]
    made: Any = match.turn.back(match.joint.read(*tensors))
    return made


def write_back(made: TorchTensor, value: np.ndarray, now: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns tensors of which an expression makes a value; what it does not take of them is as it is now.

    Of tensors that are added the first has it all.
    """
    added = [name in made.added for name in made.names]
    starts = np.cumsum([0, *(array.size for array in now[:-1])])
    numbers = [
        np.zeros(array.shape, np.int64) if zero else start + np.arange(array.size).reshape(array.shape)
        for zero, start, array in zip(added, starts, now, strict=True)
    ]
    kept = [np.zeros_like(array) if zero else array for zero, array in zip(added, now, strict=True)]
    flat = np.concatenate([array.reshape(-1) for array in kept])
    flat[made._read(*numbers).reshape(-1)] = np.asarray(value).reshape(-1)
    return [
        flat[start : start + array.size].reshape(array.shape).astype(array.dtype, copy=False)
        for start, array in zip(starts, now, strict=True)
    ]


def flat_integers(given: tuple[Any, ...]) -> tuple[int, ...]:
    """Returns the integers that a method was given, one by one or in a tuple."""
    items = given[0] if len(given) == 1 and np.ndim(given[0]) == 1 else given
    return tuple(int(item) for item in items)


def code_of_places(places: Any) -> str:
    """Returns an index as Python code."""
    items = places if isinstance(places, tuple) else (places,)

    def told(item: Any) -> str:
        if not isinstance(item, slice):
            return repr(item)
        ends = ["" if end is None else str(int(end)) for end in (item.start, item.stop)]
        return ":".join([*ends, *([] if item.step is None else [str(int(item.step))])])

    return ", ".join(map(told, items))


def code_of_order(order: np.ndarray) -> str:
    """Returns an order of features as code: that of a flattened image as the exchange of axes that it is."""
    size = len(order)
    step = int(order[1] - order[0]) if size > 1 else 0
    image = np.arange(size).reshape(size // step, step).T.reshape(-1) if step > 1 and size % step == 0 else None
    if image is not None and np.array_equal(order, image):
        return f"np.arange({size}).reshape({size // step}, {step}).T.reshape(-1)"
    return f"np.array({order.tolist()})"
