"""Mistakes in operations that the judge has no name for: it has to find them in the programs, and to prove them."""

from collections.abc import Callable
from functools import partial

import keras
import torch
from keras import ops
from torch.nn import functional

from birdplane_keras.catalogue.middles import (
    CHANNELS,
    WIDTH,
    Function,
    attend,
    causal,
    enlarged,
    glu,
    halves,
    of_images,
    of_sequences,
    of_steps,
    padded,
    pooled,
    positions,
    rotated,
    running_sums,
    shuffled,
    stretched,
    whitened,
)
from birdplane_keras.catalogue.records import Fault, seeded
from birdplane_keras.parity import Pair

OPERATIONS, ADDED = "different_operation", "added_operation"
layers = keras.layers

# name: (pair, mistake, the port, the reference, features after it)
IMAGES: dict[str, tuple[str, Function, Function, int]] = {
    "corners_not_aligned": (
        "The port's interpolation does not align the corners.",
        enlarged("bilinear"), stretched("bilinear", align_corners=True), CHANNELS,
    ),
    "nearest_for_bilinear": (
        "The port enlarges by the nearest neighbour.", enlarged("nearest"), stretched("bilinear"), CHANNELS,
    ),
    "pooling_without_the_rest": (
        "The port's pooling leaves out the window at the border, the reference's takes it.",
        lambda x: ops.max_pool(x, 3, 2), partial(pooled, ceil_mode=True), CHANNELS,
    ),
    "pooling_of_another_stride": (
        "The port's window moves by one, the reference's by two.",
        lambda x: ops.max_pool(x, 3, 1), pooled, CHANNELS,
    ),
    "squares_not_averaged": (
        "The port averages the numbers, the reference their squares.",
        lambda x: ops.sin(ops.average_pool(x, 2, 2)), lambda x: (functional.lp_pool2d(x, 2, 2) / 2).sin(), CHANNELS,
    ),
    "channels_joined_the_other_way": (
        "The port joins two maps the other way round.",
        lambda x: ops.concatenate([ops.sin(x), ops.tanh(x)], -1), lambda x: torch.cat([x.tanh(), x.sin()], 1), 16,
    ),
    "channels_shuffled_in_other_groups": (
        "The port shuffles the channels in two groups, the reference in four.",
        lambda x: shuffled(x, 2), lambda x: functional.channel_shuffle(x, 4), CHANNELS,
    ),
    "channels_not_shuffled": (
        "The port does not shuffle the channels.",
        ops.tanh, lambda x: functional.channel_shuffle(x.tanh(), 2), CHANNELS,
    ),
    "norm_of_fewer_groups": (
        "The port normalises in two groups, the reference in four.",
        layers.GroupNormalization(2, epsilon=1e-5, center=False, scale=False),
        lambda x: functional.group_norm(x, 4), CHANNELS,
    ),
    "norm_over_the_channels": (
        "The port normalises over the channels, the reference over the places.",
        lambda x: ops.tanh(whitened(x, ops, -1)), lambda x: whitened(x, torch, (2, 3)).tanh(), CHANNELS,
    ),
    "pixels_shuffled_in_another_order": (
        "The port makes space of channels in the order of the other layout.",
        lambda x: ops.tanh(ops.reshape(
            ops.transpose(ops.reshape(x, (-1, 6, 6, 2, 2, 2)), (0, 1, 3, 2, 4, 5)), (-1, 12, 12, 2))),
        lambda x: functional.pixel_shuffle(x, 2).tanh(), 2,
    ),
    "zeros_for_reflection": (
        "The port pads with zeros, the reference by reflection.",
        lambda x: ops.max_pool(ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), 2, 2),
        lambda x: functional.max_pool2d(functional.pad(x, (1, 1, 1, 1), mode="reflect"), 2), CHANNELS,
    ),
    "activation_before_the_sum": (
        "The port applies the activation to the branch, the reference to the sum.",
        lambda x: x + ops.relu(ops.sin(x)), lambda x: (x + x.sin()).relu(), CHANNELS,
    ),
    "branch_left_out": (
        "The port leaves out a branch.", ops.sin, lambda x: x.sin() + x.tanh(), CHANNELS,
    ),
    "branch_scaled": (
        "The port scales a branch by another number.",
        lambda x: x + 0.1 * ops.sin(x), lambda x: x + 0.2 * x.sin(), CHANNELS,
    ),
    "branch_cut_off": (
        "The port stops the gradient of a branch.",
        lambda x: x + ops.stop_gradient(ops.sin(x)), lambda x: x + x.sin(), CHANNELS,
    ),
    "excited_by_the_largest": (
        "The port weighs the channels by their largest number, the reference by their mean.",
        lambda x: x * ops.sigmoid(ops.max(x, (1, 2), keepdims=True)),
        lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(), CHANNELS,
    ),
}  # fmt: skip
SEQUENCES: dict[str, tuple[str, Function, Function, int]] = {
    "causal_mask_missing": (
        "The port's attention sees the steps that come later.",
        lambda x: attend(x, ops), lambda x: attend(x, torch, mask=causal), WIDTH,
    ),
    "causal_mask_inverted": (
        "The port's attention sees only the steps that come later.",
        lambda x: attend(x, ops, mask=partial(causal, inverted=True)), lambda x: attend(x, torch, mask=causal), WIDTH,
    ),
    "causal_mask_one_late": (
        "The port's attention sees one step ahead.",
        lambda x: attend(x, ops, mask=partial(causal, offset=1)), lambda x: attend(x, torch, mask=causal), WIDTH,
    ),
    "mask_too_small": (
        "The port's mask is a number that softmax does not round to nothing.",
        lambda x: attend(x, ops, mask=partial(causal, value=-2.0)), lambda x: attend(x, torch, mask=causal), WIDTH,
    ),
    "padding_mask_missing": (
        "The port's attention sees the padding.",
        lambda x: attend(x, ops), lambda x: attend(x, torch, mask=padded), WIDTH,
    ),
    "softmax_over_the_queries": (
        "The port's softmax runs over the queries.",
        lambda x: ops.tanh(attend(x, ops, axis=1)), lambda x: attend(x, torch).tanh(), WIDTH,
    ),
    "scores_over_the_width": (
        "The port divides the scores by the width, the reference by its root.",
        lambda x: attend(x, ops, scale=1 / WIDTH), lambda x: attend(x, torch), WIDTH,
    ),
    "positions_from_one": (
        "The port counts the positions from one.",
        lambda x: ops.tanh(x + positions(ops, first=1)), lambda x: torch.tanh(x + positions(torch)), WIDTH,
    ),
    "positions_not_interleaved": (
        "The port puts all sines before the cosines.",
        lambda x: ops.tanh(x + positions(ops, interleaved=False)), lambda x: torch.tanh(x + positions(torch)), WIDTH,
    ),
    "positions_of_another_base": (
        "The port's positions have another base.",
        lambda x: ops.tanh(x + positions(ops, base=10.0)), lambda x: torch.tanh(x + positions(torch)), WIDTH,
    ),
    "rotation_the_other_way": (
        "The port turns the features the other way.",
        lambda x: ops.tanh(rotated(x, ops, -1.0)), lambda x: rotated(x, torch).tanh(), WIDTH,
    ),
    "root_mean_square_for_deviation": (
        "The port does not subtract the mean.",
        lambda x: x / ops.sqrt(ops.mean(x**2, -1, keepdims=True) + 1e-3), lambda x: whitened(x, torch, -1), WIDTH,
    ),
    "epsilon_outside_the_root": (
        "The port adds epsilon after the root.",
        lambda x: x / (ops.sqrt(ops.mean(x**2, -1, keepdims=True)) + 0.1),
        lambda x: x / (x.square().mean(-1, keepdim=True) + 0.1).sqrt(), WIDTH,
    ),
    "gates_and_values_exchanged": (
        "The port gates the second half of the features by the first.",
        lambda x: glu(ops.concatenate(halves(x)[::-1], -1), ops), lambda x: glu(x, torch), WIDTH // 2,
    ),
    "steps_moved_by_one": (
        "The port adds the step after, the reference the step before.",
        lambda x: ops.tanh(x) * ops.roll(x, -1, 1), lambda x: x.tanh() * x.roll(1, 1), WIDTH,
    ),
    "sums_without_the_step_itself": (
        "The port's sums leave out the step that they are of.",
        lambda x: running_sums(x, ops) - x, lambda x: running_sums(x, torch), WIDTH,
    ),
    "weights_of_attention_cut_off": (
        "The port stops the gradient of the weights of attention.",
        lambda x: ops.matmul(ops.stop_gradient(ops.softmax(ops.matmul(x, ops.swapaxes(x, 1, 2)))), x),
        lambda x: attend(x, torch, scale=1.0), WIDTH,
    ),
    "inputs_of_attention_exchanged": (
        "The port multiplies by the keys what the reference multiplies by the values.",
        lambda x: ops.matmul(ops.softmax(ops.matmul(x, ops.swapaxes(x, 1, 2))), ops.sin(x)),
        lambda x: attend(x, torch, scale=1.0), WIDTH,
    ),
}  # fmt: skip
TO_VECTORS: dict[str, tuple[str, Function, Function, int]] = {
    "mean_for_the_last_step": (
        "The port takes the mean over the steps, the reference the last.",
        lambda x: ops.mean(x, 1), lambda x: x[:, -1], WIDTH,
    ),
    "first_for_the_last_step": (
        "The port takes the first step.", lambda x: x[:, 0], lambda x: x[:, -1], WIDTH,
    ),
    "largest_for_the_mean": (
        "The port takes the largest number of the steps.", lambda x: ops.max(x, 1), lambda x: x.mean(1), WIDTH,
    ),
    "mean_over_the_padding": (
        "The port's mean counts steps that hold nothing.",
        lambda x: ops.mean(x, 1), lambda x: x[:, :4].mean(1), WIDTH,
    ),
    "sum_for_the_mean": (
        "The port sums over the steps.", lambda x: ops.sum(x, 1), lambda x: x.mean(1), WIDTH,
    ),
    "first_and_last_joined_the_other_way": (
        "The port joins the last step and the first the other way round.",
        lambda x: ops.concatenate([x[:, 0], x[:, -1]], -1), lambda x: torch.cat([x[:, -1], x[:, 0]], -1), 2 * WIDTH,
    ),
    "deviation_of_the_sample": (
        "The port divides by the number of steps, the reference by one less.",
        lambda x: ops.std(x, 1), lambda x: x.std(1), WIDTH,
    ),
}  # fmt: skip


def faults_of(table: dict[str, tuple[str, Function, Function, int]], pair: Callable[..., Pair]) -> list[Fault]:
    """Returns the faults of a table."""
    return [
        Fault(
            name=name,
            mistake=mistake,
            make=seeded(partial(pair, ours, theirs, width)),
            rung="gradients" if "cut_off" in name else "forward",
            cause=ADDED if name == "sums_without_the_step_itself" else OPERATIONS,
        )
        for name, (mistake, ours, theirs, width) in table.items()
    ]


FAULTS: tuple[Fault, ...] = (
    *faults_of(IMAGES, of_images),
    *faults_of(SEQUENCES, of_sequences),
    *faults_of(TO_VECTORS, of_steps),
)
