"""Are two runs of a piece of a step the same, bit for bit, or up to rounding?"""

import math

import torch

from birdplane_keras.torch_plugin.errors import NotTraceableError, UnsteadyError

# A replay with a rewritten product rounds differently: by some units in the last place of the coarsest type in the
# graph, where a wrong replay is off by far more. The bound only has to tell the two apart; it is 1e-3 of a tensor's
# largest value in float32. What is zero but for rounding, as a bias's gradient before a normalisation is, is held
# against the others.
REWRITTEN_ULPS = 8192
NOISE_ULPS = 64
PIECE = 1 << 17  # numbers that are compared at once: in a processor's cache, in memory that need not be asked for
BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # bytes of a number -> what holds its bits
# Some CUDA operations add in no fixed order.
UNORDERED_TOLERANCE = 1e-4


def require_same(what: str, first: tuple[list, list], second: tuple[list, list]) -> None:
    """Makes sure that two runs from the same state returned and wrote the same, bit for bit.

    Raises:
        UnsteadyError: They did not.
    """
    ours, theirs = [*first[0], *first[1]], [*second[0], *second[1]]
    unordered = any(tensor is not None and tensor.is_cuda for tensor in ours)
    if [len(part) for part in first] != [len(part) for part in second]:
        raise UnsteadyError(f"{what} when it is run twice from the same state")
    for one, other in zip(ours, theirs, strict=True):
        if not same_bits(one, other) and not (unordered and distance(one, other) <= UNORDERED_TOLERANCE):
            raise UnsteadyError(f"{what} when it is run twice from the same state")


def require_close(first: list, second: list, step: float) -> None:
    """Makes sure that the rewritten replay returns the function's outputs, up to rounding of relative size `step`."""
    for found in apart(first, second, step):
        if found:
            raise NotTraceableError(f"its rewritten replay is {found:.1e} away from it, more than rounding")


def apart(first: list, second: list, step: float) -> list[float]:
    """Returns the distance of each pair of tensors that is more than rounding of relative size `step`; 0 elsewhere.

    What is zero but for rounding is held against the largest of all.
    """
    finite = [float(each.nan_to_num().abs().max()) for each in first if each is not None and is_float(each)]
    noise = min(NOISE_ULPS * step, 0.1) * max(finite, default=0.0)
    found = []
    for one, other in zip(first, second, strict=True):
        away = 0.0 if same_bits(one, other) else distance(one, other, noise)
        found.append(0.0 if away <= min(REWRITTEN_ULPS * step, 0.1) else away)
    return found


def is_float(tensor: torch.Tensor) -> bool:
    """Tells whether a tensor holds floating-point numbers, and any."""
    return tensor.dtype.is_floating_point and tensor.numel() > 0


def same_bits(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    """Tells whether two tensors agree in shape, type and every value; NaN equals NaN, and -0 is not 0."""
    if one is None or other is None:
        return one is other
    if same_at_once(one, other):  # as a rule; NaN has many forms
        return True
    if not one.dtype.is_floating_point or not same_kind(one, other):
        return False
    return bool(((one == other) & (one.signbit() == other.signbit()) | one.isnan() & other.isnan()).all())


def same_at_once(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tells whether two tensors agree in shape, type and every bit; it ends at the first that differs."""
    if not same_kind(one, other):
        return False
    if not one.dtype.is_floating_point:
        return torch.equal(one, other)
    bits = BITS[one.dtype.itemsize]
    return torch.equal(one.view(bits), other.view(bits))


def same_kind(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tells whether two tensors agree in shape, type and device."""
    return (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)


def distance(one: torch.Tensor | None, other: torch.Tensor | None, noise: float = 0.0) -> float:
    """Returns the largest difference relative to the largest value; infinite where the tensors cannot be compared.

    A difference up to `noise` counts as none.
    """
    if one is None or other is None or (one.shape, one.dtype) != (other.shape, other.dtype):
        return float("inf")
    if not one.dtype.is_floating_point:
        return 0.0 if torch.equal(one, other) else float("inf")
    if not torch.equal(one.isfinite(), other.isfinite()):
        return float("inf")
    if not one.numel():
        return 0.0
    one, other = one.double().nan_to_num(), other.double().nan_to_num()
    difference = float((one - other).abs().max())
    return 0.0 if difference <= noise else difference / max(float(one.abs().max()), 1e-30)


def further_apart(one: torch.Tensor, other: torch.Tensor, allowed: float, noise: float) -> float:
    """Returns the distance of two tensors where it is more than is allowed; 0 elsewhere.

    Args:
        one: A tensor.
        other: Another one.
        allowed: Distance relative to the largest value; 0 asks for equal bits.
        noise: Difference that counts as none.
    """
    if same_at_once(one, other):
        return 0.0
    if allowed and (one.dtype, one.shape) == (other.dtype, other.shape) and is_float(one):
        difference = largest_of(one, other)  # nothing is true of what is no number
        some = as_it_lies(one)[:PIECE]  # as a rule, the largest of them is about that of all
        if difference <= max(noise, allowed * largest_of(some)) or difference <= allowed * largest_of(one):
            return 0.0
    if same_bits(one, other):
        return 0.0
    found = distance(one, other, noise)
    return found if found > allowed else 0.0


def largest_of(one: torch.Tensor, other: torch.Tensor | None = None) -> float:
    """Returns the largest absolute value in a tensor, or in its difference from another; NaN where there is one."""
    pieces = as_it_lies(one).split(PIECE)
    if other is not None:
        pieces = map(torch.sub, pieces, as_it_lies(other, one).split(PIECE))
    largest = 0.0
    for low, high in map(torch.aminmax, pieces):
        bound = max(-float(low), float(high))
        if math.isnan(bound):
            return bound
        largest = max(largest, bound)
    return largest


def as_it_lies(one: torch.Tensor, like: torch.Tensor | None = None) -> torch.Tensor:
    """Returns the numbers of a tensor in the order in which they lie in memory, or in which another's do."""
    order = sorted(range(one.ndim), key=(one if like is None else like).stride, reverse=True)
    return one.permute(order).reshape(-1)


def ulp_of(tensor: torch.Tensor) -> float:
    """Returns the relative step between numbers of a tensor's type; 0 where it holds none with a point."""
    return torch.finfo(tensor.dtype).eps if tensor.dtype.is_floating_point else 0.0
