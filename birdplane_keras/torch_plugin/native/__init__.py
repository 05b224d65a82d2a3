"""PyTorch's own operations in the place of what Keras composes: a file for each family of layers.

A form stands in for one function of Keras while a step is traced. It says by its return value whether the settings at
hand have a form in PyTorch; where not, Keras' function runs. What was traced so is held against the untouched trace.
"""
