"""All places: importing the modules that register them is what makes the table whole."""

from birdplane_keras.hunt import arrivals, containers, corners, libraries, places

PLACES = places.PLACES
__all__ = ["PLACES", "arrivals", "containers", "corners", "libraries"]
