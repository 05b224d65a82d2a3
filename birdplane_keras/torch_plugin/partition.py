"""Products in which each thread keeps to its own part of a kernel.

A step reads a kernel (forward) and writes it (update). The library for matrix products splits the two differently among
its threads, so that each thread reads what another one wrote; where cores do not share a cache that costs more than the
arithmetic. As batches with one matrix per thread, both products split the kernel (out, in) by rows, alike.
"""

import torch


def parts_of(kernel: torch.Tensor) -> int:
    """Returns how many parts a kernel (in, out) is split into: one per thread, or 1 where it cannot be split.

    It can be on the CPU, where it is laid out as (out, in) and its outputs can be dealt out evenly.
    """
    threads = torch.get_num_threads()
    fits = kernel.device.type == "cpu" and kernel.t().is_contiguous() and kernel.shape[1] % threads == 0
    return threads if fits and kernel.dtype == torch.float32 else 1


def linear_by_parts(bias: torch.Tensor, inputs: torch.Tensor, kernel: torch.Tensor, parts: int) -> torch.Tensor:
    """Returns `inputs @ kernel + bias`.

    Args:
        bias: (out,).
        inputs: (B, in).
        kernel: (in, out), in memory (out, in).
        parts: Into which its outputs are split.
    """
    rows = kernel.t().view(parts, -1, len(kernel))
    products = torch.bmm(rows, inputs.t().expand(parts, -1, -1)).view(-1, len(inputs))
    return torch.add(products.t(), bias, out=bias.new_empty(len(inputs), len(bias)))


def add_product_by_parts(
    kernel: torch.Tensor, left: torch.Tensor, right: torch.Tensor, alpha: float, parts: int
) -> None:
    """`kernel += alpha * left @ right`, in place.

    Args:
        kernel: (in, out), in memory (out, in).
        left: (in, B).
        right: (B, out).
        alpha: Factor.
        parts: Into which the outputs are split.
    """
    rows = kernel.t().view(parts, -1, len(kernel))
    factors = right.t().reshape(parts, -1, len(right))
    rows.baddbmm_(factors, left.t().expand(parts, -1, -1), alpha=alpha)
