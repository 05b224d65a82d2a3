"""All methods, from the most used to the most thorough. To add one, write its file and its line here."""

from birdplane_keras.peers import algoperf, forward, hooks, keras_numerical, lightning, polygraphy, reprod_log
from birdplane_keras.peers.method import Method

METHODS: tuple[Method, ...] = (
    *forward.METHODS,
    *hooks.METHODS,
    *polygraphy.METHODS,
    *reprod_log.METHODS,
    *keras_numerical.METHODS,
    *lightning.METHODS,
    *algoperf.METHODS,
)
