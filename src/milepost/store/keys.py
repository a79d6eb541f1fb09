"""What an evaluation is known by: the key of its outcomes."""

from collections.abc import Mapping

from milepost._internal.serialization import digest
from milepost.core.types import SCHEMA, Json

BESIDES = ("model", "settings", "entry")
"""What may decide an evaluation's outcomes besides weights, data, task and code; see `subject`."""


def evaluation_key(weights: str, data: str, task: Mapping[str, Json], code: str, repetition: int = 0) -> str:
    """Return the key of an evaluation: what its outcomes depend on, and nothing else.

    `weights` and `data` are digests, `task` is the `subject` of the evaluator's description, `code` a code version;
    `repetition` counts evaluations that were made again on purpose.

    >>> evaluation_key("a", "b", {}, "c") == evaluation_key("a", "b", {}, "c", 1)
    False
    """
    described = [SCHEMA, weights, data, dict(task), code]
    return digest([*described, repetition] if repetition else described)


def subject(spec: Mapping[str, Json]) -> dict[str, Json]:
    """Return what an evaluator computes, as its keys hold it: its task and, where there are any, what else decides.

    That is the adapter's own spec ("model"), the settings that the file read, and the name of one of several.

    >>> subject({"task": {"name": "binary"}, "settings": {}, "batch_size": 8})
    {'name': 'binary'}
    >>> subject({"task": {"name": "binary"}, "entry": "clean"})
    {'task': {'name': 'binary'}, 'entry': 'clean'}
    """
    task = dict(spec["task"])
    besides = {name: spec[name] for name in BESIDES if spec.get(name)}
    return {"task": task, **besides} if besides else task
