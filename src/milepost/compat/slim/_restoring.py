"""A checkpoint into the variables of the graph that the user built: by Milepost's reader, every variable or none."""

import difflib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from milepost.checkpoints.reader import Reader
from milepost.core.types import CheckpointFiles, Table
from milepost.errors import Mismatch, UsageError
from milepost.models._tf1_arrays import partitions_of
from milepost.models._tf1_graph import Slot, _grouped, _slot
from milepost.restore.matching import Restored, restore

_EMA = "/ExponentialMovingAverage"
_SHADOW = "/ExponentialMovingAverage, a variable of the graph's own"


@dataclass(frozen=True, slots=True)
class ToRestore:
    """Variables to restore, by the checkpoint's names; `chosen` tells that the user named them."""

    slots: Mapping[str, Slot]
    assign: Any
    step: str | None
    chosen: bool

    @classmethod
    def of(cls, variables: Mapping[str, list[Any]], *, chosen: bool) -> "ToRestore":
        """Add the operations that give the variables their values to the graph."""
        step = tf.train.get_global_step()
        with tf.name_scope("milepost/"):
            slots = {name: _slot(name, members) for name, members in variables.items()}
            partitions = [partition for slot in slots.values() for partition in slot.partitions]
            assign = tf.group(*(partition.held.assign(partition.fed, read_value=False) for partition in partitions))
        named = next((name for name, members in variables.items() if step is not None and step in members), None)
        return cls(slots, assign, named, chosen)


def listed(to_restore: Any) -> dict[str, list[Any]]:
    """Return variables by the name that a checkpoint holds them under; the partitions of one together.

    `to_restore` is a list of variables, a mapping from checkpoint names to variables, or None: all global ones.
    """
    if to_restore is None:
        return _grouped(tf.global_variables())
    if not isinstance(to_restore, Mapping):
        return _grouped(_parts_of(to_restore))
    found = {str(name): _parts_of([item]) for name, item in to_restore.items()}
    if not found:
        raise UsageError("variables_to_restore is empty: nothing of the checkpoint would be evaluated")
    return found


def _parts_of(variables: Any) -> list[Any]:
    found: list[Any] = []
    for item in variables:
        # A partitioned variable, or a list of its partitions, as tf.train.Saver takes them.
        found += list(item) if isinstance(item, list | tuple) or hasattr(item, "_variable_list") else [item]
    if not found:
        raise UsageError("variables_to_restore is empty: nothing of the checkpoint would be evaluated")
    return found


def restored(found: CheckpointFiles, wanted: ToRestore, session: Any) -> tuple[Restored, Table]:
    """Give the variables their values in a session; raises the checkpoint's own error where it does not fit."""
    with tempfile.TemporaryDirectory(prefix="milepost-") as spool:
        table = Reader().table(found, spool)
        variables = [
            replace(slot.variable, name=_own(name), optional=name == wanted.step) for name, slot in wanted.slots.items()
        ]
        made = restore(_shown(table, wanted), variables, "raw")
        feed: dict[Any, Any] = {}
        for name, slot in wanted.slots.items():
            # Only the step may be missing: no prediction depends on it.
            array = made.arrays.get(_own(name), np.asarray(table.step or 0))
            feed |= {partition.fed: value for partition, value in partitions_of(slot, {name: array})}
        session.run(wanted.assign, feed)
    return made, table


def _shown(table: Table, wanted: ToRestore) -> Table:
    """Return the table as the matching is to see it: what the graph has variables for counts as weights.

    Where the user named what to restore, all else of the checkpoint is left aside, as `tf.train.Saver` does.
    """
    names = {item.name for item in table.tensors}
    missing = [name for name in wanted.slots if name not in names and name != wanted.step]
    if wanted.chosen and missing:
        near = difflib.get_close_matches(missing[0], sorted(names), n=3)
        raise Mismatch(
            f"{len(missing)} of {len(wanted.slots)} names in variables_to_restore are not in the checkpoint: "
            f"{', '.join(missing[:5])} (nearest: {', '.join(near) or 'none'})"
        )
    tensors = [
        replace(item, name=_own(item.name), role="weights", group="") if item.name in wanted.slots else item
        for item in table.tensors
        if item.name in wanted.slots or not wanted.chosen
    ]
    return replace(table, tensors=tuple(tensors))


def _own(name: str) -> str:
    """Return a name that is not taken for the average of another variable: here it is one of the graph's own."""
    return name.removesuffix(_EMA) + _SHADOW if name.endswith(_EMA) else name


def without_values(session: Any, names: Any, chosen: Sequence[str]) -> None:
    """Raise a `Mismatch` where variables have no value: neither restored nor initialised."""
    found = [name.decode() for name in session.run(names)]
    if found:
        raise Mismatch(
            f"{len(found)} variables have no value ({', '.join(found[:5])}): they are neither among the {len(chosen)} "
            "of variables_to_restore nor initialised; name them, or give an initial_op"
        )
