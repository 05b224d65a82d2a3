"""What a step reads of Python's state is guarded, wherever it is; what cannot be watched makes the step decline."""

import abc
import types
import typing

import pytest
import torch

from birdplane_keras.hunt.all_places import PLACES
from birdplane_keras.torch_plugin.errors import NotTraceableError
from birdplane_keras.torch_plugin.guards import Guards
from birdplane_keras.torch_plugin.places import put_back
from birdplane_keras.torch_plugin.reads import Reads
from birdplane_keras.torch_plugin.tracing import trace

# Places that nothing can be compared with before a replay, and what the plugin says of them.
DECLINED = {
    "the globals by name": "calls `globals`",
    "a global that comes under a name made up": "calls `globals`",
    "the environment": "calls `os._Environ.__getitem__`",
    "an iterator": "`itertools.count`, whose state cannot be watched",
    "a generator": "`generator`, whose state cannot be watched",
    "a count that it keeps": "changes Python state: `calls`",
    "an attribute getter": "`operator.attrgetter`, whose state cannot be watched",
    "a method caller": "`operator.methodcaller`, whose state cannot be watched",
    "a partial that looks up": "a partial of `getattr`",
    "a context variable": "`_contextvars.ContextVar`, whose state cannot be watched",
    "a random number": "`numpy.random._generator.Generator`, whose state cannot be watched",
}


class Asked:
    """Has nothing yet."""


@typing.runtime_checkable
class HasLater(typing.Protocol):
    """What has it."""

    later: float


def scaled_by(read):
    def function(x):
        return [x * read()]

    return function


@pytest.mark.parametrize("name", [name for name in PLACES if name not in DECLINED])
def test_a_change_of_what_a_step_reads_is_seen(name):
    read, change = PLACES[name]()
    made = trace(scaled_by(read), [torch.ones(2)])
    assert made.guards.hold()
    before = read()
    change()
    assert read() != before
    assert not made.guards.hold()
    assert made.guards.first_change()


@pytest.mark.parametrize("name", DECLINED)
def test_what_cannot_be_watched_declines(name):
    read, _ = PLACES[name]()
    with pytest.raises(NotTraceableError, match=DECLINED[name]):
        trace(scaled_by(read), [torch.ones(2)])


def test_an_attribute_that_a_pattern_asks_for_is_guarded():
    holder = Asked()

    def function(x):
        match holder:
            case Asked(later=scale):
                return [x * scale]
        return [x]

    made = trace(function, [torch.ones(2)])
    assert made.guards.hold()
    holder.later = 0.5
    assert not made.guards.hold()


def test_a_protocol_declines():
    holder = Asked()
    with pytest.raises(NotTraceableError, match="the protocol `HasLater`"):
        trace(lambda x: [x * 0.5 if isinstance(holder, HasLater) else x], [torch.ones(2)])


def test_a_class_that_is_registered_with_an_abstract_one_is_seen():
    class Abstract(abc.ABC):
        @abc.abstractmethod
        def number(self):
            """Returns a number."""

    holder = Asked()
    made = trace(lambda x: [x * 0.5 if isinstance(holder, Abstract) else x], [torch.ones(2)])
    assert made.guards.hold()
    Abstract.register(Asked)
    assert not made.guards.hold()


def test_a_declined_step_has_not_moved_an_iterator():
    read, _ = PLACES["an iterator"]()
    with pytest.raises(NotTraceableError):
        trace(scaled_by(read), [torch.ones(2)])
    assert read() == 0.5  # the first of its numbers


def test_a_declined_step_has_not_counted():
    holder = types.SimpleNamespace(calls=0, seen=[])

    def function(x):
        holder.calls += 1
        holder.seen.append(holder.calls)
        return [x * 2]

    with pytest.raises(NotTraceableError, match="changes Python state"):
        trace(function, [torch.ones(2)])
    assert (holder.calls, holder.seen) == (0, [])


def test_a_value_that_is_replaced_by_an_equal_one_changes_nothing():
    holder = types.SimpleNamespace(scale=0.5, names=("a", 1))
    made = trace(lambda x: [x * holder.scale * len(holder.names)], [torch.ones(2)])
    holder.scale, holder.names = 0.25 * 2, ("a", 3 - 2)
    assert made.guards.hold()
    holder.scale = 1
    assert not made.guards.hold()


@pytest.mark.parametrize(("before", "after"), [(1, 1.0), (0.0, -0.0), (True, 1), ([1.0], [1.0])])
def test_values_that_compute_otherwise_are_told_apart(before, after):
    holder = types.SimpleNamespace(scale=before)
    made = trace(lambda x: [x * (holder.scale[0] if isinstance(holder.scale, list) else holder.scale)], [torch.ones(2)])
    holder.scale = after
    assert not made.guards.hold()


def test_what_a_step_does_not_read_may_change():
    holder = types.SimpleNamespace(scale=0.5, other=1)
    made = trace(lambda x: [x * holder.scale], [torch.ones(2)])
    holder.other, holder.another = 2, 3
    assert made.guards.hold()


def test_a_tensor_that_a_step_leaves_is_left_by_a_replay():
    holder = types.SimpleNamespace(last=None)

    def function(x):
        holder.last = x * 3
        return [x * 2]

    made = trace(function, [torch.ones(2)])
    assert holder.last.tolist() == [3, 3]
    outputs = made.replay(torch.full((2,), 5.0))
    made.leave(outputs)
    assert holder.last.tolist() == [15, 15]


def test_the_guards_of_a_weight_see_its_need_of_a_gradient_and_its_type():
    weight = torch.nn.Parameter(torch.ones(2))
    guards = Guards({}, [weight])
    weight.requires_grad_(False)
    assert guards.first_change() == "`requires_grad` of a weight"
    weight.requires_grad_(True)
    assert guards.hold()
    weight.register_hook(lambda gradient: gradient)
    assert guards.first_change() == "a hook on the gradient of a weight"


def test_reads_put_back_what_ran_meanwhile():
    holder = types.SimpleNamespace(names={"a": 1, "b": 2}, items=[1], kinds={1})

    def change():
        holder.names.pop("a")
        holder.names["c"] = 3
        holder.items.append(2)
        holder.kinds.add(2)
        holder.new = 1

    with (reads := Reads([holder, change], refuses=False)):
        change()
    put_back(reads.to_put_back())
    assert list(holder.names.items()) == [("a", 1), ("b", 2)]
    assert (holder.items, holder.kinds) == ([1], {1})


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: [x * float(x.detach().numpy().sum())], "takes numbers out of a tensor"),
        (lambda x: [x * x.tolist()[0]], "takes numbers out of a tensor"),
        (lambda x: [x * len(str(x))], "takes numbers out of a tensor"),
        (lambda x: [x * float(x.sum())], "depends on the numbers in a tensor"),
        (lambda x: [x * 2 if x.sum() > 0 else x], "depends on the numbers in a tensor"),
        (lambda x: [x[x > 0].sum() / len(x[x > 0])], "depends on the numbers in a tensor"),
        (lambda x: [x * bool(torch.equal(x, x))], "depends on the numbers in a tensor|PyTorch cannot trace it"),
    ],
)
def test_numbers_that_leave_the_tensors_decline(function, reason):
    with pytest.raises(NotTraceableError, match=reason):
        trace(function, [torch.ones(2)])


class Named:
    """Something that gets its attributes later."""


@pytest.mark.parametrize("owner", [Named(), type("OfClass", (), {}), types.ModuleType("a_module_of_ones_own")])
def test_a_name_that_is_made_up_and_comes_later_is_seen(owner):
    """No instruction names it, and nothing has it while the step is traced."""
    asked = owner() if isinstance(owner, type) else owner
    number = 3

    def function(x):
        return [x * getattr(asked, f"scale_{number}", 1.0)]

    made = trace(function, [torch.ones(2)])
    assert made.guards.hold()
    setattr(owner, f"scale_{number}", 2.0)
    assert not made.guards.hold()
