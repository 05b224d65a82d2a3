"""The ways in which a request ends without an answer; all become one line on stderr and exit status 2."""


class RequestError(ValueError):
    """What was asked for cannot be done as asked: a wrong flag, an unusable output folder, a missing device."""


class DataError(RuntimeError):
    """The images cannot be had, or what is there is not what it should be."""


class PairError(RequestError):
    """Two models that cannot be judged as they are: not compiled, on another device, shapes that do not fit."""


class UnsafeFileError(RequestError):
    """A file that could run code, or write outside its place, when it is loaded; it was not."""
