"""What an object counts with in plain Python is kept and put back, in place where others may hold it."""

import numpy as np
import torch

from birdplane_keras.parity.sides.plain import plain_state, put_back


class Counting:
    def __init__(self):
        self.steps = 0
        self.seen = [1, (2.0, "three")]
        self.by_name = {"a": np.zeros(2)}
        self.table = torch.zeros(3)
        self.shape = (None, 4)
        self.function = len


def counted():
    member = Counting()
    return member, plain_state(member)


def test_numbers_lists_arrays_and_tensors_are_put_back():
    member, state = counted()
    member.steps += 5
    member.seen.append(7)
    member.by_name["a"] += 1
    member.by_name["b"] = np.ones(1)
    member.table += 1
    put_back(member, state)
    assert (member.steps, member.seen, list(member.by_name)) == (0, [1, (2.0, "three")], ["a"])
    assert not member.by_name["a"].any()
    assert not member.table.any()


def test_what_others_hold_stays_the_same_object():
    member, state = counted()
    held = member.seen, member.by_name, member.table, member.shape
    member.table += 1
    put_back(member, state)
    assert all(
        now is then for now, then in zip((member.seen, member.by_name, member.table, member.shape), held, strict=True)
    )


def test_what_was_replaced_is_put_back_too():
    member, state = counted()
    member.table, member.seen, member.shape = torch.ones(5), (1,), (None, 9)
    put_back(member, state)
    assert torch.equal(member.table, torch.zeros(3))
    assert (member.seen, member.shape) == ([1, (2.0, "three")], (None, 4))


def test_a_public_number_that_was_gained_goes_and_a_private_one_stays():
    """Keras' layers note of themselves, in private, what they have built."""
    member, state = counted()
    member.gained, member._built = 3, True
    put_back(member, state)
    assert not hasattr(member, "gained")
    assert member._built


def test_what_is_not_plain_is_left_alone():
    member, state = counted()
    member.function, member.steps = print, len
    put_back(member, state)
    assert (member.function, member.steps) == (print, len)


def test_a_state_does_not_change_with_the_object():
    member, state = counted()
    member.seen.append(7)
    member.table += 1
    put_back(member, state)
    put_back(member, state)
    assert (member.seen, member.table.tolist()) == ([1, (2.0, "three")], [0.0] * 3)
