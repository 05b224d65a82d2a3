"""Places in objects of the standard library, NumPy, SciPy and PyTorch, whose own code nobody looks into."""

# What a type checker warns of, people do, and so do these places.
# mypy: disable-error-code="assignment, return-value"

import array
import collections
import contextvars
import functools
import weakref

import numpy as np
import torch
from scipy import sparse

from birdplane_keras.hunt.places import AFTER, BEFORE, Holder, Place, place


@place
def a_chain_of_maps() -> Place:
    settings = {"scale": BEFORE}
    chained = collections.ChainMap({}, settings)
    return lambda: chained["scale"], lambda: settings.update(scale=AFTER)


@place
def a_dictionary_of_the_users() -> Place:
    settings = collections.UserDict({"scale": BEFORE})
    return lambda: settings["scale"], lambda: settings.update(scale=AFTER)


@place
def a_dictionary_with_weak_keys() -> Place:
    holder = Holder()
    kept = weakref.WeakKeyDictionary({holder: BEFORE})
    return lambda: kept[holder], lambda: kept.update({holder: AFTER})


@place
def a_polynomial() -> Place:
    polynomial = np.poly1d([BEFORE])
    return lambda: float(polynomial(2.0)), lambda: polynomial.coeffs.__setitem__(0, AFTER)


@place
def a_sparse_matrix() -> Place:
    matrix = sparse.csr_matrix(np.array([[BEFORE]]))
    return lambda: float(matrix.sum()), lambda: matrix.data.__setitem__(0, AFTER)


@place
def a_distribution() -> Place:
    normal = torch.distributions.Normal(0.0, BEFORE)
    return lambda: normal.stddev, lambda: setattr(normal, "scale", torch.tensor(AFTER))


@place
def a_context_variable() -> Place:
    variable = contextvars.ContextVar("scale", default=BEFORE)

    def change() -> None:
        variable.set(AFTER)

    return lambda: variable.get(), change


@place
def an_attribute_of_a_pytorch_module() -> Place:
    module = torch.nn.Linear(1, 1)
    module.scale = BEFORE
    return lambda: module.scale, lambda: setattr(module, "scale", AFTER)


@place
def a_setting_of_pytorch() -> Place:
    torch.backends.cudnn.benchmark = False
    return (
        lambda: AFTER if torch.backends.cudnn.benchmark else BEFORE,
        lambda: setattr(torch.backends.cudnn, "benchmark", True),
    )


@place
def a_function_that_is_registered() -> Place:
    @functools.singledispatch
    def scale_of(value: object) -> float:
        return BEFORE

    def change() -> None:
        scale_of.register(int, lambda value: AFTER)

    return lambda: scale_of(3), change


@place
def an_array_of_pythons() -> Place:
    scales = array.array("d", [BEFORE])
    return lambda: scales[0], lambda: scales.__setitem__(0, AFTER)
