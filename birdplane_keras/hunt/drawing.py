"""Draws trainings, and finds the simplest one that is still wrong."""

import dataclasses
from collections.abc import Callable, Iterator

from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from birdplane_keras.hunt.all_places import PLACES
from birdplane_keras.hunt.changes import CHANGES
from birdplane_keras.hunt.trainings import (
    ARCHITECTURES,
    LOSSES,
    METRICS,
    OPTIMIZERS,
    POLICIES,
    READERS,
    SOURCES,
    Training,
)

ENGINES, AUDITS = ("exact", "fused", "compiled"), ("never", "never", "never", "epoch", "step")
# A step that nobody reads from, and a change of a place, are as likely as each other change together.
MOSTLY = ("nothing", "the place", "the place", "the place")


def trainings() -> st.SearchStrategy[Training]:
    """Returns the strategy that draws trainings; the simplest values come first."""
    return st.builds(
        Training,
        architecture=st.sampled_from(ARCHITECTURES),
        loss=st.sampled_from(LOSSES[:-1] * 4 + LOSSES[-1:]),
        metrics=st.sampled_from(METRICS),
        optimizer=st.sampled_from(OPTIMIZERS),
        source=st.sampled_from(SOURCES),
        policy=st.sampled_from(POLICIES),
        place=st.sampled_from(list(PLACES)),
        reader=st.sampled_from(READERS),
        change=st.one_of(st.sampled_from(MOSTLY), st.sampled_from(list(CHANGES))),
        step=st.integers(1, 8),
        engine=st.sampled_from(ENGINES),
        audit=st.sampled_from(AUDITS),
        seed=st.integers(0, 3),
    )


def draw(count: int, seed: int) -> Iterator[Training]:
    """Returns different trainings.

    Args:
        count: How many.
        seed: Of the draws.
    """
    drawn: dict[Training, None] = {}

    @with_seed(seed)
    @settings(
        max_examples=4 * count,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(trainings())
    def collect(training: Training) -> None:
        drawn[training] = None

    collect()
    return iter(list(drawn)[:count])


def simplest(training: Training, is_wrong: Callable[[Training], bool]) -> Training:
    """Returns the simplest training that is still wrong: first each part alone, then what Hypothesis shrinks.

    Args:
        training: One that is.
        is_wrong: Runs one, and tells.
    """
    plain = Training()
    for field in dataclasses.fields(Training):
        simpler = dataclasses.replace(training, **{field.name: getattr(plain, field.name)})
        if simpler != training and is_wrong(simpler):
            training = simpler
    kept = {field.name: st.just(getattr(training, field.name)) for field in dataclasses.fields(Training)}
    steps = kept | {"step": st.integers(1, training.step), "seed": st.integers(0, training.seed)}
    try:
        return find(
            st.builds(Training, **steps), is_wrong, settings=settings(max_examples=20, deadline=None, database=None)
        )
    except NoSuchExample:
        return training
