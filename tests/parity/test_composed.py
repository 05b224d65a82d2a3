"""What one side makes in one call is held against what the other makes in several: PyTorch composes it itself."""

import pytest
import torch
from keras import layers, ops
from torch.nn import functional

from birdplane_keras.catalogue.networks import CLASSES, FEATURES, STEPS, dense, sequence_pair, stack
from birdplane_keras.parity.programs.alignment import Known
from birdplane_keras.parity.programs.composed import composing, is_fused
from birdplane_keras.parity.programs.recording import Recording
from parity.judging import judged
from parity.middles import WIDTH, between


def norm_in_steps(x):
    mean = ops.mean(x, -1, keepdims=True)
    spread = ops.mean(ops.square(x - mean), -1, keepdims=True)
    return (x - mean) / ops.sqrt(spread + 1e-2)


def gelu_in_steps(x):
    cube = x + 0.044715 * x * x * x
    return 0.5 * x * (1 + ops.tanh(0.8 * cube))


def attention_in_steps(x):
    steps = ops.reshape(x, (-1, 8, 2))
    scores = ops.matmul(steps, ops.transpose(steps, (0, 2, 1)))
    return ops.reshape(ops.matmul(ops.softmax(scores, -1), steps), (-1, WIDTH))


def attention_in_one(x):
    steps = x.view(-1, 1, 8, 2)
    return functional.scaled_dot_product_attention(steps, steps, steps).reshape(-1, WIDTH)


FUSED = {  # the port, the reference, what is told of either
    "a normalisation's epsilon": (
        norm_in_steps,
        lambda x: functional.layer_norm(x, (WIDTH,)),
        "add(mean, other=0.01)",
        "add(var, other=1e-05)",
    ),
    "a constant of an activation": (
        gelu_in_steps,
        lambda x: functional.gelu(x, approximate="tanh"),
        "other=0.8)",
        "other=0.797885)",
    ),
    "the scale of an attention": (attention_in_steps, attention_in_one, "bmm(add, add)", "other=0.840896)"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if n else []) for n, name in enumerate(FUSED)]
)
def test_a_mistake_within_a_fused_operation_is_told_within_it(name):
    ours, theirs, told, meant = FUSED[name]
    found = judged(between(ours, theirs)).diagnosis
    assert all(finding.proved for finding in found)
    assert any(told in line for finding in found for line in finding.parting["port"]), [f.parting for f in found]
    lines = [line for finding in found for line in finding.parting["reference"] if meant in line]
    assert lines, [finding.parting for finding in found]
    assert all("at test_composed.py:" in line for line in lines)


@pytest.mark.slow
def test_the_gates_of_a_recurrent_layer_are_told_though_the_reference_makes_it_in_one_call():
    cell = layers.LSTM(12, recurrent_activation="hard_sigmoid", unit_forget_bias=False)
    model = stack((STEPS, FEATURES), [cell, dense(12, CLASSES)])
    (finding,) = judged(sequence_pair(0, model=model)).diagnosis
    assert finding.cause == "activation"
    assert "hardsigmoid(" in finding.parting["port"][0]
    assert "sigmoid_(" in finding.parting["reference"][0]


def recorded(work, *composed):
    with Recording({}, composed=composed) as recording, composing(composed):
        made = work()
    return made, recording.program()


def test_the_parts_of_an_operation_compute_what_it_does():
    x = torch.randn(4, 6, requires_grad=True)
    norm = torch.ops.aten.native_layer_norm.default
    assert is_fused(norm)
    _, one = recorded(lambda: functional.layer_norm(x, (6,)))
    made, several = recorded(lambda: functional.layer_norm(x, (6,)), norm)
    assert [operation.name for operation in one] == ["native_layer_norm"] * 3
    names = [operation.name for operation in several]
    assert "rsqrt" in names
    assert "native_layer_norm" not in names
    assert Known.of(several.values()).holds(one[0].value)
    made.sum().backward()  # by the gradient of the operation itself
    assert x.grad is not None


def test_what_follows_takes_the_last_part():
    x = torch.randn(4, 6, requires_grad=True)
    norm = torch.ops.aten.native_layer_norm.default
    _, program = recorded(lambda: functional.layer_norm(x, (6,)).sin(), norm)
    (sine,) = [operation for operation in program if operation.name == "sin"]
    assert sine.sources[0].made is not None
    assert not any(operation.cuts for operation in program)


def test_a_library_is_on_again_after_a_failure():
    layer = torch.ops.aten.mkldnn_rnn_layer.default
    enabled = torch.backends.mkldnn.enabled

    def fail():
        assert not torch.backends.mkldnn.enabled
        raise OSError("as asked for")

    with pytest.raises(OSError, match="as asked for"), composing([layer]):
        fail()
    assert torch.backends.mkldnn.enabled == enabled


def test_parts_that_cannot_be_made_cost_no_proof(monkeypatch):
    def broken(*_):
        raise TypeError("no parts")

    monkeypatch.setattr("birdplane_keras.parity.programs.recording.compose", broken)
    result = judged(between(norm_in_steps, lambda x: functional.layer_norm(x, (WIDTH,))))
    (finding,) = result.diagnosis
    assert finding.proved
    assert any(note.startswith("the parts of a fused operation could not be seen: ") for note in result.notes)


def test_what_is_no_name_for_several_stays_as_it_is():
    """Control: a convolution has no parts."""
    convolution = torch.ops.aten.convolution.default
    assert not is_fused(convolution)
    x, kernel = torch.randn(1, 2, 5, 5), torch.randn(3, 2, 3, 3)
    _, found = recorded(lambda: functional.conv2d(x, kernel), convolution)
    assert [operation.name for operation in found] == ["convolution"]
