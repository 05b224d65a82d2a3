"""Ports without a mistake, of many kinds of layers, losses, optimizers and schedules."""

from catalogue import clean_layers, clean_sequences, clean_training, clean_whole

CLEAN = (*clean_layers.CLEAN, *clean_sequences.CLEAN, *clean_training.CLEAN, *clean_whole.CLEAN)
