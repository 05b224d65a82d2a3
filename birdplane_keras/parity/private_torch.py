"""What the judge takes from PyTorch that PyTorch does not publish: another version of it is this file's work."""

from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["TorchDispatchMode", "decomposition_table", "tree_leaves", "tree_map"]
