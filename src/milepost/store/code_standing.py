"""What evaluations are worth under the code of now: they are of it, stand by a check, or are of earlier code."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from milepost._internal.serialization import digest
from milepost.core.types import Json
from milepost.store.code_equivalence import CodeEquivalence
from milepost.store.keys import subject

EARLIER = "earlier code"
"""The status of values that the code of now need not give."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of an evaluation's code: `earlier` than that of now, or the `check` by which the old one stands."""

    earlier: bool = False
    check: CodeEquivalence | None = None

    def status(self, status: str) -> str:
        """Return the status of the evaluation's values, given that of their rows.

        >>> Standing(earlier=True).status("ok"), Standing(earlier=True).status("partial 9/10"), Standing().status("ok")
        ('earlier code', 'earlier code; partial 9/10', 'ok')
        """
        if not self.earlier:
            return status
        return EARLIER if status == "ok" else f"{EARLIER}; {status}"


def is_earlier(status: Json) -> bool:
    """Return whether values of some status are of earlier code.

    >>> is_earlier("earlier code; partial 9/10"), is_earlier("ok")
    (True, False)
    """
    return str(status).startswith(EARLIER)


CURRENT = Standing()
"""Of the code of now, as far as the store knows."""


@dataclass(frozen=True, slots=True)
class CodeStanding:
    """The facts that decide: the latest code version of each evaluation file's entry, and the equivalences.

    `latest` is by (file, entry), as evaluations have them in their specs; `equivalences` by (data, task, code), each
    with "same_as" and "evidence".  `readings` are the ways in which checkpoints were read, a signature each, by when a
    run last began with it: a later one has a larger number.
    """

    latest: Mapping[tuple[Json, Json], str] = field(default_factory=dict)
    equivalences: Mapping[tuple[str, str, str], Mapping[str, Json]] = field(default_factory=dict)
    readings: Mapping[str, int] = field(default_factory=dict)

    def of(self, spec: Mapping[str, Json]) -> Standing:
        """Return the standing of an evaluation with this spec; CURRENT where no run has said what its code is now.

        >>> spec = {"file": "p/eval.py", "code": "v1", "data": "d", "task": {"name": "t"}}
        >>> CodeStanding({("p/eval.py", None): "v2"}).of(spec).earlier, CodeStanding().of(spec).earlier
        (True, False)
        """
        now = self.latest.get((spec.get("file"), spec.get("entry")))
        if now is None or now == spec["code"]:
            return CURRENT
        task = digest(subject(spec))
        chain = self.chain(spec["data"], task, now)
        if spec["code"] not in chain:
            return Standing(earlier=True)
        # The newest fact was checked against all that stood under the codes behind it.
        return Standing(check=CodeEquivalence.of(self.equivalences[spec["data"], task, now]["evidence"]))

    def root(self, spec: Mapping[str, Json]) -> str:
        """Return the code version that stands for all that a spec's code was found equivalent to: equal for equals.

        Where two processes put opposite facts at once, any member of the circle will do, the same for all.
        """
        known = str(spec["data"]), digest(subject(spec))
        found = self.chain(*known, str(spec["code"]))
        return min(self.chain(*known, found[-1])) if (*known, found[-1]) in self.equivalences else found[-1]

    def chain(self, data: str, task: str, code: str) -> list[str]:
        """Return the code versions whose results stand under one, for this data and task: itself, then the others."""
        found = [code]
        while (fact := self.equivalences.get((data, task, found[-1]))) is not None and fact["same_as"] not in found:
            found.append(str(fact["same_as"]))
        return found
