"""Arrays that are kept for later: a large one lies in a temporary file, so that memory holds one of them at a time."""

import io
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

LARGE = 2**18  # bytes from which on an array goes into the file


class Store:
    """A temporary file of arrays. Space that nobody needs any longer is used again."""

    def __init__(self) -> None:
        self._file: io.FileIO | None = None
        self._end = 0
        self._free: dict[int, list[int]] = {}  # size in bytes -> where
        self._lock = threading.Lock()

    def write(self, data: np.ndarray) -> int:
        """Writes bytes, (N,) of uint8; returns where they lie."""
        with self._lock:
            file = self._opened()
            free = self._free.get(len(data))
            place = free.pop() if free else self._end
            self._end = max(self._end, place + len(data))
            file.seek(place)
            rest = data.data
            while rest:  # a write may take a part
                rest = rest[file.write(rest) :]
        return place

    def read(self, place: int, into: np.ndarray) -> None:
        """Reads bytes, as many as the array of uint8 has.

        Raises:
            RuntimeError: The file ends before.
        """
        with self._lock:
            file = self._opened()
            file.seek(place)
            rest = into.data
            while rest:
                count = file.readinto(rest)
                if not count:
                    raise RuntimeError("the temporary file of arrays has been cut off")
                rest = rest[count:]

    def _opened(self) -> io.FileIO:
        if self._file is None:
            handle, path = tempfile.mkstemp(prefix="birdplane-")
            self._file = io.FileIO(handle, "r+")
            os.unlink(path)  # the space is free again when the process ends, however it ends
        return self._file

    def give_back(self, place: int, size: int) -> None:
        """Lets space be used again. Takes no lock: it may be called wherever memory is freed."""
        self._free.setdefault(size, []).append(place)


STORE = Store()


class Kept:
    """An array as it was when this was made.

    Args:
        array: Of any shape and type.
    """

    def __init__(self, array: np.ndarray) -> None:
        self._shape, self._dtype = array.shape, array.dtype
        small = array.nbytes < LARGE or array.dtype.hasobject
        self._small = np.array(array, order="C") if small else None
        if self._small is None:
            place = STORE.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
            self._place = place
            weakref.finalize(self, STORE.give_back, place, array.nbytes).atexit = False

    def read(self) -> np.ndarray:
        """Returns the array, a large one as a copy."""
        if self._small is not None:
            return self._small
        found = np.empty(self._shape, self._dtype)
        STORE.read(self._place, found.reshape(-1).view(np.uint8))
        return found


class Shelf(Mapping[Any, np.ndarray]):
    """Arrays by name, each of which comes into memory when somebody asks for it.

    Args:
        arrays: Name and array of each, to be kept for later; an iterator may make one after the other.
    """

    def __init__(self, arrays: Iterable[tuple[Any, np.ndarray]] = ()) -> None:
        self._reads: dict[Any, Callable[[], np.ndarray]] = {}
        for name, array in arrays:
            self.keep(name, array)

    @classmethod
    def of(cls, names: Iterable[Any], read: Callable[[Any], np.ndarray]) -> "Shelf":
        """Returns one that keeps nothing: what has a name is read whenever somebody asks for it."""
        shelf = cls()
        shelf._reads = {name: partial(read, name) for name in names}
        return shelf

    def keep(self, name: Any, array: np.ndarray) -> None:
        """Keeps an array."""
        self._reads[name] = Kept(array).read

    def __getitem__(self, name: Any) -> np.ndarray:
        return self._reads[name]()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._reads)

    def __len__(self) -> int:
        return len(self._reads)

    def __contains__(self, name: object) -> bool:
        return name in self._reads
