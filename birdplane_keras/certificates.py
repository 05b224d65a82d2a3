"""What a comparison left, read again and held against what the same command finds today."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from birdplane_keras.errors import RequestError, first_line
from birdplane_keras.parity.core.result import VERSION

SAME = ("torch_data", "keras_data", "torch_initial_weights")  # what a certificate's pair must still be made of

REQUIRED = {  # by the kind of certificate
    "pair": ("verdict", "environment", "hashes", "source", "steps", "seed"),
    "preset": ("verdict", "environment", "hashes", "preset", "engine", "epochs", "seed", "data"),
}


def load_certificate(path: Path) -> dict[str, Any]:
    """Reads `certificate.json` of a pair, or `report.json` of a preset.

    Raises:
        RequestError: It is neither.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RequestError(f"expected a certificate for --verify, received {path}: {first_line(error)}") from error
    kind = content.get("kind") if isinstance(content, dict) else None
    if kind is not None and content.get("version", VERSION) != VERSION:
        raise RequestError(f"expected a certificate of version {VERSION}, received {path}, of {content['version']!r}")
    if kind not in REQUIRED:
        raise RequestError(f"expected a certificate for --verify, received {path}, of the kind {kind!r}")
    if missing := [name for name in REQUIRED[kind] if name not in content]:
        raise RequestError(f"expected a certificate for --verify, received {path}, without {', '.join(missing)}")
    for name in ("environment", "hashes"):
        if not isinstance(content[name], dict) or not all(isinstance(v, str | int) for v in content[name].values()):
            raise RequestError(f"expected a certificate for --verify, received {path}, whose {name} names nothing")
    for name in ("preset", "engine", "data", "verdict"):
        if not isinstance(content.get(name, ""), str):
            raise RequestError(f"expected a certificate for --verify, received {path}, whose {name} is no word")
    for name in ("steps", "epochs", "seed"):
        if name in content and (type(content[name]) is not int or content[name] < (0 if name == "seed" else 1)):
            raise RequestError(f"expected a certificate for --verify, received {path}, whose {name} is no such number")
    if kind == "pair" and not (content["source"] and isinstance(content["source"], str)):
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
    earlier, later = before["hashes"], now["hashes"]
    same_environment = before["environment"] == now["environment"]
    for name in dict.fromkeys([*earlier, *later]):
        was, is_now = str(earlier.get(name, "nothing")), str(later.get(name, "nothing"))
        if was != is_now and (name in SAME or same_environment):
            broken.append(f"{name.replace('_', ' ')} was {was:.12} and is {is_now:.12}")
    return broken


def describe_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Returns which parts of the environment changed, in words; empty where none did."""
    then, today = before["environment"], now["environment"]
    names = [name for name in dict.fromkeys([*then, *today]) if then.get(name) != today.get(name)]
    return ", ".join(
        f"{name} {then.get(name, 'not stated')} then, {today.get(name, 'not stated')} now" for name in names
    )
