"""Ordinary networks end in the bits of the same networks in PyTorch, where both optimizers have one form."""

import keras
import pytest
import torch
from torch import nn

from birdplane_keras import torch_equivalents, torch_plugin
from birdplane_keras.benchmark.networks import NETWORKS
from birdplane_keras.parity import keras_to_torch, torch_to_keras

STEPS = 12
DEEP = ("resnet20", "mobilenet", "unet")  # of which a step takes longer
OPTIMIZERS = {
    "sgd": (
        lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
        lambda: torch_equivalents.SGD(0.05, momentum=0.9),
    ),
    "adam": (lambda parameters: torch.optim.Adam(parameters, lr=1e-3), lambda: torch_equivalents.Adam(1e-3)),
}
IN_BITS = [
    ("lenet", "channels_first"),
    ("resnet20", "channels_last"),
    ("mobilenet", "channels_last"),
    ("unet", "channels_last"),
    ("autoencoder", "channels_last"),
    ("lstm", "channels_last"),
    ("gru", "channels_last"),
]


def difference(name: str, layout: str, optimizer: str, engine: str | None, steps: int) -> int:
    """Trains both sides; returns how many numbers of losses and weights differ in any bit."""
    network = NETWORKS[name]
    torch.manual_seed(0)
    module, model = network.module().train(), network.model(layout)
    if name == "lstm":
        nn.init.zeros_(module.recurrent.bias_hh_l0)
        module.recurrent.bias_hh_l0.requires_grad_(False)
    torch_to_keras(module, model)
    build, build_in_keras = OPTIMIZERS[optimizer]
    by_hand = build([parameter for parameter in module.parameters() if parameter.requires_grad])
    model.compile(build_in_keras(), network.keras_loss())
    if engine is not None:
        torch_plugin.attach(model, engine, strict=True, audit="never")  # each bit is looked at here
    differing = 0
    for step in range(steps):
        x, y = network.draw(network.batch_size, step)
        loss = network.torch_loss(module(torch.from_numpy(x)), torch.from_numpy(y))
        by_hand.zero_grad()
        loss.backward()
        by_hand.step()
        images = [network.as_laid_out(each, layout) for each in (x, y)]
        differing += float(model.train_on_batch(*images)) != float(loss.detach())
        model.reset_metrics()
    theirs = {key: value.clone() for key, value in module.named_parameters()}
    keras_to_torch(model, module)
    return differing + sum(int((value != theirs[key]).sum()) for key, value in module.named_parameters())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("name", "layout"), [each for each in IN_BITS if each[0] == "lenet"])
def test_a_network_ends_in_pytorchs_bits(name, layout, optimizer):
    assert difference(name, layout, optimizer, "exact", STEPS) == 0


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("name", "layout"), IN_BITS)
@pytest.mark.parametrize(
    ("steps", "of_deep"), [pytest.param(60, 12, marks=pytest.mark.slow), pytest.param(300, 60, marks=pytest.mark.long)]
)
def test_a_network_ends_in_pytorchs_bits_after_many_steps(name, layout, optimizer, steps, of_deep):
    assert difference(name, layout, optimizer, "exact", of_deep if name in DEEP else steps) == 0


@pytest.mark.parametrize("name", ["lenet", pytest.param("lstm", marks=pytest.mark.slow)])
def test_stock_keras_does_not(name):
    """Control: the bits are the plugin's."""
    assert difference(name, "channels_first", "adam", None, STEPS) > 0


@pytest.mark.slow
def test_keras_order_of_a_flattened_image_rounds_otherwise():
    """What the README's table says of channels last."""
    assert keras.backend.image_data_format() == "channels_last"
    assert difference("lenet", "channels_last", "sgd", "exact", 20) > 0
