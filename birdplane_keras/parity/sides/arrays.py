"""From PyTorch's tensors to NumPy's arrays."""

import numpy as np
import torch


def to_view(tensor: torch.Tensor) -> np.ndarray:
    """Returns a tensor as it stands, on the CPU without a copy; bfloat16, which NumPy lacks, becomes float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """Returns a copy on the CPU; bfloat16 becomes float32."""
    return to_view(tensor).copy()
