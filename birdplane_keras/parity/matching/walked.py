"""What one prediction of the port has shown of its layers."""

from dataclasses import dataclass, field
from typing import Any

from birdplane_keras.parity.matching.fits import Fit
from birdplane_keras.parity.matching.names import numbered


@dataclass(kw_only=True)
class Step:
    """The first call of a Keras layer in a prediction, and what was found for it.

    Args:
        layer: The layer.
        chosen: The fit that was taken; `None` where there was none.
        proved: Whether the layer then makes what its counterpart makes.
        reached: Whether its counterpart takes what it takes: where it then makes something else, it does so itself.
        several: Whether other parts of the reference take the same, too.
        named: Whether it bears its counterpart's name.
        replaced: Whether the reference's numbers were put in the place of what it makes.
        index: Which of the ways to go on was taken here.
        count: How many there are.
    """

    layer: Any
    chosen: Fit | None = None
    proved: bool = False
    reached: bool = False
    several: bool = False
    named: bool = False
    replaced: bool = False
    index: int = 0
    count: int = 1

    @property
    def doubted(self) -> bool:
        """Whether another part of the reference may be its counterpart as well."""
        return self.lost or (self.failed and self.several)

    @property
    def lost(self) -> bool:
        """Whether nothing agrees here, which a wrong choice before may have done."""
        return self.failed and not self.reached

    @property
    def failed(self) -> bool:
        """Whether the layer does not make what its counterpart makes, or has none; of a guess nothing is known yet."""
        return not self.proved and (self.chosen is None or self.chosen.uses[-1].returned is not None)


@dataclass(kw_only=True)
class Walked:
    """What one prediction of the port has shown.

    Args:
        steps: Its layers in the order of their calls.
        agreeing: How many of the outputs are the reference's.
        outputs: How many there are; 0 where they cannot be compared.
        alone: Whether they are with the weights that were found where nothing is put in the place of what layers make.
        work: What trying took: numbers of weights, times the places to which they were put.
        note: What was not seen, in words.
    """

    steps: list[Step] = field(default_factory=list)
    agreeing: int = 0
    outputs: int = 1
    alone: bool = False
    work: float = 0.0
    note: str = ""

    @property
    def right(self) -> bool:
        """Whether the port predicts what the reference does, all by itself."""
        return self.agrees and (self.alone or not self.helped)

    @property
    def agrees(self) -> bool:
        """Whether all outputs are the reference's."""
        return 0 < self.outputs == self.agreeing

    @property
    def helped(self) -> bool:
        """Whether the reference's numbers were put in the place of what some layer makes."""
        return any(step.replaced for step in self.steps)

    @property
    def out_of_turn(self) -> bool:
        """Whether layers were called in another order than that in which they were made, as their numbers say."""
        last: dict[str, int] = {}
        for stem, number in (numbered(step.layer.name) for step in self.steps):
            if number < last.get(stem, 0):
                return True
            last[stem] = number
        return False

    @property
    def names_count(self) -> bool:
        """Whether the layers whose counterparts are proved bear their names."""
        proved = [step.named for step in self.steps if step.proved]
        return bool(proved) and all(proved)

    def named(self, step: Step) -> bool:
        """Whether a layer's name tells its counterpart: nothing takes what it takes, and names are right elsewhere."""
        return step.named and step.lost and self.names_count

    def is_open(self, step: Step) -> bool:
        """Whether another part of the reference may be a layer's counterpart as well, and its name does not tell."""
        return step.doubted and not self.named(step)

    @property
    def score(self) -> tuple[bool, int, int]:
        """The better, the greater."""
        return self.right, sum(step.proved for step in self.steps), self.agreeing
