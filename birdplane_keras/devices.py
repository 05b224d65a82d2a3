"""Whether this machine has a device."""


def why_not(device: str) -> str | None:
    """Returns why no tensors can be put on a device, as PyTorch says it; `None` where they can.

    Args:
        device: As PyTorch names it, such as `cpu` or `cuda:0`.
    """
    import torch

    try:
        return "the meta device holds no numbers" if torch.empty(0, device=device).is_meta else None
    except (RuntimeError, AssertionError) as error:  # PyTorch asserts that CUDA was compiled in
        return str(error).splitlines()[0]
