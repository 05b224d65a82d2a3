"""A contestant in a process of its own, so that none pays for what another one leaves in memory or in PyTorch."""

import multiprocessing
from typing import Any

from birdplane_keras.benchmark.memory import peak_megabytes


class Isolated:
    """A contestant for a network, elsewhere.

    Args:
        network: Its name.
        layout: Of the images in Keras.
        steps: In an epoch.
        device: As PyTorch names it.
        name: The contestant's.
    """

    def __init__(self, network: str, layout: str, steps: int, device: str, name: str) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._connection, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, network, layout, steps, device, name), daemon=True)
        self._process.start()
        there.close()

    def ask(self, what: str, *arguments: Any) -> Any:
        """Makes the contestant do something, and waits until it is done.

        Args:
            what: `train`, `evaluate`, `predict`, or `peak` for the megabytes that it has needed at most.
            arguments: Of it.

        Raises:
            RuntimeError: It failed; the text says how.
        """
        self._connection.send((what, arguments))
        try:
            result, failure = self._connection.recv()
        except EOFError:
            raise RuntimeError("its process ended") from None
        if failure is not None:
            raise RuntimeError(failure)
        return result

    def end(self) -> None:
        """Ends its process."""
        self._connection.close()
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.terminate()


def _serve(connection: Any, network: str, layout: str, steps: int, device: str, name: str) -> None:
    """Builds a contestant, and does what it is asked until nobody asks any more."""
    from birdplane_keras.benchmark.network_rows import CONTESTANTS, NetworkTask
    from birdplane_keras.benchmark.networks import NETWORKS

    contestant: Any = None
    task = NetworkTask(network=NETWORKS[network], layout=layout, steps=steps, device=device)
    while True:
        try:
            what, arguments = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            contestant = contestant or CONTESTANTS[name](task)
            result = peak_megabytes(device) if what == "peak" else None
            if what != "peak":
                getattr(contestant, what)(*arguments)
            connection.send((result, None))
        except KeyboardInterrupt:
            return
        except Exception as error:
            connection.send((None, f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"))
