"""What names of layers, modules and weights say of each other."""

from typing import Any


def alike(one: str, other: str) -> int:
    """Returns how much two names say the same: 2 for equal last words, 1 where one begins the other, else 0."""
    ours, theirs = (last_word(name) for name in (one, other))
    if ours == theirs:
        return 2
    return int(bool(ours and theirs) and (ours.startswith(theirs) or theirs.startswith(ours)))


def bears_name(layer: Any, name: str) -> bool:
    """Whether a layer is called as a module is, the module's dots aside."""
    wanted = name.replace(".", "_")
    return bool(wanted) and wanted in {
        str(each).replace("/", "_").replace(".", "_") for each in (layer.name, layer.path)
    }


def numbered(name: str) -> tuple[str, int]:
    """Returns a name without the number that Keras gave it, and that number; the first of a name has 0."""
    stem, _, number = name.rpartition("_")
    return (stem, int(number)) if stem and number.isdecimal() else (name, 0)


def last_word(name: str) -> str:
    """Returns the last word of a name: that of a layer, without numbers and what all layers are called."""
    words = [word for word in name.lower().replace("/", ".").replace("_", ".").split(".") if word]
    words = [word for word in words if not word.isdigit() and word not in ("proj", "dense", "layer", "weight")]
    return words[-1] if words else ""
