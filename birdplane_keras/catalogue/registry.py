"""All planted mistakes, in the order of the rungs' ideas, and all clean pairs."""

from birdplane_keras.catalogue import (
    clean_layers,
    clean_sequences,
    clean_training,
    clean_whole,
    faults_data,
    faults_layers,
    faults_loss,
    faults_normalisation,
    faults_objectives,
    faults_operations,
    faults_optimizer,
    faults_sequences,
    faults_structure,
    faults_training,
    faults_weights,
    faults_whole,
)
from birdplane_keras.catalogue.records import Fault

FAULTS: tuple[Fault, ...] = (
    *faults_data.FAULTS,
    *faults_structure.FAULTS,
    *faults_weights.FAULTS,
    *faults_layers.FAULTS,
    *faults_normalisation.FAULTS,
    *faults_sequences.FAULTS,
    *faults_loss.FAULTS,
    *faults_optimizer.FAULTS,
    *faults_training.FAULTS,
    *faults_whole.FAULTS,
    *faults_operations.FAULTS,
    *faults_objectives.FAULTS,
)
CLEAN = (*clean_layers.CLEAN, *clean_sequences.CLEAN, *clean_training.CLEAN, *clean_whole.CLEAN)
