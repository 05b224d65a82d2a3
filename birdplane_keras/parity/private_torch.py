"""What the judge takes from PyTorch that PyTorch does not publish: another version of it is this file's work."""

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["TorchDispatchMode", "tree_leaves", "tree_map"]
