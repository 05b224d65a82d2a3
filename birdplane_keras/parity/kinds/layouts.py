"""The same weight in two layouts: pure functions between Keras' arrays, PyTorch's arrays, and PyTorch's layout.

A `Turn` goes from one Keras array to the view, which is PyTorch's layout, and back. A `Joint` goes from one or more
PyTorch tensors to the view and back. A matched tensor is one of each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Turn:
    """From a Keras array to the view, and back."""

    there: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Joint:
    """From PyTorch's arrays to the view, and back; gradients may be `None`.

    Args:
        read: Returns the view.
        write: Returns arrays of a view and the present arrays.
        read_gradient: As `read`, of gradients.
        adds: Whether arrays are added up: the view's gradient is that of each, and not the sum of theirs.
    """

    read: Callable[..., np.ndarray]
    write: Callable[[np.ndarray, Sequence[np.ndarray]], list[np.ndarray]]
    read_gradient: Callable[..., np.ndarray | None]
    adds: bool = False


@dataclass(frozen=True, kw_only=True)
class TensorMatch:
    """A Keras variable, the PyTorch tensors that hold the same weight, and the ways between them.

    Args:
        name: How reports call it: PyTorch's dotted name ("0.weight"), names joined by " + " where it is several
            tensors, and a part in brackets where it is a slice ("attention.in_proj_weight[query]"). Unique.
        keras: The variable's path.
        torch: Names in `state_dict()`.
        whole: Whether it is all of these tensors, not a part of one.
        trainable: Whether the Keras variable is trainable, and whether any of the PyTorch tensors requires gradients.
        turn: Between the Keras value and the view.
        joint: Between the PyTorch values, in the order of `torch`, and the view.
    """

    name: str
    keras: str
    torch: tuple[str, ...]
    whole: bool
    trainable: tuple[bool, bool]
    turn: Turn
    joint: Joint

    def from_keras(self, array: np.ndarray) -> np.ndarray:
        """Returns the view of a Keras value: a contiguous copy."""
        return np.array(self.turn.there(array), order="C")

    def view_keras(self, array: np.ndarray) -> np.ndarray:
        """Returns the view of a Keras value, which may share its memory."""
        return self.turn.there(array)

    def to_keras(self, view: np.ndarray) -> np.ndarray:
        """Returns the Keras value of a view: a contiguous copy."""
        return np.array(self.turn.back(view), order="C")

    def from_torch(self, *values: np.ndarray) -> np.ndarray:
        """Returns the view of PyTorch values: a contiguous copy."""
        return np.array(self.joint.read(*values), order="C")

    def view_torch(self, *values: np.ndarray) -> np.ndarray:
        """Returns the view of PyTorch values, which may share their memory."""
        return self.joint.read(*values)

    def to_torch(self, view: np.ndarray, now: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns new PyTorch values, of a view and the present ones."""
        return [np.array(value, order="C") for value in self.joint.write(view, now)]

    def gradient_to_torch(self, view: np.ndarray, now: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns new gradients, of a view and the present ones: of tensors that add up each has the sum's."""
        if not self.joint.adds:
            return self.to_torch(view, now)
        made = []
        for place, gradient in enumerate(now):
            numbers = [np.zeros(other.shape, np.int64) for other in now]
            numbers[place] = 1 + np.arange(gradient.size).reshape(gradient.shape)  # where the view shows this one
            flat = np.concatenate([np.zeros(1, gradient.dtype), gradient.reshape(-1)])
            flat[self.joint.read(*numbers).reshape(-1)] = view.reshape(-1)
            made.append(flat[1:].reshape(gradient.shape))
        return made

    def gradient_from_torch(self, *gradients: np.ndarray | None) -> np.ndarray | None:
        """Returns the view of gradients, which may share their memory.

        `None` stands for a tensor without one, and is returned where no tensor has one.
        """
        return self.joint.read_gradient(*gradients)


def as_is() -> Turn:
    """Both have the same layout."""
    return Turn(there=lambda array: array, back=lambda view: view)


def of_type(keras: str, torch: str) -> Turn:
    """The same whole numbers in another type."""
    return Turn(there=lambda array: array.astype(torch), back=lambda view: view.astype(keras))


def transposed(*axes: int) -> Turn:
    """Keras' axes in the order that PyTorch has them."""
    return Turn(there=lambda array: array.transpose(axes), back=lambda view: view.transpose(np.argsort(axes)))


def chain(*turns: Turn) -> Turn:
    """One turn after the other, the first one next to Keras."""

    def there(array: np.ndarray) -> np.ndarray:
        for turn in turns:
            array = turn.there(array)
        return array

    def back(view: np.ndarray) -> np.ndarray:
        for turn in reversed(turns):
            view = turn.back(view)
        return view

    return Turn(there=there, back=back)


def reshaped(keras: tuple[int, ...], torch: tuple[int, ...]) -> Turn:
    """The same elements in the same order, in another shape."""
    if keras == torch:
        return as_is()
    return Turn(there=lambda array: array.reshape(torch), back=lambda view: view.reshape(keras))


def reordered(order: np.ndarray | None, axis: int) -> Turn:
    """Features in another order: the i-th of Keras is the `order[i]`-th of PyTorch."""
    if order is None:
        return as_is()
    inverse = np.argsort(order)
    return Turn(there=lambda array: array.take(inverse, axis), back=lambda view: view.take(order, axis))


def gates_swapped(axis: int) -> Turn:
    """The gates of a GRU, stacked along an axis: Keras has update, reset, new; PyTorch reset, update, new."""

    def swap(array: np.ndarray) -> np.ndarray:
        first, second, third = np.split(array, 3, axis)
        return np.concatenate([second, first, third], axis)

    return Turn(there=swap, back=swap)


def dense_kernel(inputs: np.ndarray | None = None, outputs: np.ndarray | None = None) -> Turn:
    """(in, out) in Keras, (out, in) in PyTorch, with the features of either side in the orders given."""
    return chain(transposed(1, 0), reordered(inputs, 1), reordered(outputs, 0))


def convolution_kernel(rank: int) -> Turn:
    """(*k, in / groups, out) in Keras, (out, in / groups, *k) in PyTorch; also (*k, out, in) against (in, out, *k)."""
    return transposed(rank + 1, rank, *range(rank))


def depthwise_kernel(shape: tuple[int, ...]) -> Turn:
    """(*k, in, multiplier) in Keras, (in * multiplier, 1, *k) in PyTorch."""
    *size, inputs, multiplier = shape
    rank = len(size)
    turned = (inputs, multiplier, *size)
    return chain(
        transposed(rank, rank + 1, *range(rank)),
        reshaped(turned, (inputs * multiplier, 1, *size)),
    )


def projection_kernel(shape: tuple[int, ...]) -> Turn:
    """Into the heads of an attention: (features, heads, size) in Keras, (heads * size, features) in PyTorch."""
    features, heads, size = shape
    return chain(reshaped(shape, (features, heads * size)), transposed(1, 0))


def output_kernel(shape: tuple[int, ...]) -> Turn:
    """Out of the heads of an attention: (heads, size, features) in Keras, (features, heads * size) in PyTorch."""
    heads, size, features = shape
    return chain(reshaped(shape, (heads * size, features)), transposed(1, 0))


def channels_moved_first(rank: int) -> Turn:
    """(*spatial, channels) in Keras, (channels, *spatial) in PyTorch."""
    return transposed(rank - 1, *range(rank - 1))


def single() -> Joint:
    """One PyTorch tensor, whole."""
    return Joint(
        read=lambda value: value,
        write=lambda view, now: [view],
        read_gradient=lambda gradient: gradient,
    )


def summed() -> Joint:
    """Two PyTorch biases that are only ever added: all goes into the first. Either one's gradient is the sum's."""
    return Joint(
        read=lambda first, second: first + second,
        write=lambda view, now: [view, np.zeros_like(view)],
        read_gradient=lambda first, second: second if first is None else first,
        adds=True,
    )


def stacked() -> Joint:
    """Two PyTorch biases of which Keras has one array (2, n). A tensor without a gradient stands still: zeros."""

    def read_gradient(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
        known = second if first is None else first
        if known is None:
            return None
        return np.stack([np.zeros_like(known) if gradient is None else gradient for gradient in (first, second)])

    return Joint(
        read=lambda first, second: np.stack([first, second]),
        write=lambda view, now: [view[0], view[1]],
        read_gradient=read_gradient,
    )


def rows(start: int, stop: int) -> Joint:
    """Some rows of one PyTorch tensor."""

    def write(view: np.ndarray, now: Sequence[np.ndarray]) -> list[np.ndarray]:
        whole = np.array(now[0])
        whole[start:stop] = view
        return [whole]

    return Joint(
        read=lambda value: value[start:stop],
        write=write,
        read_gradient=lambda gradient: None if gradient is None else gradient[start:stop],
    )


def part(shape: tuple[int, ...], axis: int, groups: int, parts: int, index: int) -> Joint:
    """One of several parts of a PyTorch tensor along an axis; in each of the groups that the axis falls into first.

    Query, key and value in one tensor are three parts in one group, or in a group for each head.
    """
    length = shape[axis] // (groups * parts)
    split = (*shape[:axis], groups, parts, length, *shape[axis + 1 :])
    whole = (*shape[:axis], groups * length, *shape[axis + 1 :])
    places = (slice(None),) * (axis + 1) + (index,)
    in_one = (slice(None),) * axis + (slice(index * length, (index + 1) * length),)

    def read(value: np.ndarray) -> np.ndarray:
        return value[in_one] if groups == 1 else value.reshape(split)[places].reshape(whole)

    def write(view: np.ndarray, now: Sequence[np.ndarray]) -> list[np.ndarray]:
        written = np.array(now[0], order="C")
        written.reshape(split)[places] = view.reshape(*shape[:axis], groups, length, *shape[axis + 1 :])
        return [written]

    return Joint(read=read, write=write, read_gradient=lambda gradient: None if gradient is None else read(gradient))


def shapes_of_view(
    turn: Turn, joint: Joint, keras: tuple[int, ...], torch: Sequence[tuple[int, ...]]
) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Returns the shape that each side's tensors have as a view; `None` where they are of no such kind at all."""
    shapes: list[tuple[int, ...] | None] = []
    for read, arrays in ((turn.there, [keras]), (joint.read, torch)):
        try:
            shapes.append(read(*(np.broadcast_to(np.float32(0), shape) for shape in arrays)).shape)
        except (ValueError, IndexError):
            shapes.append(None)
    return shapes[0], shapes[1]
