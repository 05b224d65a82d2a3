"""What `explain` returns: text as any other, which a notebook shows as HTML and can draw."""

import copy
import pickle

import keras
import numpy as np
import pytest

from birdplane_keras import torch_plugin
from birdplane_keras.errors import RequestError
from plugin.networks import COLUMNS, draw


@pytest.fixture(scope="module")
def explained():
    """Of a model whose every step is audited."""
    model = keras.Sequential([keras.Input((COLUMNS,)), keras.layers.Dense(3)], name="small")
    model.compile(optimizer="sgd", loss="mse")
    torch_plugin.attach(model, audit="step", strict=True)
    for _ in range(3):
        model.train_on_batch(draw(8, COLUMNS), draw(8, 3))
    return torch_plugin.explain(model)


def test_an_explanation_is_its_text(explained):
    text = str(explained)
    assert type(text) is str
    assert explained == text
    assert hash(explained) == hash(text)
    assert text.startswith("small is attached, engine exact.\n")
    assert f"{explained}" == text


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_copy_of_an_explanation_draws_the_same(explained, again):
    other = again(explained)
    assert other == explained
    assert (other.model, other.timings) == (explained.model, explained.timings)


def test_what_audits_timed_is_drawn_and_shown(explained):
    (timing,) = explained.timings
    assert (timing.kind, timing.engine) == ("train", "exact")
    told = f"a stock step took {1e3 * timing.stock_seconds:.1f} ms, a traced one {1e3 * timing.traced_seconds:.1f} ms"
    assert told in explained
    assert told in explained._repr_html_()
    bars = explained.plot().axes[0].patches
    assert np.allclose([bar.get_width() for bar in bars], [1e3 * timing.stock_seconds, 1e3 * timing.traced_seconds])


def test_a_model_that_is_not_attached_has_text_and_no_picture():
    explained = torch_plugin.explain(keras.Sequential(name="loose"))
    assert explained == "loose is not attached: every step runs on Keras' stock path."
    assert explained in explained._repr_html_().replace("&#39;", "'")
    with pytest.raises(RequestError, match="audit='epoch'"):
        explained.plot()
