"""The ways in which a request ends without an answer: all are of one root, and become one line and exit status 2."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from birdplane_keras.user_code import line_of


class BirdplaneError(Exception):
    """Something that the user can fix: the message says what was expected, what was received, and what to do."""


class RequestError(BirdplaneError, ValueError):
    """What was asked for cannot be done as asked: a wrong flag, an unusable output folder, a missing device."""


class DataError(BirdplaneError, RuntimeError):
    """The images cannot be had, or what is there is not what it should be."""


class PairError(RequestError):
    """Two models that cannot be judged as they are: not compiled, on another device, shapes that do not fit."""


class TransferError(BirdplaneError, ValueError):
    """Two models whose weights cannot be carried over; the message lists every reason."""


class UnsafeFileError(RequestError):
    """A file that could run code, or write outside its place, when it is loaded; it was not."""


@contextmanager
def errors_of_pair(what: str | Callable[[], str]) -> Iterator[None]:
    """Within it runs code of a pair: whatever that raises, `SystemExit` too, is an error of the pair.

    Args:
        what: Cannot be done then, in words; a function where these take time.

    Raises:
        PairError: It raised something.
    """
    try:
        yield
    except (KeyboardInterrupt, BirdplaneError):
        raise
    except BaseException as error:
        raise PairError(f"{what if isinstance(what, str) else what()}: {first_line(error)}{line_of(error)}") from error


def first_line(error: BaseException) -> str:
    """Returns an error's type and the first line of what it says, after Keras' words around it."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # Keras prints some of it in bold
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("Exception encountered when calling"):
        del lines[0]
    return f"{type(error).__name__}: {lines[0] if lines else 'without a message'}"
