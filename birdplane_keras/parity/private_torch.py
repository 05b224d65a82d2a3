"""What the judge takes from PyTorch that PyTorch does not publish: another version of it is this file's work."""

import torch
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._python_dispatch import _disable_current_modes as without_modes
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["TorchDispatchMode", "decomposition_table", "has_aliases", "tree_leaves", "tree_map", "without_modes"]

_ALONE = 2  # uses of a storage: by its one tensor, and by the Python object that asks


def has_aliases(tensor: torch.Tensor) -> bool:
    """Whether another tensor, or an array of NumPy's, may see the same memory; a PyTorch that cannot tell says so."""
    count = getattr(torch._C, "_storage_Use_Count", None)
    return count is None or count(tensor.untyped_storage()._cdata) > _ALONE
