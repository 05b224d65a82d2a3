"""Parameter groups and clipping in Keras' optimizers, against PyTorch's."""

import keras
import numpy as np
import pytest
import torch
from torch import nn

from birdplane_keras import torch_equivalents
from birdplane_keras.torch_equivalents.form import clipping_scale

RATE, DECAY = 0.1, 0.2
KINDS = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"]


@pytest.fixture
def both(rng):
    """Two weights on either side, "body/kernel" and "head/kernel", and the gradients of ten steps."""
    start = [rng.normal(size=(4, 3)).astype(np.float32) for _ in range(2)]
    ours = []
    for name, value in zip(("body", "head"), start, strict=True):
        with keras.name_scope(name):
            ours.append(keras.Variable(value, name="kernel"))
    theirs = [nn.Parameter(torch.from_numpy(value.copy())) for value in start]
    gradients = [[torch.from_numpy(rng.normal(size=(4, 3)).astype(np.float32)) for _ in start] for _ in range(10)]
    return ours, theirs, gradients


def distance(optimizer, reference, both, clip=None):
    """Trains both sides; returns their largest difference."""
    ours, theirs, gradients = both
    for step in gradients:
        optimizer.apply([gradient.clone() for gradient in step], ours)
        for weight, gradient in zip(theirs, step, strict=True):
            weight.grad = gradient.clone()
        if clip is not None:
            clip(theirs)
        reference.step()
    return max(float(np.abs(a.numpy() - b.detach().numpy()).max()) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_group_has_its_own_rate_and_decay(kind, both):
    groups = [
        {"params": both[1][:1], "lr": RATE / 10, "weight_decay": 0.0},
        {"params": both[1][1:], "lr": RATE, "weight_decay": DECAY},
    ]
    body = {"body/": {"rate_factor": 0.1, "weight_decay": 0.0}}
    ours = getattr(torch_equivalents, kind)(RATE, weight_decay=DECAY, groups=body)
    assert distance(ours, getattr(torch.optim, kind)(groups), both) <= 1e-6


@pytest.mark.parametrize("groups", [None, {"body/": {"rate_factor": 0.1}}, {"body/": {"weight_decay": 0.0}}])
def test_without_the_group_the_weights_differ(groups, both):
    """The control of the test above."""
    theirs = [
        {"params": both[1][:1], "lr": RATE / 10, "weight_decay": 0.0},
        {"params": both[1][1:], "lr": RATE, "weight_decay": DECAY},
    ]
    ours = torch_equivalents.SGD(RATE, weight_decay=DECAY, groups=groups)
    assert distance(ours, torch.optim.SGD(theirs), both) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_excluded_from_the_decay_does_not_decay(kind, both):
    groups = [{"params": both[1][:1], "weight_decay": 0.0}, {"params": both[1][1:], "weight_decay": DECAY}]
    ours = getattr(torch_equivalents, kind)(RATE, weight_decay=DECAY)
    ours.exclude_from_weight_decay(var_list=both[0][:1])
    assert distance(ours, getattr(torch.optim, kind)(groups, lr=RATE), both) <= 1e-6


def by_the_norm(limit):
    return lambda weights: nn.utils.clip_grad_norm_(weights, limit)


def one_by_one(limit):
    return lambda weights: [nn.utils.clip_grad_norm_([weight], limit) for weight in weights]


def by_value(limit):
    return lambda weights: nn.utils.clip_grad_value_(weights, limit)


@pytest.mark.parametrize(
    ("argument", "clip"), [("global_clipnorm", by_the_norm), ("clipnorm", one_by_one), ("clipvalue", by_value)]
)
@pytest.mark.parametrize("limit", [1e-5, 0.5, 100.0])
def test_gradients_are_clipped_as_pytorch_clips_them(argument, clip, limit, both):
    ours = torch_equivalents.SGD(1.0, **{argument: limit})
    assert distance(ours, torch.optim.SGD(both[1], lr=1.0), both, clip(limit)) <= 1e-6


def test_keras_own_clipping_is_another_where_the_norm_is_small():
    """Ten times the limit, which is ten times the 1e-6 that PyTorch adds."""
    gradient = torch.full((4,), 5e-5)
    theirs = nn.Parameter(torch.zeros(4))
    theirs.grad = gradient.clone()
    nn.utils.clip_grad_norm_([theirs], 1e-5)
    (stock,) = keras.optimizers.SGD(global_clipnorm=1e-5)._clip_gradients([gradient.clone()])
    assert torch.equal(gradient * clipping_scale([gradient], 1e-5), theirs.grad)
    assert (stock / theirs.grad - 1).abs().max() > 1e-3


def test_a_setting_that_no_group_can_have_is_refused():
    with pytest.raises(ValueError, match="expected settings of a group among rate_factor, weight_decay"):
        torch_equivalents.SGD(groups={"body/": {"lr": 0.1}})


def test_groups_are_saved_with_the_optimizer():
    groups = {"body/": {"rate_factor": 0.1, "weight_decay": 0.0}}
    made = torch_equivalents.AdamW(RATE, groups=groups)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(made))
    assert type(again) is torch_equivalents.AdamW
    assert again.groups == groups
