"""Makes torchvision from PyPI importable beside a CPU build of PyTorch.

PyPI's torchvision is linked to CUDA. Beside a PyTorch without CUDA its compiled operators stay unregistered, and
`import torchvision` stops with "operator torchvision::nms does not exist" (pytorch/vision issue 9085). Datasets and
transforms need no such operator, so declaring the two names that the import looks for is enough.
"""

import torch

OPERATORS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_library: torch.library.Library | None = None  # the declarations last as long as this object


def import_torchvision() -> None:
    """Imports torchvision; declares its missing operators first, but only where the plain import fails for them.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: The import fails for another reason.
    """
    global _library
    try:
        import torchvision
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        _library = torch.library.Library("torchvision", "DEF")
        for name, signature in OPERATORS.items():
            _library.define(name + signature)
        import torchvision  # noqa: F401 (the import is the effect)
