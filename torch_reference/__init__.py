"""The original: the airplane-versus-bird classifier in pure PyTorch.

Read `recipe`, `data`, `model`, `training` in that order. Nothing here knows that a Keras port exists.
"""
