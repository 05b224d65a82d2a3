"""One trace serves all sizes of a batch where the step's code allows it, and is proved on each of them."""

import gc
from collections.abc import Callable

import keras
import numpy as np
import pytest
import torch
from keras import layers

from birdplane_keras import torch_plugin
from birdplane_keras.torch_plugin.errors import NotTraceableError
from birdplane_keras.torch_plugin.families import Families
from birdplane_keras.torch_plugin.sizes import Sizes
from plugin.networks import COLUMNS, draw, labels, network

Batches = list[tuple[np.ndarray, np.ndarray]]
LENGTHS = (5, 7, 4, 12, 3, 20)
# Before 3.15, Keras needs the number of a batch's rows as a number.
needs_free_rows = pytest.mark.skipif(keras.version() < "3.15", reason="Keras before 3.15 ties the rows")


def sequences(lengths=LENGTHS, rows: int = 8) -> Batches:
    return [(labels(30, rows * length).reshape(rows, length), labels(2, rows)) for length in lengths]


def rows(counts=(8, 6, 9, 5, 12)) -> Batches:
    return [(draw(count, COLUMNS, seed=count), labels(3, count)) for count in counts]


def images() -> Batches:
    return [(draw(4, height, width, 3), labels(2, 4)) for height, width in ((16, 16), (17, 20), (24, 18), (30, 31))]


def convolution(*more: layers.Layer) -> list[layers.Layer]:
    same = layers.Conv1D(8, 3, padding="same", activation="relu")
    return [
        keras.Input((None,)),
        layers.Embedding(30, 8),
        same,
        *more,
        layers.GlobalAveragePooling1D(),
        layers.Dense(2),
    ]


def attention() -> keras.Model:
    tokens = keras.Input((None,), dtype="int32")
    each = layers.Embedding(30, 8, mask_zero=True)(tokens)
    each = layers.MultiHeadAttention(2, 4, dropout=0.1)(each, each, use_causal_mask=True)
    return keras.Model(tokens, layers.Dense(2)(layers.GlobalAveragePooling1D()(layers.LayerNormalization()(each))))


def pictures() -> keras.Model:
    shrink = layers.Conv2D(8, 3, padding="same", strides=2)
    through = [layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(), shrink, layers.BatchNormalization()]
    return keras.Sequential([keras.Input((None, None, 3)), *through, layers.GlobalAveragePooling2D(), layers.Dense(2)])


def dense() -> keras.Model:
    hidden = [layers.Dense(16, activation="tanh"), layers.Dropout(0.2), layers.BatchNormalization()]
    return keras.Sequential([keras.Input((COLUMNS,)), *hidden, layers.GaussianNoise(0.1), layers.Dense(3)])


def trained(make: Callable[[], keras.Model], batches: Batches, **attached) -> tuple[list, keras.Model]:
    """Returns what is left of three rounds over the batches, and the model; attached where an engine is given."""
    keras.utils.set_random_seed(3)
    model = make()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9), loss=loss, metrics=["accuracy"])
    if attached:
        torch_plugin.attach(model, **attached)
    keras.utils.set_random_seed(4)
    left = [model.train_on_batch(*batch) for _ in range(3) for batch in batches]
    left += [model.test_on_batch(*batch) for batch in batches]
    left += [model.predict_on_batch(batch[0]) for batch in batches]
    return [*left, *model.get_weights()], model


def assert_equals_stock(make: Callable[[], keras.Model], batches: Batches, engine: str = "exact") -> list:
    """Trains stock and attached; returns the entries of the training steps."""
    expected, _ = trained(make, batches)
    found, model = trained(make, batches, engine=engine)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    return [entry for entry in torch_plugin.traces(model) if entry.kind == "train"]


def count(entries: list) -> int:
    return len({id(entry.step) for entry in entries if entry.step is not None})


@pytest.mark.parametrize("engine", ["exact", pytest.param("fused", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("make", "batches", "traces"),
    [
        (lambda: keras.Sequential(convolution()), sequences(), 2),
        pytest.param(attention, sequences(), 2, marks=pytest.mark.slow),
        pytest.param(dense, rows(), 3, marks=[needs_free_rows, pytest.mark.slow]),
        pytest.param(pictures, images(), 4, marks=pytest.mark.slow),
    ],
    ids=["convolution", "attention", "rows", "images"],
)
def test_sizes_share_a_trace_and_equal_stock(make, batches, traces, engine):
    entries = assert_equals_stock(make, batches, engine)
    assert len(entries) == len(batches)
    assert count(entries) <= traces
    assert all(entry.step is not None for entry in entries), [entry.reason for entry in entries]


@pytest.mark.slow
def test_what_the_garbage_collector_calls_is_no_part_of_a_step():
    """Hypothesis, say, leaves a function of its own there; it runs more or less often from one run to the next."""

    def called(phase, info):
        seen.append(phase)

    seen: list[str] = []
    threshold = gc.get_threshold()
    gc.callbacks.append(called)
    gc.set_threshold(50)
    try:
        entries = assert_equals_stock(lambda: keras.Sequential(convolution()), sequences(LENGTHS[:4]))
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(called)
    assert seen
    assert count(entries) == 2


def test_an_epochs_last_batch_has_a_trace_of_its_own():
    entries = assert_equals_stock(dense, rows((8, 8, 3)))
    assert [bool(entry.free) for entry in entries] == [False, False]


@pytest.mark.slow
def test_explain_tells_which_sizes_are_free_and_how_many_were_served():
    _, model = trained(lambda: keras.Sequential(convolution()), sequences(), engine="exact")
    explained = torch_plugin.explain(model)
    assert "train, (8, 7) int64, (8,) int64 and 4 other sizes: exact, 15 steps, 4 of them audited" in explained
    assert "sizes: one trace serves any size of axis 1 of tensor 0" in explained


class Branch(layers.Layer):
    """Scales long sequences by a number of its own."""

    scale = 1.0

    def call(self, x):
        return x * self.scale if x.shape[1] > 6 else x


@pytest.mark.slow
def test_a_condition_on_a_size_parts_the_traces():
    """A state that is read only beyond the condition is guarded there."""

    def change_on_the_way(make_step) -> list:
        keras.utils.set_random_seed(3)
        branch = Branch()
        model = keras.Sequential(convolution(branch))
        model.compile(optimizer="sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        make_step(model)
        left = []
        for scale in (1.0, 3.0):
            branch.scale = scale
            left += [model.train_on_batch(*batch) for batch in sequences((4, 3, 5, 6, 7, 9, 12))]
        return left

    found = change_on_the_way(lambda model: torch_plugin.attach(model, audit="never"))
    assert found == pytest.approx(change_on_the_way(lambda model: None), rel=1e-5)


class Table(layers.Layer):
    """Takes a number from a list by what is left of the length."""

    def call(self, x):
        return x * [1.0, 2.0, 3.0][x.shape[1] % 3]


@pytest.mark.slow
def test_an_index_is_a_condition():
    entries = assert_equals_stock(lambda: keras.Sequential(convolution(Table())), sequences((5, 7, 4, 8, 10)))
    _, of_7, of_4, of_8, of_10 = [entry.step for entry in entries]
    assert of_7 is of_4 is of_10
    assert of_8 is not of_7


@pytest.mark.slow
def test_a_trace_that_is_wrong_for_a_size_is_not_used_for_it(monkeypatch):
    """Negative control: without the conditions, the proof on each size finds what they are for."""
    monkeypatch.setattr(Sizes, "fit", lambda self, leaves: True)
    monkeypatch.setattr(Branch, "scale", 2.0)
    apart = []
    set_apart = Families.set_apart
    monkeypatch.setattr(Families, "set_apart", lambda self, key: apart.append(key) or set_apart(self, key))
    assert_equals_stock(lambda: keras.Sequential(convolution(Branch())), sequences((4, 3, 5, 9, 12)))
    assert apart


@pytest.mark.slow
def test_without_its_proof_a_wrong_trace_is_seen(monkeypatch):
    """The test above can fail."""
    monkeypatch.setattr(Sizes, "fit", lambda self, leaves: True)
    monkeypatch.setattr(Branch, "scale", 2.0)
    run_only = "birdplane_keras.torch_plugin.attachment.proved"
    monkeypatch.setattr(run_only, lambda step, entry, stock, data, leaves: step.run(data, leaves))
    with pytest.raises(AssertionError):
        assert_equals_stock(lambda: keras.Sequential(convolution(Branch())), sequences((4, 3, 5, 9, 12)))


@pytest.mark.slow
@needs_free_rows
def test_one_row_is_no_size_like_others():
    entries = assert_equals_stock(dense, rows((8, 1, 6, 5, 9)))
    assert all(not entry.free for entry in entries if entry.sizes[0][0] == 1)
    assert count(entries) <= 4


def test_a_batch_of_one_row_cannot_be_free():
    with pytest.raises(NotTraceableError, match="a size that varies is smaller than 2"):
        Sizes([torch.zeros(1, 3)], {(0, 0)})


class ByRows(layers.Layer):
    def call(self, x):
        return keras.ops.maximum(x, 0.0) if x.shape[0] > 4 else x


class ByType(layers.Layer):
    def call(self, x):
        length = x.shape[1]
        return keras.ops.maximum(x, 0.0) if isinstance(length, int) and length > 7 else x


class ByName(layers.Layer):
    def call(self, x):
        return x * getattr(self, f"of_{x.shape[1]}", 1.0)


class Remembers(layers.Layer):
    def call(self, x):
        self.length = x.shape[1]
        return x


def predictions(layer: layers.Layer, batches: list[np.ndarray], between: Callable, attached: bool) -> tuple[list, str]:
    """Returns what a model predicts, and what the layer remembers after each; what `explain` says."""
    model = keras.Sequential([keras.Input((None, 3)), layer])
    if attached:
        torch_plugin.attach(model)
    found = []
    for number, batch in enumerate(batches):
        if number == len(batches) // 2:
            between(layer)
        found.append((model.predict_on_batch(batch), getattr(layer, "length", None)))
    return found, torch_plugin.explain(model) if attached else ""


@pytest.mark.parametrize(
    ("kind", "sizes", "between", "words"),
    [
        (ByRows, [(4, 5), (4, 6), (4, 7), (6, 5), (6, 5), (6, 5)], lambda layer: None, ""),
        (ByType, [(4, 5), (4, 6), (4, 7), (4, 9), (4, 9), (4, 9)], lambda layer: None, "`ByType.call` runs otherwise"),
        (ByName, [(4, 5), (4, 6), (4, 9)] * 2, lambda layer: setattr(layer, "of_9", 5.0), "it reads a size as text"),
        (Remembers, [(4, 5), (4, 6), (4, 7), (4, 8)] * 2, lambda layer: None, "Python state"),
    ],
)
@pytest.mark.filterwarnings("ignore::birdplane_keras.torch_plugin.TorchPluginWarning")
def test_what_no_condition_notes_is_seen(kind, sizes, between, words):
    """The first batch of each size has no negative numbers, so that the proof on it cannot see a ReLU."""
    seen: set = set()
    batches = []
    for size in sizes:
        batch = draw(*size, 3, seed=len(batches))
        batches.append(batch if size in seen else np.abs(batch))
        seen.add(size)
    expected, _ = predictions(kind(), batches, between, attached=False)
    found, explained = predictions(kind(), batches, between, attached=True)
    assert words in explained
    for (ours, length), (theirs, stocks_length) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert length == stocks_length


def test_predictions_of_many_sizes_share_a_trace():
    model = torch_plugin.attach(network())
    stock = keras.models.clone_model(model)
    stock.set_weights(model.get_weights())
    for size in range(2, 40):
        np.testing.assert_allclose(
            model.predict_on_batch(draw(size, COLUMNS)), stock.predict_on_batch(draw(size, COLUMNS)), atol=1e-6
        )
    entries = list(torch_plugin.traces(model))
    assert len(entries) == 38
    assert count(entries) <= 4
