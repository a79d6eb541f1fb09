"""When a watch may end: what each root's producer has said, or has stopped saying.

A root is judged by the observer's own monotonic clock, so that no two clocks are compared.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

DONE = "DONE"
HEARTBEAT = "HEARTBEAT"


@dataclass(frozen=True, slots=True)
class StopConditions:
    """What ends the watch of a root, the first that happens; with nothing set the watch goes on until it is stopped.

    `done`: a file DONE lies in the root.  `max_steps`: a checkpoint of that step or a later one is there.  `idle`:
    seconds without any change under the root.  `heartbeat`: seconds for which a file HEARTBEAT in the root stood still.
    """

    done: bool = False
    max_steps: int | None = None
    idle: float | None = None
    heartbeat: float | None = None


class Producer:
    """One root's producer as it is observed.

    >>> now = [0.0]
    >>> producer = Producer("/no/such/folder", StopConditions(idle=60, max_steps=900), lambda: now[0])
    >>> producer.ended(), producer.step(900), producer.ended()
    (None, None, 'step 900 was reached')
    >>> other = Producer("/no/such/folder", StopConditions(idle=60), lambda: now[0])
    >>> now[0] = 61.0
    >>> other.ended()
    'nothing changed for 60 s'
    """

    def __init__(self, root: str, conditions: StopConditions, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = root if os.path.isdir(root) or not os.path.exists(root) else os.path.dirname(root)
        self._conditions = conditions
        self._clock = clock
        self._changed = clock()
        self._step: int | None = None
        self._beat: tuple[int, float] | None = None

    def changed(self) -> None:
        """Note that something under the root changed."""
        self._changed = self._clock()

    def step(self, step: int | None) -> None:
        """Note the step of a whole checkpoint."""
        if step is not None and (self._step is None or step > self._step):
            self._step = step

    def ended(self) -> str | None:
        """Say why the producer is taken to have ended, None while it is not."""
        conditions = self._conditions
        if conditions.done and os.path.lexists(os.path.join(self._folder, DONE)):
            return f"{DONE} is there"
        if conditions.max_steps is not None and self._step is not None and self._step >= conditions.max_steps:
            return f"step {self._step} was reached"
        if conditions.idle is not None and self._clock() - self._changed >= conditions.idle:
            return f"nothing changed for {conditions.idle:g} s"
        if conditions.heartbeat is not None and self._still() >= conditions.heartbeat:
            return f"{HEARTBEAT} stood still for {conditions.heartbeat:g} s"
        return None

    def _still(self) -> float:
        try:
            beat = os.stat(os.path.join(self._folder, HEARTBEAT)).st_mtime_ns
        except OSError:
            self._beat = None
            return 0.0
        if self._beat is None or self._beat[0] != beat:
            self._beat = (beat, self._clock())
        return self._clock() - self._beat[1]
