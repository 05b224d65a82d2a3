"""What is optional: a command that needs it says which extra to install."""

import importlib
from types import ModuleType

from birdplane_keras.errors import RequestError


def require(module: str, *, extra: str, what: str) -> ModuleType:
    """Returns an optional module.

    Args:
        module: Its name.
        extra: The extra of this package that installs it.
        what: What it is needed for.

    Raises:
        RequestError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise RequestError(
            f"expected the extra {extra!r}, which {what} needs ({error}): pip install 'birdplane-keras[{extra}]', with "
            "-c constraints.txt of the repository for the versions that were tested"
        ) from error
