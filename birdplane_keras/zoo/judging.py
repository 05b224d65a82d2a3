"""Judges a pair of the zoo, each in a process of its own, and tells what was found."""

import multiprocessing
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from birdplane_keras.parity.core.judge import MATCHES
from birdplane_keras.zoo.registry import ZooPair, load

STEPS = 10  # of training, where a pair is trained
LIBRARIES = {
    "transformers": "transformers",
    "timm": "timm",
    "segmentation_models_pytorch": "segmentation-models-pytorch",
    "torchvision": "torchvision",
    "KerasHub": "keras-hub",
}


@dataclass(kw_only=True)
class Row:
    """What was found of a pair.

    Args:
        name: Of the pair.
        torch: The reference, with the version of its library.
        keras: The port, likewise.
        weights: How many weights were matched.
        lines: Of a mapping that it took.
        shipped: The verdict as the libraries build both.
        differs: What differs: cause, whether proved, in words, and the lines of both sides.
        advice: What was followed then; empty where nothing was to follow.
        advised: The verdict then; empty likewise.
        left: What differs then.
        seconds: That the first answer took, both models built.
        memory: Bytes that the process held at most.
        error: What kept the pair from being judged; empty where nothing did.
    """

    name: str
    torch: str = ""
    keras: str = ""
    weights: int = 0
    lines: int = 0
    shipped: str = ""
    differs: list[dict[str, Any]] = field(default_factory=list)
    advice: str = ""
    advised: str = ""
    left: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    memory: int = 0
    error: str = ""

    @property
    def settled(self) -> bool:
        """Whether the sides are the same in the end, or what differs is proved."""
        last = self.advised or self.shipped
        told = self.left if self.advised else self.differs
        return not self.error and (last in MATCHES or (bool(told) and all(each["proved"] for each in told)))


def judge_all(names: list[str]) -> Iterator[Row]:
    """Yields the rows of some pairs, as they are judged."""
    context = multiprocessing.get_context("spawn")
    for name in names:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=judge_into, args=(theirs, name), daemon=True)  # ends with this one
        process.start()
        theirs.close()
        try:
            yield ours.recv()
        except EOFError:
            process.join()
            yield Row(name=name, error=f"the process that judged it ended with {process.exitcode}")
        process.join()


def judge_into(connection: Any, name: str) -> None:
    """Judges a pair, and sends its row."""
    import signal
    import warnings

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asked is interrupted, and ends this one
    warnings.simplefilter("ignore")
    connection.send(judge_pair(load()[name]))
    connection.close()


def judge_pair(pair: ZooPair) -> Row:
    """Judges a pair as it is shipped, and with what is advised."""
    row = Row(name=pair.name, torch=with_version(pair.torch), keras=with_version(pair.keras), advice=pair.advice)
    try:
        arguments = pair.make(False)
        start = time.perf_counter()
        result = judged(arguments)
        row.seconds, row.shipped = time.perf_counter() - start, result.verdict
        row.differs = [told(finding) for finding in result.diagnosis]
        row.weights = len(arguments["keras_model"].weights)
        row.lines = len(arguments.get("mapping") or {})
        if pair.advice:
            again = judged(pair.make(True))
            row.advised, row.left = again.verdict, [told(finding) for finding in again.diagnosis]
        row.memory = peak_memory()
    except Exception as error:  # whatever a library raises: the table says it
        row.error = f"{type(error).__name__}: {error}".splitlines()[0]
    return row


def judged(arguments: Mapping[str, Any]) -> Any:
    """Returns the result of a pair of such arguments."""
    from birdplane_keras.parity import Pair, check_forward, check_parity

    if "torch_loss" in arguments:
        return check_parity(Pair(**arguments), steps=STEPS)
    return check_forward(**arguments)


def told(finding: Any) -> dict[str, Any]:
    """Returns what a finding says, as plain data."""
    parting = finding.parting or {}
    sides = {side: (parting.get(side) or [""])[0] for side in ("port", "reference")}
    return {"cause": finding.cause, "proved": finding.proved, "text": finding.text, **sides}


def with_version(model: str) -> str:
    """Returns the name of a model with the version of its library."""
    library, _, name = model.partition(" ")
    package = LIBRARIES.get(library, "torch" if library == "PyTorch" else "keras")
    return f"{library} {version(package)} {name}".strip()


def peak_memory() -> int:
    """Returns the bytes that this process held at most, 0 where the system does not say."""
    try:
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return 0
    return int(line.split()[1]) * 1024
