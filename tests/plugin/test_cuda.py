"""The logic around a CUDA graph, with a recorder that needs no GPU."""

import pytest
import torch

from birdplane_keras.torch_plugin import cuda
from birdplane_keras.torch_plugin.errors import NotTraceableError


def record(function, state):
    """Records as a CUDA graph does: the outputs are made once, and every launch writes the same memory again."""
    outputs = function()

    def launch():
        for output, value in zip(outputs, function(), strict=True):
            if output is not None:
                output.copy_(value)

    return launch, outputs


def add_and_count(total):
    def replay(x):
        total.add_(x.sum())
        return x * 2, None, total.clone()

    return replay


def test_a_captured_replay_gives_what_the_replay_gives():
    total, expected = torch.zeros(()), torch.zeros(())
    captured = cuda.capture(add_and_count(total), [torch.ones(3)], [total], record)
    replay = add_and_count(expected)
    for step in range(3):
        x = torch.arange(3.0) + step
        for ours, theirs in zip(captured(x), replay(x), strict=True):
            assert (ours is None and theirs is None) or torch.equal(ours, theirs)
    assert torch.equal(total, expected)


def test_recording_leaves_state_and_random_numbers_as_they_were():
    total = torch.tensor(5.0)
    torch.manual_seed(0)
    before = torch.get_rng_state()

    def replay(x):
        total.add_(torch.rand(()))
        return (x + 1,)

    cuda.capture(replay, [torch.ones(2)], [total], record)
    assert total == 5.0
    assert torch.equal(torch.get_rng_state(), before)


def test_outputs_of_earlier_steps_are_not_written_again():
    captured = cuda.capture(lambda x: (x * 2,), [torch.ones(2)], [], record)
    (first,) = captured(torch.tensor([1.0, 2.0]))
    captured(torch.tensor([5.0, 5.0]))
    assert first.tolist() == [2.0, 4.0]


def test_inputs_are_copied_and_not_kept():
    captured = cuda.capture(lambda x: (x * 2,), [torch.ones(2)], [], record)
    x = torch.tensor([1.0, 2.0])
    captured(x)
    x.zero_()
    assert captured(torch.tensor([3.0, 3.0]))[0].tolist() == [6.0, 6.0]


def test_what_cannot_be_captured_is_refused_with_the_reason_and_leaves_no_trace():
    total = torch.zeros(())

    def replay(x):
        total.add_(1)
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    with pytest.raises(
        NotTraceableError, match=r"cannot be captured: operation not permitted when stream is capturing$"
    ):
        cuda.capture(replay, [torch.ones(1)], [total], record)
    assert total == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_graph_gives_what_the_replay_gives():
    total, expected = torch.zeros((), device="cuda"), torch.zeros((), device="cuda")
    captured = cuda.capture(add_and_count(total), [torch.ones(3, device="cuda")], [total])
    replay = add_and_count(expected)
    for step in range(3):
        x = torch.arange(3.0, device="cuda") + step
        assert torch.equal(captured(x)[0], replay(x)[0])
    assert torch.equal(total, expected)
