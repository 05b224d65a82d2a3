"""Makes `fit`, `evaluate` and `predict` of a Keras model on the torch backend replay their steps as plain ATen calls.

    model.compile(optimizer=keras.optimizers.SGD(1e-2), loss=..., metrics=["accuracy"])
    torch_plugin.attach(model, engine="exact")
    model.fit(...)
    print(torch_plugin.explain(model))

`exact` rounds as the PyTorch original does; `fused` makes a weight's gradient and its SGD update in one product, and
other updates in one call; `compiled` also hands the step to PyTorch's compiler.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from birdplane_keras.torch_plugin.attachment import AUDITS, PLUGIN_ATTRIBUTE, Attachment
from birdplane_keras.torch_plugin.entries import Entry
from birdplane_keras.torch_plugin.errors import TorchPluginError, TorchPluginWarning
from birdplane_keras.torch_plugin.explain import explain_attachment
from birdplane_keras.torch_plugin.explanation import Explanation
from birdplane_keras.torch_plugin.hooks import KINDS
from birdplane_keras.torch_plugin.stock import refusal_of, stock_path

__all__ = [
    "ENGINES",
    "PROMISES",
    "Entry",
    "Explanation",
    "TorchPluginError",
    "TorchPluginWarning",
    "attach",
    "detach",
    "detached",
    "explain",
    "gradients_kept",
    "is_attached",
    "traces",
]

ENGINES = ("exact", "fused", "compiled")
PROMISES = ("bits", "rounding")


def attach(
    model: keras.Model,
    engine: str | None = None,
    strict: bool = False,
    audit: str = "auto",
    traces: int = 8,
    promise: str | None = None,
) -> keras.Model:
    """Makes a model run its steps from traces, and returns it.

    Each step is traced at its first batch of a signature, proved against Keras' own step on that batch, and replayed
    from then on. A step that cannot be traced faithfully runs as without the plugin, with one warning that says why.
    Attach before or after `compile`; a model that is loaded or cloned from an attached one is not attached.

    Args:
        model: A Keras model.
        engine: `exact`, whose layers round as PyTorch's own do; `fused`, which also makes the product of a weight's
            gradient and its plain-SGD update one operation, and any other update one call, and differs by rounding;
            `compiled`, which also hands the step to PyTorch's compiler, and needs a C++ compiler for that. `None` for
            the fastest that keeps the promise.
        strict: Raise `TorchPluginError` instead of falling back; at once where the model itself is the reason.
        audit: When a step is also made by stock Keras, from the same state, and compared before the traced one counts:
            `auto`, the first batch of an epoch, an `evaluate` or a `predict`, or a single batch, once a hundred such
            steps were made since the last audit, or more, up to 500, so that audits take 3 % of the time; `epoch`, the
            first of every epoch, `evaluate` and `predict`; `step`, every one; `never`. An audit costs a stock step and
            copies of what the step writes.
        traces: How many traces of a kind of step (train, test, predict) are held at most. Each shape of a batch, and
            each value of what the step reads from Python, needs its own; what is beyond runs on the stock path.
        promise: What an engine that is not named must keep; `None` for `bits`. `bits`, those of PyTorch, which `exact`
            alone does; or `rounding`: a step is `fused`, and once its steps have taken ten times what tracing took,
            `compiled` is tried, ten steps of each are timed in turns, and the faster stays. `explain` says what was
            measured.

    Raises:
        TypeError: Not a Keras model.
        ValueError: An unknown engine, audit or promise, an engine and a promise, no trace, or another backend of Keras.
        TorchPluginError: With `strict`, the model cannot be traced.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"expected a keras.Model, received a {type(model).__name__}")
    if promise not in (None, *PROMISES):
        raise ValueError(f"expected a promise among {', '.join(PROMISES)}, received {promise!r}")
    if engine is not None and promise is not None:
        raise ValueError(f"expected an engine or a promise, received engine={engine!r} and promise={promise!r}")
    if engine is None and promise != "rounding":
        engine = "exact"
    if engine is not None and engine not in ENGINES:
        raise ValueError(f"expected an engine among {', '.join(ENGINES)}, received {engine!r}")
    if audit not in AUDITS:
        raise ValueError(f"expected audit among {', '.join(AUDITS)}, received {audit!r}")
    if traces < 1:
        raise ValueError(f"expected one trace or more, received traces={traces}")
    if keras.backend.backend() != "torch":
        raise ValueError(f"expected Keras on the torch backend, received {keras.backend.backend()}: set KERAS_BACKEND")
    attachment = Attachment(model, engine, strict, audit, traces)
    reasons = {kind: refusal_of(model, kind) for kind in KINDS}
    if strict and any(reasons.values()):
        kind, reason = next((kind, reason) for kind, reason in reasons.items() if reason)
        raise TorchPluginError(f"attached with strict=True: {stock_path(kind, reason)}")
    detach(model)
    vars(model)[PLUGIN_ATTRIBUTE] = attachment
    attachment.hook_in()
    return model


def detach(model: keras.Model) -> keras.Model:
    """Undoes `attach`, and returns the model; a model that is not attached stays as it is."""
    attachment = vars(model).pop(PLUGIN_ATTRIBUTE, None)
    if attachment is not None:
        attachment.unhook()
    return model


@contextmanager
def detached(model: keras.Model) -> Iterator[None]:
    """Within it, a model runs on Keras' stock path; after it, it is attached as before, and is traced again."""
    attachment = vars(model).get(PLUGIN_ATTRIBUTE)
    detach(model)
    try:
        yield
    finally:
        if attachment is not None:
            attachment.entries.clear()  # its kernels may have lain otherwise
            vars(model)[PLUGIN_ATTRIBUTE] = attachment
            attachment.hook_in()


def is_attached(model: keras.Model) -> bool:
    """Whether the steps of a model run through the plugin."""
    return PLUGIN_ATTRIBUTE in vars(model)


@contextmanager
def gradients_kept(model: keras.Model) -> Iterator[None]:
    """Within it, the engine `fused` leaves every weight's gradient in `.grad`, too; the others always do."""
    attachment = vars(model).get(PLUGIN_ATTRIBUTE)
    if attachment is None:
        yield
        return
    before, attachment.settings.keep_gradients = attachment.settings.keep_gradients, True
    try:
        yield
    finally:
        attachment.settings.keep_gradients = before


def explain(model: keras.Model) -> Explanation:
    """Returns in words what each step of an attached model runs on, what was rewritten, and why anything fell back.

    Returns:
        A string, which a notebook shows as HTML; its `plot()` draws what stock and traced steps took.
    """
    attachment = vars(model).get(PLUGIN_ATTRIBUTE)
    if attachment is None:
        return Explanation(f"{model.name} is not attached: every step runs on Keras' stock path.", model.name)
    return explain_attachment(attachment)


def traces(model: keras.Model) -> list[Entry]:
    """Returns the account of each signature of a batch that an attached model has seen; none where it is not attached.

    An entry's `step` is its trace, or `None` where the stock step runs; `reason` says why, then.
    """
    attachment = vars(model).get(PLUGIN_ATTRIBUTE)
    return [] if attachment is None else list(attachment.entries)
