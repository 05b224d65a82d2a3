"""A cause, with what speaks for it and what repairs it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Fix:
    """What to change.

    Args:
        text: In code where it can be said in code.
        tried: Whether the judge made this change to the port, or to what it is fed, and the rung then passed or the
            next mistake showed.
    """

    text: str
    tried: bool = False

    def __str__(self) -> str:
        return self.text if self.tried else f"{self.text} (not tried)"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One cause that explains a failed rung.

    Args:
        cause: A short identifier, such as `learning_rate`; `unknown` where nothing explained the difference.
        rung: The rung that it explains.
        text: The cause in a sentence.
        evidence: The numbers that speak for it.
        fixes: What to change, a line for each place.
        parting: The operations at which both programs part, in words: `port` and `reference`; `None` where it is not
            seen, or told of another finding.
        graphs: The same as small graphs, one for each place, as `programs.graph.graph_of` returns them.
        proved: Whether the reference with this, and with what else was found, computes what the port does; or it was
            read off both sides as it is.
        settled: Settings of the pair with which what else differs can be judged.
        repaired: Within it, the port does not make the mistake, so that what else differs can be judged; `None` where
            the reference was changed in its place, and in what `check_parity` returns.
    """

    cause: str
    rung: str
    text: str
    evidence: str
    fixes: Sequence[Fix]
    parting: Mapping[str, Sequence[str]] | None = None
    graphs: Sequence[Mapping[str, Any]] = ()
    proved: bool = False
    settled: Mapping[str, Any] = field(default_factory=dict)
    repaired: Callable[[], AbstractContextManager[None]] | None = field(default=None, compare=False, repr=False)

    @property
    def fix(self) -> str:
        """All of what to change, a line for each place."""
        return "\n".join(map(str, self.fixes))

    def content(self) -> dict[str, Any]:
        """Returns the finding as plain data."""
        fixes = [{"text": fix.text, "tried": fix.tried} for fix in self.fixes]
        told = {
            "cause": self.cause,
            "rung": self.rung,
            "text": self.text,
            "evidence": self.evidence,
            "proved": self.proved,
        }
        parting = None if self.parting is None else {side: list(lines) for side, lines in self.parting.items()}
        return told | {"fix": self.fix, "fixes": fixes, "parting": parting, "graphs": list(self.graphs)}
