"""Training set-ups, each trained for 20 steps or more: what the plugin has to be right for."""

from collections.abc import Callable

import keras
import numpy as np
from keras import layers

from plugin.networks import (
    CLASSES,
    COLUMNS,
    ROWS,
    Counter,
    Data,
    Noise,
    Penalty,
    SetDropout,
    SetRate,
    Setup,
    attention,
    binary_metrics,
    categorical_metrics,
    data_loader,
    distance,
    draw,
    frozen_between,
    frozen_without_compile,
    images,
    labels,
    masked_output,
    masked_sequence,
    metrics_left_to_python,
    network,
    one_hot,
    py_dataset,
    regression_metrics,
    sparse_metrics,
    tensors,
    torch_module,
    two_inputs,
    two_outputs,
    with_loss,
    with_optimizer,
)

o, c, s = keras.optimizers, keras.callbacks, keras.optimizers.schedules
SETUPS: dict[str, Callable[[], Setup]] = {
    "dense": lambda: Setup(model=network()),
    "no bias": lambda: Setup(model=network(layers.Dense(4, use_bias=False))),
    "three dimensions": lambda: Setup(
        model=network(layers.GlobalMaxPooling1D(), shape=(4, COLUMNS)), x=draw(ROWS, 4, COLUMNS)
    ),
    "schedule": lambda: with_optimizer(o.SGD(s.ExponentialDecay(0.1, 5, 0.7))),
    "piecewise schedule": lambda: with_optimizer(o.SGD(s.PiecewiseConstantDecay([7, 15], [0.1, 0.01, 0.2]))),
    "schedule and momentum": lambda: with_optimizer(o.SGD(s.CosineDecay(0.1, 20), momentum=0.9)),
    "LearningRateScheduler": lambda: Setup(
        model=network(), fit={"callbacks": [c.LearningRateScheduler(lambda epoch, rate: rate * 0.5)]}
    ),
    "ReduceLROnPlateau": lambda: Setup(
        model=network(), fit={"callbacks": [c.ReduceLROnPlateau("loss", factor=0.1, patience=0, min_delta=1.0)]}
    ),
    "rate set by hand": lambda: Setup(model=network(), fit={"callbacks": [SetRate()]}),
    "sample_weight": lambda: Setup(
        model=network(), fit={"sample_weight": np.abs(draw(ROWS, seed=5))}, compile={"weighted_metrics": ["accuracy"]}
    ),
    "class_weight": lambda: Setup(model=network(), fit={"class_weight": {0: 1.0, 1: 0.2, 2: 3.0}}),
    "frozen, compiled again": frozen_between,
    "frozen, not compiled": frozen_without_compile,
    "Dropout": lambda: Setup(model=network(layers.Dropout(0.4))),
    "Dropout from a seed": lambda: Setup(model=network(layers.Dropout(0.4, seed=5))),
    "Dropout whose rate changes": lambda: Setup(
        model=network(layers.Dropout(0.4, seed=5)), fit={"callbacks": [SetDropout()]}
    ),
    "GaussianNoise, AlphaDropout": lambda: Setup(
        model=network(layers.GaussianNoise(0.1, seed=1), layers.AlphaDropout(0.2, seed=2))
    ),
    "noise from a seed": lambda: Setup(model=network(Noise(7))),
    "noise from the global seed": lambda: Setup(model=network(Noise(None))),
    "BatchNormalization": lambda: Setup(model=network(layers.BatchNormalization(momentum=0.8))),
    "LayerNormalization, GroupNormalization": lambda: Setup(
        model=network(layers.LayerNormalization(), layers.GroupNormalization(2))
    ),
    "variable updated in call": lambda: Setup(model=network(Counter())),
    "data of a tensor": lambda: Setup(model=network(Data())),
    "two inputs": two_inputs,
    "two outputs": two_outputs,
    "regularizers": lambda: Setup(
        model=network(layers.Dense(4, kernel_regularizer="l2", bias_regularizer="l1", activity_regularizer="l2"))
    ),
    "add_loss": lambda: Setup(model=network(Penalty())),
    "clipnorm": lambda: with_optimizer(o.SGD(0.1, clipnorm=0.1)),
    "clipvalue": lambda: with_optimizer(o.SGD(0.1, clipvalue=0.01)),
    "global_clipnorm": lambda: with_optimizer(o.SGD(0.1, momentum=0.9, global_clipnorm=0.1)),
    "momentum": lambda: with_optimizer(o.SGD(0.05, momentum=0.9)),
    "Nesterov": lambda: with_optimizer(o.SGD(0.05, momentum=0.9, nesterov=True)),
    "weight decay": lambda: with_optimizer(o.SGD(0.05, weight_decay=0.01)),
    "moving average of weights": lambda: with_optimizer(o.SGD(0.05, use_ema=True, ema_overwrite_frequency=7)),
    "gradient accumulation": lambda: with_optimizer(o.SGD(0.05, gradient_accumulation_steps=3)),
    "scaled loss": lambda: with_optimizer(o.SGD(0.05, loss_scale_factor=8.0)),
    "dynamic loss scale": lambda: with_optimizer(o.LossScaleOptimizer(o.SGD(0.05), dynamic_growth_steps=6)),
    "constraint": lambda: Setup(model=network(layers.Dense(4, kernel_constraint=keras.constraints.MaxNorm(0.5)))),
    **{
        kind.__name__: lambda kind=kind: with_optimizer(kind(0.01))
        for kind in (
            o.Adam,
            o.AdamW,
            o.RMSprop,
            o.Adagrad,
            o.Adadelta,
            o.Adamax,
            o.Nadam,
            o.Ftrl,
            o.Lion,
            o.Lamb,
            o.Adafactor,
        )
    },
    "LSTM with a mask": lambda: masked_sequence(layers.LSTM(4)),
    "GRU with a mask": lambda: masked_sequence(layers.GRU(4)),
    "masked output": masked_output,
    "Conv2D": lambda: images(layers.Conv2D(3, 3, activation="relu"), layers.MaxPooling2D()),
    "SeparableConv2D, BatchNormalization": lambda: images(layers.SeparableConv2D(3, 3), layers.BatchNormalization()),
    "Conv2DTranspose, SpatialDropout2D": lambda: images(
        layers.Conv2DTranspose(2, 3), layers.SpatialDropout2D(0.3, seed=1)
    ),
    "attention": attention,
    "a PyTorch module": torch_module,
    "EarlyStopping": lambda: Setup(
        model=network(),
        fit={"callbacks": [c.EarlyStopping("loss", patience=3, min_delta=1.0, restore_best_weights=True)], "epochs": 9},
    ),
    "data loader": data_loader,
    "PyDataset": py_dataset,
    "tensors": tensors,
    "validation split": lambda: Setup(model=network(), fit={"validation_split": 0.25, "epochs": 6}),
    "binary metrics": binary_metrics,
    "categorical metrics": categorical_metrics,
    "metrics left to Python": metrics_left_to_python,
    "sparse metrics": sparse_metrics,
    "regression metrics": regression_metrics,
    "bfloat16 policy": lambda: Setup(
        model=keras.Sequential(
            [keras.Input((COLUMNS,)), layers.Dense(4, dtype="mixed_bfloat16"), layers.Dense(CLASSES)]
        )
    ),
    "float64": lambda: Setup(model=keras.Sequential([keras.Input((COLUMNS,)), layers.Dense(CLASSES, dtype="float64")])),
    "probabilities": lambda: with_loss("sparse_categorical_crossentropy", CLASSES, labels(), "softmax"),
    **{
        f"loss {name}": lambda name=name: with_loss(name, CLASSES, one_hot(), "softmax")
        for name in ("categorical_crossentropy", "kl_divergence", "huber", "log_cosh", "categorical_hinge", "poisson")
    },
    "loss focal": lambda: with_loss(keras.losses.BinaryFocalCrossentropy(), CLASSES, one_hot(), "sigmoid"),
    "loss, a function of the user's": lambda: with_loss(distance, CLASSES, one_hot()),
}
