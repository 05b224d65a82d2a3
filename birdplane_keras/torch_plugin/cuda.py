"""A replay captured in a CUDA graph: one launch instead of one for each operation."""

from collections.abc import Callable, Sequence

import torch

from birdplane_keras.torch_plugin.errors import NotTraceableError
from birdplane_keras.torch_plugin.tracing import Trace

Replay = Callable[..., tuple]
# From a function without arguments and its state to (launch, outputs): `launch()` runs it again, into the same outputs.
Recorder = Callable[[Callable[[], tuple], Sequence[torch.Tensor]], tuple[Callable[[], None], tuple]]


def captured_where_it_can_be(part: Trace, inputs: Sequence[torch.Tensor], notes: list[str]) -> Replay:
    """Returns the fastest replay of a traced function, in a CUDA graph where its inputs are on a GPU.

    Args:
        part: The traced function.
        inputs: Examples.
        notes: Gets a line on how that went.
    """
    fastest = part.compiled or part.replay
    if not inputs or not inputs[0].is_cuda:
        return fastest
    try:
        replay = capture(fastest, inputs, part.state)
    except NotTraceableError as reason:
        notes.append(f"no CUDA graph, because {reason}")
        return fastest
    notes.append("captured in a CUDA graph")
    return replay


def capture(
    replay: Replay, inputs: Sequence[torch.Tensor], state: Sequence[torch.Tensor], record: Recorder | None = None
) -> Replay:
    """Returns a replay that copies its inputs into buffers, launches the recorded graph and copies its outputs.

    The outputs are copies because the next launch writes the same memory again, and callbacks may keep them.

    Args:
        replay: Runs operations of one device, and nothing that waits for it.
        inputs: Examples; later ones have the same shapes and types.
        state: Tensors that the replay writes in place. Their values are what they were when this returns.
        record: How to record; a CUDA graph unless a test gives another.

    Raises:
        NotTraceableError: The operations cannot be captured.
    """
    buffers = [tensor.clone() for tensor in inputs]
    before = [tensor.detach().clone() for tensor in state]
    random_state = torch.cuda.get_rng_state() if inputs[0].is_cuda else torch.get_rng_state()
    try:
        launch, outputs = (record or record_cuda_graph)(lambda: replay(*buffers), state)
    except (RuntimeError, torch.AcceleratorError) as error:
        raise NotTraceableError(f"its operations cannot be captured: {str(error).splitlines()[0]}") from error
    finally:
        with torch.no_grad():
            for tensor, value in zip(state, before, strict=True):
                tensor.copy_(value)
        (torch.cuda.set_rng_state if inputs[0].is_cuda else torch.set_rng_state)(random_state)

    def captured(*given: torch.Tensor) -> tuple:
        torch._foreach_copy_(buffers, given)
        launch()
        return tuple(None if output is None else output.clone() for output in outputs)

    return captured


def record_cuda_graph(function: Callable[[], tuple], state: Sequence[torch.Tensor]) -> tuple[Callable[[], None], tuple]:
    """Records a function in a `torch.cuda.CUDAGraph`, after a run on a side stream as PyTorch's notes ask for."""
    with torch.no_grad():
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            function()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = function()
    return graph.replay, outputs
