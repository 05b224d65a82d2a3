"""One order of axes for a whole graph: images of channels last run as PyTorch's own, turned at the edges only.

Keras turns the axes of images before and after each of PyTorch's operations, and lays them out in memory again. Here a
turn is not made: it is noted, passed on through what works number by number, and made where an operation asks for it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx
from torch.fx.passes.shape_prop import _extract_tensor_metadata

from birdplane_keras.torch_plugin import axis_calls
from birdplane_keras.torch_plugin.axes import (
    HEAVY,
    IN_ANY_MEMORY,
    KERNELS,
    POINTWISE,
    SHOWN,
    VIEWS,
    Form,
    Permutation,
    compose,
    inverse,
    is_contiguous,
    is_vector,
    leads_out,
    meta_like,
    rank_of,
    root_of,
    shape_of,
)
from birdplane_keras.torch_plugin.errors import CannotTurnError
from birdplane_keras.torch_plugin.graphs import is_view, is_write, reaches, remove_dead, written_nodes

aten = torch.ops.aten
TURNED, LAID_OUT = "turn of axes passed on", "channels last in memory"


def settle_axes(
    graph: fx.Graph, constants: Mapping[str, torch.Tensor], *, channels_last: bool
) -> tuple[fx.Graph, dict[str, int]]:
    """Returns a graph that computes the same without turning axes to and fro, and what was done, with how often.

    Args:
        graph: Of ATen calls, with what was known of each tensor when it was traced.
        constants: Name -> tensor of each `get_attr` node.
        channels_last: Let images lie in memory with their channels last, which rounds otherwise and is faster on CPUs.
    """
    for node in graph.find_nodes(op="get_attr"):
        node.meta["tensor_meta"] = _extract_tensor_metadata(constants[node.target])
    if not any(node.target in HEAVY for node in graph.nodes):
        return graph, {}
    walk = _Settling(graph, channels_last=channels_last)
    try:
        settled = walk.run()
    except CannotTurnError:
        return graph, {}
    remove_dead(settled)
    done = {TURNED: walk.passed_on, LAID_OUT: walk.laid_out}
    return settled, {name: count for name, count in done.items() if count}


class _Settling:
    """One walk through a graph.

    Attributes:
        new: The graph that is made.
        forms: Node of the old graph -> how it is had in the new one.
        written: Nodes of the old graph that are written.
        passed_on: Turns of axes, and copies that only lay out memory, that were not made where they were.
        laid_out: Images that lie with their channels last.
    """

    def __init__(self, graph: fx.Graph, *, channels_last: bool) -> None:
        self.old, self.new = graph, fx.Graph()
        self.forms: dict[fx.Node, Form] = {}
        self._made: dict[tuple, fx.Node] = {}
        self.passed_on = self.laid_out = 0
        self._channels_last = channels_last
        self.written = written_nodes(graph)
        self._returned = set(graph.find_nodes(op="output")[0].all_input_nodes)

    def run(self) -> fx.Graph:
        for node in self.old.nodes:
            form = self._form(node) if node.op == "call_function" else None
            self.forms[node] = form or self._copied(node)
        return self.new

    def _form(self, node: Any) -> Form | None:
        """Returns how a call is made on turned arguments; `None` where it is made as it was."""
        target: Any = node.target
        if is_write(node):
            self._forget(node)
        if target in HEAVY:
            return self._heavy(node)
        if not node.args or not isinstance(node.args[0], fx.Node | list | tuple):
            return None
        if target in (aten.permute.default, aten.transpose.int):
            return self._turned(node)
        if target is aten.clone.default:
            return self._laid_out(node)
        if target in VIEWS:
            return self._viewed(node)
        is_moved = any(form.order or form.is_touched for form in self._forms_of(node))
        if target is aten.empty_like.default and is_moved:
            return self._empty(node)
        if is_moved and torch.Tag.nondeterministic_seeded in getattr(target, "tags", ()):
            raise CannotTurnError
        if all(form.order is None for form in self._forms_of(node)):
            return None
        if torch.Tag.pointwise in getattr(target, "tags", ()) or target in POINTWISE:
            return self._pointwise(node)
        special = axis_calls.CALLS.get(target)
        return special(self, node) if special else None

    def _forget(self, write: Any) -> None:
        """Forgets the views and copies of what a node writes: it holds other numbers from then on."""
        roots = {root_of(self.forms[each].node) for each in write.all_input_nodes if reaches(each, self.written)}
        self._made = {key: made for key, made in self._made.items() if root_of(made) not in roots}

    def _forms_of(self, node: Any) -> list[Form]:
        return [self.forms[each] for each in node.all_input_nodes]

    def _copied(self, node: Any) -> Form:
        """Copies a node, whose arguments are brought into their own order."""
        made = self.new.node_copy(node, self._returned_as if node.op == "output" else self._logical)
        if node.op == "placeholder" or node.op == "get_attr":
            return Form(made, is_dense=is_contiguous(node))
        forms = self._forms_of(node)
        if node.op != "call_function" or not any(form.is_touched or form.order for form in forms):
            return Form(made, is_dense=is_contiguous(node))
        # A new tensor lies in the order of its axes if what it is made of does; a view may lie in any.
        is_new = not isinstance(node.target, torch._ops.OpOverload) or not is_view(node)
        is_known = all(form.order is None and (form.is_dense or not form.is_touched) for form in forms)
        return Form(made, is_dense=is_new and (is_known or is_vector(node)), is_touched=True)

    def _logical(self, node: Any) -> fx.Node:
        """Returns the node of the new graph with the axes that an old one had."""
        form = self.forms[node]
        return form.node if form.order is None else self._permuted(form.node, form.order)

    def mapped(self, arguments: Any) -> Any:
        """Returns arguments with what is left in them of the old graph, a size say, in the new one."""
        return fx.map_arg(arguments, lambda each: self._logical(each) if each in self.forms else each)

    def _returned_as(self, node: Any) -> fx.Node:
        """Returns what an output was, in memory in the order of its axes if it lay so: Python code may ask for that."""
        in_order = (rank_of(node) or 0) > 2 and is_contiguous(node)
        return self._contiguous(node) if in_order else self._logical(node)

    def _permuted(self, node: Any, order: Permutation) -> fx.Node:
        return self._call(aten.permute.default, (node, list(order)), [shape_of(node)[axis] for axis in order], node)

    def _call(self, target: Any, args: tuple, shape: Sequence[int], like: fx.Node, **kwargs: Any) -> fx.Node:
        """Makes a view or a copy, once for each of its arguments."""
        key = (target, repr(args), repr(kwargs))
        if key not in self._made:
            made = self.new.call_function(target, args, kwargs)
            made.meta = meta_like(like, shape)
            self._made[key] = made
        return self._made[key]

    def _contiguous(self, node: Any) -> fx.Node:
        """Returns a tensor in its own order of axes, in memory that lies so."""
        form = self.forms[node]
        logical = self._logical(node)
        if form.order is None and (form.is_dense or (not form.is_touched and is_contiguous(node))):
            return logical
        return self._call(aten.contiguous.default, (logical,), shape_of(logical), logical)

    def _heavy(self, node: Any) -> Form:
        if self._channels_last and node.target in IN_ANY_MEMORY and rank_of(node.args[0]) == 4:
            self.laid_out += 1
            kernel = node.args[KERNELS[node.target]] if node.target in KERNELS else None
            made = self.new.node_copy(
                node, lambda each: self._as_heavy_argument(each) if each is kernel else self._with_channels_last(each)
            )
            return Form(made, is_touched=True)
        made = self.new.node_copy(node, self._as_heavy_argument)
        return Form(made, is_dense=True, is_touched=True)

    def _as_heavy_argument(self, node: Any) -> fx.Node:
        return self._contiguous(node) if (rank_of(node) or 0) > 2 else self._logical(node)

    def _with_channels_last(self, node: Any) -> fx.Node:
        logical = self._logical(node)
        if rank_of(node) != 4:
            return logical
        last = {"memory_format": torch.channels_last}
        return self._call(aten.contiguous.default, (logical,), shape_of(logical), logical, **last)

    def _empty(self, node: Any) -> Form:
        """Memory as it lay when it was traced: what is drawn into it is drawn in that order."""
        made = node.meta["tensor_meta"]
        args = self._logical(node.args[0]), list(made.shape), list(made.stride)
        result = self.new.call_function(aten.new_empty_strided.default, args, {"dtype": made.dtype})
        result.meta = dict(node.meta)
        return Form(result, is_dense=is_contiguous(node))

    def _turned(self, node: Any) -> Form | None:
        form, rank = self.forms[node.args[0]], rank_of(node)
        if rank is None or rank < 3 or reaches(node, self.written):
            return None
        axes = list(range(rank))
        if node.target is aten.transpose.int:
            one, other = (axis % rank for axis in node.args[1:])
            axes[one], axes[other] = other, one
        else:
            axes = [axis % rank for axis in node.args[1]]
        self.passed_on += 1
        order = compose(form.order or tuple(range(rank)), axes)
        straight = order == tuple(range(rank))
        return Form(form.node, None if straight else order, form.is_dense, form.is_touched)

    def _laid_out(self, node: Any) -> Form | None:
        """Leaves out a copy that only lays out memory, where nobody writes it or what it was made of."""
        source: Any = node.args[0]
        rank = rank_of(node)
        if rank is None or rank < 3 or node in self._returned or reaches(node, self.written):
            return None
        root = source
        while root.target in SHOWN and root.all_input_nodes:
            if root in self.written:
                return None
            root = root.all_input_nodes[0]
        if reaches(root, self.written) or (root.op == "call_function" and is_write(root)):
            return None
        if root.op != "call_function" and leads_out(node):
            return None  # an output that shows an input would change with it
        form = self.forms[source]
        self.passed_on += 1
        return Form(form.node, form.order, form.is_dense, True)

    def _viewed(self, node: Any) -> Form | None:
        source: Any = node.args[0]
        form, shape = self.forms[source], self.mapped(list(node.args[1]))
        if form.order is None and (form.is_dense or not form.is_touched):
            made = self.new.node_copy(node, self._logical)
            return Form(made, is_dense=form.is_dense or is_contiguous(node), is_touched=form.is_touched)
        if reaches(node, self.written):
            raise CannotTurnError
        argument = form.node if form.is_dense and is_vector(form.node) else self._contiguous(source)
        made = self.new.call_function(node.target, (argument, shape))
        made.meta = dict(node.meta)
        return Form(made, is_dense=True, is_touched=True)

    def _pointwise(self, node: Any) -> Form | None:
        rank, shape = rank_of(node), shape_of(node)
        if rank is None:
            return None
        turned = [
            self.forms[each]
            for each in node.all_input_nodes
            if rank_of(each) == rank and self.forms[each].order and shape_of(each) == shape
        ]
        if not turned:
            return None
        order = turned[0].order
        assert order is not None
        if is_write(node) and self.forms[node.args[0]].order != order:
            return None
        if any(rank_of(each) is None for each in node.all_input_nodes):
            return None
        made = self.new.node_copy(node, lambda each: self.in_order(each, order))
        made.meta = meta_like(node, [shape[axis] for axis in inverse(order)])
        whole = [self.forms[each] for each in node.all_input_nodes if shape_of(each) == shape]
        is_dense = all(form.is_dense and form.order == order for form in whole)
        return Form(made, order, is_dense, True)

    def in_order(self, node: Any, order: Permutation) -> fx.Node:
        """Returns a node that broadcasts over axes in an order as this one did over those of the old graph."""
        form, rank, shape = self.forms[node], len(order), shape_of(node)
        if form.order == order or not shape:
            return form.node
        back, whole = inverse(order), [1] * (rank - len(shape)) + list(shape)
        wanted = [whole[axis] for axis in back]
        if form.order is None and is_vector(node) and not reaches(node, self.written):
            source: Any = form.node
            if source.target in VIEWS:  # a bias that was shown as (1, 1, 1, C)
                source = source.args[0]
            return self._call(aten.view.default, (source, wanted), wanted, form.node)
        logical = self._logical(node)
        if len(shape) < rank:
            for _ in range(rank - len(shape)):
                logical = self._call(aten.unsqueeze.default, (logical, 0), [1, *shape_of(logical)], logical)
        turned = self._permuted(logical, back)
        if math.prod(shape) > 1 << 12:  # all of it is gone through, perhaps again and again
            return self._call(aten.contiguous.default, (turned,), shape_of(turned), turned)
        return turned
