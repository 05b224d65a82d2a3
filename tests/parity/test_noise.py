"""How the noise of the reference is measured: nudges of one ULP, and the distances that they make."""

import numpy as np
import pytest
import torch

from birdplane_keras.parity.core.compare import BLOCK
from birdplane_keras.parity.core.first_steps import compare_within
from birdplane_keras.parity.core.noise import largest_difference, measure_noise, widen_noise
from birdplane_keras.parity.core.records import Probe, Reading, Role
from birdplane_keras.parity.sides.nudging import Nudge, RoundOtherwise, lay_out_otherwise


def probe(values):
    return Probe.of([reading(np.array(values, np.float32))])


def reading(value):
    return Reading("forward", "outputs", value, Role.OUTPUT)


def test_noise_is_the_largest_distance_of_any_draw_and_at_least_one_part_in_2_23():
    reference = probe([1.0, -2.0])
    assert measure_noise(reference, [])["forward"]["outputs"] == pytest.approx(2 * 2**-23)
    drawn = np.float64([1.0, -2.0 + 1e-5]), np.float32([1.0 + 3e-5, -2.0]), np.float32([1.0, -2.0])
    noise = measure_noise(reference, map(reading, drawn))
    assert noise["forward"]["outputs"] == pytest.approx(3e-5, rel=0.01)


def test_a_tensor_that_is_zero_may_be_zero_of_either_sign_and_nothing_else():
    noise = measure_noise(probe([0.0]), [reading(np.float32([0.0]))])["forward"]
    assert compare_within("forward", {"outputs": np.float32([-0.0])}, {"outputs": np.float32([0])}, noise).passed
    assert not compare_within("forward", {"outputs": np.float32([1e-30])}, {"outputs": np.float32([0])}, noise).passed


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_a_nudge_moves_every_number_by_one_ulp_and_zero_not_at_all(dtype):
    numbers = torch.randn(50, 40, generator=torch.Generator().manual_seed(0)).to(dtype)
    numbers[0, :3] = torch.tensor([0.0, -0.0, 1e-3])
    nudge = Nudge(3, 100)  # smaller than the tensor: the directions are used again
    moved = nudge(numbers.T).T
    above, below = (torch.nextafter(numbers, torch.full_like(numbers, towards)) for towards in (torch.inf, -torch.inf))
    still = numbers == 0
    assert int(still.sum()) == 2
    assert (moved[still] == 0).all()
    assert ((moved == above) | (moved == below) | still).all()
    assert 0.4 < float((moved == above).float().mean()) < 0.6
    assert not torch.equal(nudge(numbers), nudge(numbers))  # each use draws again
    assert torch.equal(Nudge(5, 100)(numbers), Nudge(5, 100)(numbers))


def test_the_largest_difference_is_found_in_any_block_and_is_nan_where_a_number_is():
    ours = np.zeros(2 * BLOCK + 3, np.float32)
    theirs = ours.copy()
    assert largest_difference(ours, theirs) == 0
    theirs[-1] = -0.5
    theirs[3] = 0.25
    assert largest_difference(ours, theirs) == 0.5
    theirs[BLOCK] = np.nan
    assert np.isnan(largest_difference(ours, theirs))
    assert largest_difference(np.float32(1), np.float32(3)) == 2
    assert largest_difference(np.empty(0), np.empty(0)) == 0


def test_operations_round_otherwise_within_the_mode_and_what_only_moves_numbers_does_not():
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    with RoundOtherwise(Nudge(0, x.numel())):
        product, turned, cut, joined = x @ x, x.T, torch.relu(x), torch.cat([x, x])
        halves, counted = x.half() * 2, torch.arange(3) + 1
    exact = x @ x
    assert (product != exact).all()
    assert torch.equal(torch.nextafter(product, exact), exact)
    assert torch.equal(turned, x.T)
    assert torch.equal(cut, torch.relu(x))
    assert torch.equal(joined, torch.cat([x, x]))
    assert torch.equal(halves, x.half() * 2)  # rounds coarsely: a mistake of precision must not pass for noise
    assert torch.equal(counted, torch.arange(3) + 1)


@pytest.mark.parametrize(
    "pick", [torch.amax, lambda x, axis: x.max(axis).values, lambda x, axis: x.median(axis).values, torch.aminmax]
)
def test_what_picks_numbers_picks_the_same_ones_and_has_gradients(pick):
    x = torch.randn(16, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    with RoundOtherwise(Nudge(0, x.numel())):
        picked = pick(x, dim=1).max if pick is torch.aminmax else pick(x, 1)
        picked.sum().backward()
    assert torch.isin(picked, x).all()
    assert float(x.grad.sum()) == pytest.approx(16)


def test_the_gradients_of_a_step_round_otherwise_too():
    layer, x = torch.nn.Linear(8, 4), torch.randn(5, 8)

    def gradient():
        layer.zero_grad()
        layer(x).pow(2).sum().backward()
        return layer.weight.grad.clone()

    exact = gradient()
    with RoundOtherwise(Nudge(0, 64)):
        moved = gradient()
    assert not torch.equal(moved, exact)
    assert (moved - exact).abs().max() <= 1e-6 * exact.abs().max()


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 3, 5), (2, 3, 5, 4), (2, 3, 2, 3, 2)], ids=str)
def test_another_layout_holds_the_same_values(shape):
    tensor = torch.randn(shape)
    relaid = lay_out_otherwise(tensor)
    assert torch.equal(relaid, tensor)
    assert (relaid.stride() == tensor.stride()) == (len(shape) < 2)


def test_noise_is_widened_by_a_share_of_another_and_no_more_than_so_many_times():
    noise, other = {"loss": {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}}, {"loss": {"a": 8.0, "b": 100.0, "c": 0.1}}
    assert widen_noise(noise, other, share=0.5, at_most=16.0) == {"loss": {"a": 4.0, "b": 16.0, "c": 1.0, "d": 1.0}}
    assert widen_noise(noise, {"loss": {"a": float("nan")}})["loss"]["a"] == 1.0
