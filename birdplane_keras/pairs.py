"""The door for any pair: finds the function that makes it, has it judged, and verifies certificates."""

import argparse
import contextlib
import dataclasses
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from birdplane_keras.errors import PairError, RequestError

DEFAULT_STEPS = 200
SAME = ("torch_data", "keras_data", "torch_initial_weights")  # what a certificate's pair must still be made of

REQUIRED = {  # by the kind of certificate
    "pair": ("verdict", "environment", "hashes", "source", "steps", "seed"),
    "preset": ("verdict", "environment", "preset", "engine", "epochs", "seed", "data", "keras", "torch"),
}


def pair_command(arguments: argparse.Namespace, prepare: Callable[[], Path]) -> int:
    """`compare.py --pair`.

    Args:
        arguments: With `pair`, `steps` and `seed`.
        prepare: Makes the output folder, once the pair is known to be one.
    """
    steps, seed = DEFAULT_STEPS if arguments.steps is None else arguments.steps, arguments.seed or 0
    if steps < 1 or seed < 0:
        raise RequestError(f"expected --steps of at least 1 and --seed of at least 0, received {steps} and {seed}")
    pair = load_pair(arguments.pair)
    out = prepare()
    from rich.console import Console

    from birdplane_keras.parity import check_parity
    from birdplane_keras.reporting.page.render import PAGE_FILE, save_page
    from birdplane_keras.reporting.terminal import print_pair

    report = check_parity(pair, steps=steps, seed=seed)
    console = Console()
    print_pair(report.content(), console)
    written = report.save(out)
    save_page(out / PAGE_FILE, report.content())
    console.print(f"Written: {', '.join(map(str, [*written, out / PAGE_FILE]))}", soft_wrap=True)
    return 1 if report.verdict == "diverged" else 0


def verify_command(
    arguments: argparse.Namespace, run_preset: Callable[[argparse.Namespace], tuple[int, dict[str, Any]]]
) -> int:
    """`compare.py --verify`: 0 where the certificate still holds, 1 where it does not.

    Args:
        arguments: With `verify`, `out` and where the data lie.
        run_preset: Runs `compare.py --preset`; returns the exit status and the report.
    """
    before = load_certificate(arguments.verify)
    if before.get("kind") == "pair":
        from birdplane_keras.parity import check_parity

        now = check_parity(load_pair(before["source"]), steps=before["steps"], seed=before["seed"]).content()
    else:
        for name in ("preset", "engine", "epochs", "seed"):
            setattr(arguments, name, before[name])
        arguments.device = before["environment"]["device"].split(" ")[0]
        arguments.synthetic = before["data"] != "cifar-10"
        with tempfile.TemporaryDirectory() as folder:
            arguments.out = arguments.out or Path(folder)
            _, now = run_preset(arguments)
    broken = compare_certificates(before, now)
    changes = describe_changes(before, now)
    print(f"Environment: {changes}." if changes else "The environment is the same.")
    print(f"The certificate {'no longer holds: ' + '; '.join(broken) if broken else 'holds: ' + before['verdict']}.")
    return 1 if broken else 0


def load_pair(source: str) -> Any:
    """Calls `package.module:function` and returns the `Pair` that it makes; the current folder is searched first.

    Raises:
        PairError: There is no such function, it fails, or it makes something else.
    """
    module_name, _, name = source.partition(":")
    wanted = "expected --pair package.module:function, a function without arguments that returns a Pair, received"
    if not module_name or not name:
        raise PairError(f"{wanted} {source!r}")
    with current_folder_importable():
        try:
            module = importlib.import_module(module_name)
        except Exception as error:
            raise PairError(f"{wanted} {source!r}: {module_name} cannot be imported ({describe(error)})") from error
        make = getattr(module, name, None)
        if not callable(make):
            raise PairError(f"{wanted} {source!r}: {module_name} has no function {name}")
        from birdplane_keras.parity import Pair

        try:
            pair = make()
        except PairError:
            raise
        except Exception as error:
            raise PairError(f"{source} failed: {describe(error)}") from error
    if not isinstance(pair, Pair):
        raise PairError(f"{wanted} {source!r}, which returned {type(pair).__name__}")
    return dataclasses.replace(pair, source=source)


@contextlib.contextmanager
def current_folder_importable() -> Iterator[None]:
    """Within it, modules of the current folder are found, before any others."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def describe(error: Exception) -> str:
    """Returns an error's type and the first line of its text."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'without a message'}"


def load_certificate(path: Path) -> dict[str, Any]:
    """Reads `certificate.json` of a pair, or `report.json` of a preset.

    Raises:
        RequestError: It is neither.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RequestError(f"expected a certificate for --verify, received {path}: {describe(error)}") from error
    kind = content.get("kind") if isinstance(content, dict) else None
    if missing := [name for name in REQUIRED.get(str(kind), ("kind",)) if name not in content]:
        raise RequestError(f"expected a certificate for --verify, received {path}, without {', '.join(missing)}")
    if kind == "pair" and not content["source"]:
        raise RequestError(
            f"expected a certificate of compare.py --pair, received {path}: nothing says how it was made"
        )
    return content


def compare_certificates(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns what no longer holds, in words.

    The verdict, the data and the start must be the same; in the same environment, every bit at the end, too.

    Args:
        before: The certificate.
        now: What the same command finds today.
    """
    broken = []
    if before["verdict"] != now["verdict"]:
        broken.append(f"the verdict was {before['verdict']} and is {now['verdict']}")
    earlier, later = hashes_of(before), hashes_of(now)
    same_environment = before["environment"] == now["environment"]
    for name in dict.fromkeys([*earlier, *later]):
        was, is_now = earlier.get(name, "nothing"), later.get(name, "nothing")
        if was != is_now and (name in SAME or same_environment):
            broken.append(f"{name.replace('_', ' ')} was {was[:12]} and is {is_now[:12]}")
    return broken


def describe_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Returns which parts of the environment changed, in words; empty where none did."""
    names = [n for n in before["environment"] if before["environment"][n] != now["environment"].get(n)]
    return ", ".join(f"{n} {before['environment'][n]} then, {now['environment'].get(n)} now" for n in names)


def hashes_of(content: Mapping[str, Any]) -> dict[str, str]:
    """Returns the sums that a certificate holds, by name."""
    if "hashes" in content:
        return dict(content["hashes"])
    sides = {side: content[side] for side in ("keras", "torch")}
    return {f"{side}_final_weights": entry["weights_sha256"] or "" for side, entry in sides.items()}
