"""Ordinary networks, written by hand in PyTorch and with Keras' layers, for `scripts/benchmark.py --networks`."""

from birdplane_keras.benchmark.networks.images import LENET, MOBILENET, RESNET
from birdplane_keras.benchmark.networks.network import LAYOUTS, Network
from birdplane_keras.benchmark.networks.pixels import AUTOENCODER, UNET
from birdplane_keras.benchmark.networks.sequences import GPT, GRU, LSTM, TRANSFORMER
from birdplane_keras.benchmark.networks.vectors import MLP

__all__ = ["LAYOUTS", "NETWORKS", "Network"]

NETWORKS = {
    network.name: network for network in (LENET, MLP, RESNET, MOBILENET, UNET, AUTOENCODER, GRU, LSTM, TRANSFORMER, GPT)
}
