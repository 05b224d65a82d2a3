"""`compare.py --pair` and `--verify`: any pair, judged, and what a comparison left, judged again."""

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from birdplane_keras.certificates import compare_certificates, describe_changes, load_certificate
from birdplane_keras.errors import RequestError
from birdplane_keras.pairs import describe_source, load_pair

DEFAULT_STEPS = 200


def pair_command(arguments: argparse.Namespace, prepare: Callable[[], Path]) -> int:
    """`compare.py --pair`.

    Args:
        arguments: With `pair`, `steps`, `seed` and `search_seconds`.
        prepare: Makes the output folder, once the pair is known to be one.
    """
    steps, seed = DEFAULT_STEPS if arguments.steps is None else arguments.steps, arguments.seed or 0
    if steps < 1 or seed < 0:
        raise RequestError(f"expected --steps of at least 1 and --seed of at least 0, received {steps} and {seed}")
    seconds = arguments.search_seconds
    if seconds is not None and not seconds >= 0:
        raise RequestError(f"expected --search-seconds of at least 0, received {seconds:g}")
    pair = load_pair(arguments.pair)
    if seconds is not None:
        pair = dataclasses.replace(pair, search_seconds=seconds)
    out = prepare()
    from rich.console import Console

    from birdplane_keras.parity import check_parity
    from birdplane_keras.reporting.page.render import PAGE_FILE, save_page
    from birdplane_keras.reporting.terminal import print_pair

    result = check_parity(pair, steps=steps, seed=seed)
    console = Console()
    print_pair(result.content(), console)
    written = result.save(out)
    save_page(out / PAGE_FILE, result.content(), trajectory=result.trajectory)
    console.print(f"Written: {', '.join(map(str, [*written, out / PAGE_FILE]))}", soft_wrap=True)
    return 1 if result.verdict == "diverged" else 0


def verify_command(
    arguments: argparse.Namespace, run_preset: Callable[[argparse.Namespace], tuple[int, dict[str, Any]]]
) -> int:
    """`compare.py --verify`: 0 where the certificate still holds, 1 where it does not.

    Args:
        arguments: With `verify`, `trust`, `pair`, `out` and where the data lie.
        run_preset: Runs `compare.py --preset`; returns the exit status and the report.
    """
    before = load_certificate(arguments.verify)
    if before["kind"] == "pair":
        for flag, value in (("out", arguments.out), ("data-dir", arguments.data_dir)):
            if value is not None:
                raise RequestError(f"expected --verify without --{flag}: {arguments.verify} is of a pair")
        now = run_pair_again(arguments, before)
    else:
        if arguments.pair is not None:
            raise RequestError(
                f"expected --verify without --pair: {arguments.verify} is of the preset {before['preset']}"
            )
        for name in ("preset", "engine", "epochs", "seed"):
            setattr(arguments, name, before[name])
        arguments.device = str(before["environment"].get("device", "cpu")).split(" ")[0]
        arguments.synthetic = before["data"] != "cifar-10"
        with tempfile.TemporaryDirectory() as folder:
            arguments.out = arguments.out or Path(folder)
            _, now = run_preset(arguments)
    broken = compare_certificates(before, now)
    changes = describe_changes(before, now)
    print(f"Environment: {changes}." if changes else "The environment is the same.")
    print(f"The certificate {'no longer holds: ' + '; '.join(broken) if broken else 'holds: ' + before['verdict']}.")
    return 1 if broken else 0


def run_pair_again(arguments: argparse.Namespace, before: Mapping[str, Any]) -> dict[str, Any]:
    """Judges the pair that a certificate names, if the person said that its code may run.

    Raises:
        RequestError: They did not; the message says what would run.
    """
    source = before["source"]
    told = describe_source(source)
    if arguments.pair not in (None, source):
        raise RequestError(f"expected --pair {source}, which {arguments.verify} is of, received {arguments.pair!r}")
    if arguments.pair is None and not arguments.trust:
        raise RequestError(f"expected --trust, or --pair {source}, since {arguments.verify} would run {told}")
    print(f"Runs {told}.", flush=True)
    from birdplane_keras.parity import check_parity

    return check_parity(load_pair(source), steps=before["steps"], seed=before["seed"]).content()
