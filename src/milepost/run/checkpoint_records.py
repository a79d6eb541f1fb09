"""Identifying checkpoints: the weights that a file holds, known from an earlier run by its identity, or read now.

A record is published once for a path, file identity, variant and model.  A failure is a record too: the next run tries
it again where its kind may pass, else once the file, or the model, changes.  Where a file's ctime alone differs, its
weights are digested again: a link or new rights change nothing, a program that restored size and mtime did.
"""

from collections.abc import Callable
from dataclasses import replace

from milepost._internal.fileid import stamp
from milepost._internal.serialization import now
from milepost.checkpoints._files.beside import settled_step
from milepost.checkpoints._files.own import name_of
from milepost.checkpoints._files.shards import reworded
from milepost.checkpoints.folders import run_folder
from milepost.core.escaping import one_line
from milepost.core.sessions import Session
from milepost.core.types import CheckpointFiles, Description, Failure, Identified
from milepost.errors import StoreFull
from milepost.run.planning import tried_again
from milepost.store.checkpoint_records import CheckpointRecord, CheckpointRecords
from milepost.store.store import Store


class Identifier:
    """Identifies each checkpoint at most once a run; `place` returns where it is read (at its pin)."""

    def __init__(self, store: Store, session: Session, spec: Description, *, publish: bool, again: bool) -> None:
        """Take the evaluator's description; with `publish` False nothing is written."""
        self._store = store
        self._records = CheckpointRecords(store.storage)
        self._session = session
        self._spec = spec
        self._publish = publish
        self._again = again
        self._runs: dict[str, str] = {}
        self._known: dict[str, dict[CheckpointFiles, list[CheckpointRecord]]] = {}
        self.place: Callable[[CheckpointFiles], CheckpointFiles] = lambda files: files

    def identify(self, files: CheckpointFiles) -> list[CheckpointRecord]:
        """Return one record a variant of the evaluation."""
        known = self._known.setdefault(files.path, {})
        if files not in known:
            known[files] = self._identify(files)
        return known[files]

    def known(self, files: CheckpointFiles) -> list[CheckpointRecord]:
        """Return what `identify` returned before, nothing where it was not asked."""
        return self._known.get(files.path, {}).get(files, [])

    def forget(self, path: str) -> None:
        """Hold nothing of what lies under a path, and look at it again when next asked."""
        self._known.pop(path, None)

    def run_of(self, path: str) -> str:
        """Return the id of the run of the checkpoint at a path."""
        folder = run_folder(path)
        if folder not in self._runs:
            try:
                self._runs[folder] = self._store.run_of(folder, note=self._publish)
            except StoreFull:  # it is noted with the first record that finds room
                return self._store.run_of(folder, note=False)
        return self._runs[folder]

    def unidentified(self, files: CheckpointFiles, kind: str, message: str) -> CheckpointRecord:
        """Return the record of a checkpoint that could not be identified; it is not put."""
        run = self._store.run_of(run_folder(files.path), note=False)
        return _record(run, files, Identified("raw", failure=Failure(kind, message)), self._spec.signature)

    def _identify(self, files: CheckpointFiles) -> list[CheckpointRecord]:
        """Return what each variant of a checkpoint is: known from an earlier run, or read now."""
        run = self.run_of(files.path)
        if files.format is None and files.failure is not None:
            known = self._store.checkpoint(run, files.path, files.identity)
            if known is not None and not (known.failure and self._store.retry_requests.has(known)):
                return [known]
            attempt = known.attempt + 1 if known else 1
            failed = Identified("raw", failure=Failure(*files.failure))
            return [self._add(_record(run, files, failed, "", attempt))]
        signature = self._spec.signature
        cached = {
            variant: self._store.checkpoint(run, files.path, files.identity, variant, signature)
            for variant in self._spec.variants
        }
        place = self.place(files)
        stamped = stamp(place.paths)
        settled = {
            name: found
            for name, item in cached.items()
            if item is not None and not self._retry(item) and (found := self._verified(item, stamped)) is not None
        }
        asked = [variant for variant in cached if variant not in settled]
        if asked:
            for row in self._session.identify(place, asked):
                known = cached[row.variant]
                if row.failure is not None:
                    message = reworded(row.failure.message, place.path, files.path)
                    row = replace(row, failure=replace(row.failure, message=message))  # noqa: PLW2901 - the same row, reworded
                if known is not None and known.digest is not None:
                    held = replace(_record(run, files, row, signature), stamp=stamped)
                    settled[row.variant] = self._digested_again(known, held)
                    continue
                attempt = known.attempt + 1 if known else 1
                settled[row.variant] = self._add(replace(_record(run, files, row, signature, attempt), stamp=stamped))
        return [settled[variant] for variant in self._spec.variants]

    def restamped(self, files: CheckpointFiles, before: str, after: str) -> None:
        """Note that Milepost itself changed the ctime of a checkpoint's files: what they held before they hold now."""
        run = self.run_of(files.path)
        for variant in self._spec.variants if self._publish else ():
            known = self._store.checkpoint(run, files.path, files.identity, variant, self._spec.signature)
            if known is not None and known.digest is not None:
                self._records.verify(known, after, before)

    def _verified(self, checkpoint: CheckpointRecord, stamped: str) -> CheckpointRecord | None:
        """Return the record of what the files hold now; None where their weights are to be digested again.

        A failure on record gives no number, and is tried again by its own rules.
        """
        if checkpoint.failure is not None or not stamped:
            return checkpoint
        return self._records.verified(checkpoint, stamped)

    def _digested_again(self, known: CheckpointRecord, now_held: CheckpointRecord) -> CheckpointRecord:
        """Return the record of what the files hold: `known`, or a further one where they were rewritten."""
        same = known.digest == now_held.digest
        if self._publish and same:
            self._records.verify(known, now_held.stamp)
        elif self._publish:
            self._records.add_rewritten(now_held)
        return known if same else now_held

    def _retry(self, checkpoint: CheckpointRecord) -> bool:
        """Return whether a failure on record is tried once more."""
        return checkpoint.failure is not None and (
            tried_again(checkpoint.failure[0], again=self._again) or self._store.retry_requests.has(checkpoint)
        )

    def _add(self, checkpoint: CheckpointRecord) -> CheckpointRecord:
        if self._publish:
            self._store.add_checkpoint(checkpoint)
        return checkpoint


def _record(run: str, files: CheckpointFiles, row: Identified, signature: str, attempt: int = 1) -> CheckpointRecord:
    """Return the record of one variant as it was identified."""
    step, source = settled_step(files.path, row.step, row.step_source)
    failure = None
    if row.failure is not None:
        failure = row.failure.kind, row.failure.message.removeprefix(one_line(f"{files.path}: "))
    return CheckpointRecord(
        run=run,
        path=files.path,
        identity=files.identity,
        name=name_of(files.path),
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
