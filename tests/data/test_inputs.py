"""Both programs are fed the same bytes in the same order."""

import keras
import numpy as np
import pytest
import torch

from birdplane_keras.data.batches import EpochBatches
from birdplane_keras.data.inputs import MEAN, batch_order, epoch_shifts, normalize, shift_pixels
from torch_reference.data import EpochOrder, ShiftedExamples, build_train_loader, shift_images
from torch_reference.recipe import PRESETS


def test_both_programs_normalise_every_image_to_the_same_bytes(port_data, reference_data):
    for (x, y), examples in zip(port_data, reference_data, strict=True):
        stacked = torch.stack([image.view(-1) for image, _ in examples]).numpy()
        assert x.dtype == stacked.dtype == np.float32
        assert x.tobytes() == stacked.tobytes()
        assert y.tolist() == [label for _, label in examples]


def test_the_channel_comes_first(rng):
    images = np.zeros((1, 32, 32, 3), np.uint8)
    images[0, 0, 1, 2] = 255  # row 0, column 1, blue
    row = normalize(images)[0]
    assert np.flatnonzero(row > row.min() + 2).tolist() == [2 * 1024 + 1]
    assert row[0] == (np.float32(0) - MEAN[0]) / np.float32(0.2470)


def test_the_order_is_a_function_of_seed_and_epoch_that_both_programs_share():
    order = EpochOrder(10_000, seed=3)
    for epoch in (0, 1, 99):
        order.set_epoch(epoch)
        ours = batch_order(10_000, seed=3, epoch=epoch)
        assert list(order) == ours.tolist()
        assert sorted(ours) == list(range(10_000))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {batch_order(100, seed=seed, epoch=epoch).tobytes() for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


@pytest.mark.parametrize("size", [128, 130, 1])
def test_the_last_partial_batch_is_kept(size):
    rows = np.arange(size)
    batches = EpochBatches(rows, rows, batch_size=64, seed=0)
    drawn = [batches[step][0] for step in range(len(batches))]
    loader = build_train_loader(range(size), PRESETS["narrow"])
    assert [batch.tolist() for batch in drawn] == [batch.tolist() for batch in loader]
    assert sorted(np.concatenate(drawn)) == list(range(size))


def test_fit_draws_the_batches_of_every_epoch_in_order():
    """What Keras really hands to the model, which is not what a `PyDataset` alone would decide."""
    rows = np.arange(10, dtype=np.float32)[:, None]
    drawn = []

    class Spy(keras.layers.Layer):
        def call(self, x):
            drawn.append(keras.ops.convert_to_numpy(x)[:, 0].astype(int).tolist())
            return x

    model = keras.Sequential([Spy(), keras.layers.Dense(1)])
    model(rows[:1])
    model.compile("sgd", "mse", run_eagerly=True)
    batches = EpochBatches(rows, rows, batch_size=4, seed=5)
    forget = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: drawn.clear())  # Keras built itself with ones
    model.fit(batches, epochs=3, shuffle=False, verbose=0, callbacks=[batches.follow_epochs(), forget])
    orders = [batch_order(10, seed=5, epoch=epoch).tolist() for epoch in range(3)]
    assert drawn == [order[start : start + 4] for order in orders for start in (0, 4, 8)]


def shift_by_numpy(image, down, right):
    """The same written a third time, by padding and cutting: (3, 32, 32)."""
    padded = np.pad(image, ((0, 0), (31, 31), (31, 31)), mode="reflect")
    return padded[:, 31 - down : 63 - down, 31 - right : 63 - right]


@pytest.mark.parametrize(("down", "right"), [(0, 0), (4, -4), (-1, 3), (30, -25), (-31, 19), (8, 0)])
def test_both_programs_shift_an_image_alike_to_the_bit(rng, down, right):
    image = rng.normal(size=(3, 32, 32)).astype(np.float32)
    expected = shift_by_numpy(image, down, right)
    theirs = shift_images(torch.from_numpy(image), down, right).numpy()
    ours = shift_pixels(torch.from_numpy(image.reshape(1, -1)), torch.tensor([[down, right]])).numpy()
    assert theirs.tobytes() == ours.tobytes() == expected.tobytes()
    moved = (down, right) != (0, 0)
    assert (theirs.tobytes() != image.tobytes()) == moved
    other = shift_pixels(torch.from_numpy(image.reshape(1, -1)), torch.tensor([[right, down]])).numpy()
    assert (other.tobytes() != theirs.tobytes()) == moved  # control: which way is down matters


def test_a_shift_moves_a_pixel_down_and_to_the_right():
    image = torch.zeros(3, 32, 32)
    image[1, 10, 20] = 1
    assert shift_images(image, 2, -3).nonzero().tolist() == [[1, 12, 17]]


def test_both_programs_draw_the_shifts_of_every_epoch_alike(port_data, reference_data):
    few = 300
    x, y = (torch.from_numpy(values[:few]) for values in port_data[0])
    batches = EpochBatches(x, y, batch_size=64, seed=7, largest_shift=4)
    examples = ShiftedExamples(reference_data[0][:few], seed=7, largest_shift=4)
    shown = []
    for epoch in (0, 1, 50):
        batches.set_epoch(epoch)
        examples.set_epoch(epoch)
        theirs = torch.stack([image.reshape(-1) for image, _ in (examples[row] for row in range(few))])
        assert batches.inputs(torch.arange(few)).numpy().tobytes() == theirs.numpy().tobytes()
        shown.append(theirs.numpy().tobytes())
    assert len(set(shown)) == 3  # each epoch has shifts of its own
    batches.seed = 8
    batches.set_epoch(50)
    assert batches.inputs(torch.arange(few)).numpy().tobytes() != shown[-1]


def test_shifts_reach_every_value_and_no_further():
    drawn = epoch_shifts(10_000, seed=0, epoch=3, largest=4)
    assert drawn.shape == (10_000, 2)
    assert sorted(set(drawn.ravel().tolist())) == list(range(-4, 5))


def test_without_a_shuffle_the_batches_are_in_file_order_on_both_sides():
    rows = np.arange(10)
    batches = EpochBatches(rows, rows, batch_size=1, seed=3, shuffle=False)
    loader = build_train_loader(range(10), PRESETS["per-sample"])
    for epoch in range(2):
        batches.set_epoch(epoch)
        loader.set_epoch(epoch)
        ours = [batches[step][0].tolist() for step in range(len(batches))]
        assert ours == [batch.tolist() for batch in loader] == [[row] for row in range(10)]
