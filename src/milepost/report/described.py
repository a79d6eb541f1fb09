"""One checkpoint described from a store: its row, its evaluations, how it was restored, and its metrics' tables."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from milepost._internal.text import numbered
from milepost.core.types import Array
from milepost.errors import StoreError
from milepost.report._folding import chosen, folded_lines
from milepost.report._metrics_on_record import evaluations_of
from milepost.report.near_ties import near_ties
from milepost.report.show import Evaluated, Section, describe
from milepost.report.table import Plain
from milepost.store.code_standing import Standing
from milepost.store.columns import ColumnsReader
from milepost.store.doubled_rows import doubled_rows
from milepost.store.evaluations import EvaluationFolder
from milepost.store.store import Store


def described(
    store: Store, checkpoint: Plain, records: Sequence[Plain], *, every: bool = False
) -> tuple[list[Section], list[Evaluated]]:
    """Return the sections on a checkpoint, and its evaluations; `every` describes those of earlier code whole, too."""
    specs, code = evaluations_of(store, checkpoint.get("digest")), store.codes.standing()
    standings = {key: code.of(spec) for key, spec in specs.items()}
    data = list(dict.fromkeys(str(record["data"]) for record in records))
    keys = [*specs] if every else chosen(specs, standings, data)
    evaluated = [_evaluated(store, key, specs[key], standings[key]) for key in keys]
    folded = folded_lines({key: spec for key, spec in specs.items() if key not in keys}, standings)
    return describe(checkpoint, records, evaluated, _notes(store, checkpoint), folded), evaluated


def tables_of(store: Store, key: str) -> Iterator[tuple[str, dict[str, Array]]]:
    """Yield name and arrays of every table of an evaluation: those of the largest coverage of each metric."""
    held = store.evaluation(key).results
    widest: dict[str, tuple[int, dict[str, Any]]] = {}
    for payload in held.read():
        name, rows = str(payload["metric"]["name"]), sum(stop - start for start, stop in payload.get("coverage", ()))
        if payload["estimator"] == "exact" and rows >= widest.get(name, (0, {}))[0]:
            widest[name] = (rows, payload)
    for name, (_, payload) in widest.items():
        if arrays := held.tables(payload):
            yield name, arrays


def class_names_of(store: Store, evaluated: Evaluated) -> Mapping[int, str]:
    """Return the class names of the data of an evaluation; none where it has none."""
    return store.dataset(evaluated.spec["data"]).class_names.read() if evaluated.spec.get("data") else {}


def _notes(store: Store, row: Plain) -> dict[str, Any]:
    """Return what was noted when the row was restored: format, mapping of names, casts, origin of its step."""
    for checkpoint in store.checkpoints(row["run"]) if row.get("run") else ():
        if (checkpoint.path, checkpoint.variant, checkpoint.digest) == (row["path"], row["variant"], row["digest"]):
            return {"step_source": checkpoint.step_source, **checkpoint.notes}
    return {}


def _kept(store: Store, folder: EvaluationFolder) -> Iterator[ColumnsReader]:
    """Yield the column sets of an evaluation that can be read."""
    for name in folder.column_sets():
        try:
            columns = folder.parts(name).read()
        except StoreError as error:
            store.on_damage(error)
            continue
        yield columns


def _data(store: Store, digest: str) -> tuple[dict[str, Any], str | None]:
    """Return what describes some data, with its classes, and a warning of rows that are there twice."""
    dataset = store.dataset(digest)
    data = dataset.spec() or {}
    if names := dataset.class_names.read():
        data = {**data, "classes": f"{len(names):,}: {numbered(names)}"}
    return data, doubled_rows(dataset, int(data["size"])) if data.get("size") else None


def _evaluated(store: Store, key: str, spec: Plain, standing: Standing) -> Evaluated:
    folder = store.evaluation(key)
    kept = list(_kept(store, folder))
    environments = [item for columns in kept for item in columns.environments()]
    ties = max(filter(None, map(near_ties, kept)), key=lambda found: found.rows, default=None)
    data, doubled = dict[str, Any](), None
    try:
        data, doubled = _data(store, str(spec["data"])) if spec.get("data") else (data, None)
    except StoreError as error:
        store.on_damage(error)
    return Evaluated(key, spec, data, environments, folder.failures.list(), ties, doubled, standing)
