"""Tests of `birdplane_keras.torch_plugin`."""
