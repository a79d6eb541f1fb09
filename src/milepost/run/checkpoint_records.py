"""Sighting checkpoints: what a file is, known from an earlier run by its identity, or read now.

A sighting is published once for a path, file identity, variant and model.  A failure is a sighting too; kinds that may
pass are tried again by the next run, the others when the file, or the model, changes.
"""

import os
from collections.abc import Callable
from dataclasses import replace

from milepost._internal.serialization import now
from milepost.checkpoints._files.shards import reworded
from milepost.checkpoints.names import short_name, step_of_name
from milepost.core.protocols import Session
from milepost.core.types import CheckpointFiles, Description, Failure, Identified
from milepost.errors import retried
from milepost.store.checkpoint_records import CheckpointRecord
from milepost.store.store import Store


class Identifier:
    """Sights each checkpoint at most once a run."""

    def __init__(self, store: Store, session: Session, spec: Description, *, publish: bool, again: bool) -> None:
        """Take the evaluator's description; with `publish` False nothing is written."""
        self._store = store
        self._session = session
        self._spec = spec
        self._publish = publish
        self._again = again
        self._known: dict[str, dict[CheckpointFiles, list[CheckpointRecord]]] = {}
        self.place: Callable[[CheckpointFiles], CheckpointFiles] = lambda found: found

    def identify(self, found: CheckpointFiles) -> list[CheckpointRecord]:
        """Return one sighting a variant of the evaluation."""
        known = self._known.setdefault(found.path, {})
        if found not in known:
            known[found] = self._identify(found)
        return known[found]

    def known(self, found: CheckpointFiles) -> list[CheckpointRecord]:
        """Return what `sight` returned before, nothing where it was not asked."""
        return self._known.get(found.path, {}).get(found, [])

    def forget(self, path: str) -> None:
        """Look anew at what lies under a path when next asked, and hold nothing of it until then."""
        self._known.pop(path, None)

    def _identify(self, found: CheckpointFiles) -> list[CheckpointRecord]:
        """Return what each variant of a checkpoint is: known from an earlier run, or read now."""
        run = self._store.run_of(os.path.dirname(found.path), note=self._publish)
        if found.format is None and found.failure is not None:
            known = self._store.checkpoint(run, found.path, found.identity)
            if known is not None and not (known.failure and self._store.asked_again(known)):
                return [known]
            attempt = known.attempt + 1 if known else 1
            return [self._add(run, found, Identified("raw", failure=Failure(*found.failure)), "", attempt)]
        signature = self._spec.signature
        cached = {
            variant: self._store.checkpoint(run, found.path, found.identity, variant, signature)
            for variant in self._spec.variants
        }
        settled = {name: item for name, item in cached.items() if item is not None and not self._retry(item)}
        asked = [variant for variant in cached if variant not in settled]
        if asked:
            place = self.place(found)
            for row in self._session.identify(place, asked):
                known = cached[row.variant]
                if row.failure is not None:
                    message = reworded(row.failure.message, place.path, found.path)
                    row = replace(row, failure=replace(row.failure, message=message))  # noqa: PLW2901 - worded anew
                settled[row.variant] = self._add(run, found, row, signature, known.attempt + 1 if known else 1)
        return [settled[variant] for variant in self._spec.variants]

    def _retry(self, checkpoint: CheckpointRecord) -> bool:
        if checkpoint.failure is None:
            return False
        return self._again or retried(checkpoint.failure[0]) or self._store.asked_again(checkpoint)

    def _add(
        self, run: str, found: CheckpointFiles, row: Identified, signature: str, attempt: int = 1
    ) -> CheckpointRecord:
        name = short_name(found.path)
        step, source = row.step, row.step_source
        if step is None and (step := step_of_name(found.path)) is not None:
            source = "name"
        failure = None
        if row.failure is not None:
            failure = row.failure.kind, row.failure.message.removeprefix(f"{found.path}: ")
        checkpoint = CheckpointRecord(
            run=run,
            path=found.path,
            identity=found.identity,
            name=name,
            variant=row.variant,
            signature=signature,
            step=step,
            step_source=source,
            digest=row.digest,
            failure=failure,
            attempt=attempt if failure else 1,
            notes=dict(row.notes),
            seen=now(),
        )
        if self._publish:
            self._store.add_checkpoint(checkpoint)
        return checkpoint
