"""What a native form is, and how the forms stand in for Keras' functions while a step is traced."""

import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

_LOCK = threading.RLock()
_of_this_thread = threading.local()


@dataclass(frozen=True, kw_only=True)
class NativeForm:
    """One of PyTorch's operations in the place of a function of Keras.

    Args:
        name: Of the operation, as `explain` counts it; `None` where it only prepares another one.
        owner: The class or module whose function it stands in for.
        attribute: That function's name.
        make: Takes what the function takes; returns `NotImplemented` where its settings have no such form.
    """

    name: str | None
    owner: type | ModuleType
    attribute: str
    make: Callable[..., Any]


@contextmanager
def standing_in(forms: Sequence[NativeForm]) -> Iterator[Counter[str]]:
    """Within it, and in this thread, forms stand in for Keras' functions.

    Yields:
        Name of a form -> how often it was used.
    """
    counts: Counter[str] = Counter()
    with _LOCK:
        originals = [(form.owner, form.attribute, vars(form.owner)[form.attribute]) for form in forms]
        try:
            for form, (owner, attribute, original) in zip(forms, originals, strict=True):
                setattr(owner, attribute, _wrapped(form, original))
            _of_this_thread.counts = counts
            yield counts
        finally:
            _of_this_thread.counts = None
            for owner, attribute, original in originals:
                setattr(owner, attribute, original)


def _wrapped(form: NativeForm, original: Callable) -> Callable:
    """Returns a function that takes the form in the thread that traces, and elsewhere is the original."""

    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        counts = getattr(_of_this_thread, "counts", None)
        if counts is None:
            return original(*args, **kwargs)
        made = form.make(*args, **kwargs)
        if made is NotImplemented:
            return original(*args, **kwargs)
        if form.name is not None:
            counts[form.name] += 1
        return made

    return function
