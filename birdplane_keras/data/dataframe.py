"""A TFDS data source as a table, for the extra `dataframe`; TFDS' own `as_dataframe` needs TensorFlow."""

from typing import Any

import tensorflow_datasets as tfds

from birdplane_keras.extras import require


def as_dataframe(source: Any, info: tfds.core.DatasetInfo, rows: int | None = None) -> Any:
    """Returns examples as a `pandas.DataFrame`: a row for each, a column for each feature, labels by name.

    Args:
        source: As `builder.as_data_source(split="test")` or `tfds.data_source("birdplane", split="test")` returns it.
        info: `builder.info`.
        rows: How many, from the first; `None` for all.

    Raises:
        RequestError: The extra `dataframe` is not installed.
    """
    pandas = require("pandas", extra="dataframe", what="as_dataframe")
    count = len(source) if rows is None else min(rows, len(source))
    examples = source.__getitems__(range(count))
    columns = {}
    for name, feature in info.features.items():
        values = [example[name] for example in examples]
        if isinstance(feature, tfds.features.ClassLabel):
            values = [feature.int2str(int(value)) for value in values]
        elif isinstance(feature, tfds.features.Text):
            values = [value.decode() if isinstance(value, bytes) else value for value in values]
        columns[name] = values
    return pandas.DataFrame(columns)


def style_dataframe(frame: Any, info: tfds.core.DatasetInfo) -> Any:
    """Returns what a notebook shows of `as_dataframe`: a `pandas` Styler in which images are pictures.

    Args:
        frame: As `as_dataframe` returns it.
        info: `builder.info`.
    """
    pictures = [name for name, feature in info.features.items() if isinstance(feature, tfds.features.Image)]
    return frame.style.format({name: info.features[name].repr_html for name in pictures})
