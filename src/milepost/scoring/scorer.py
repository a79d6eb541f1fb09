"""Scores the evaluations of one store from their kept columns: what all checkpoints share is read once."""

from collections.abc import Mapping, Sequence

from milepost._internal.serialization import digest
from milepost.core.capabilities import capability
from milepost.core.protocols import Metric, RandomAccess, Source
from milepost.core.specs import spec_of
from milepost.core.types import Array, Json, ScoreRequest
from milepost.scoring.columns import Scored, scored_of, slices_of
from milepost.scoring.records import records
from milepost.scoring.slices import complete, rows_by_label
from milepost.store.datasets import Dataset
from milepost.store.store import Store


class Scorer:
    """Computes and publishes records of one evaluation's metrics, for any checkpoint."""

    def __init__(self, store: Store, metrics: Sequence[Metric], sources: Mapping[str, Source]) -> None:
        self._store = store
        self._metrics = {digest(spec_of(metric)): metric for metric in metrics}
        self._sources = sources
        self._datasets: dict[str, Dataset] = {}
        self._slices: dict[tuple[Json, ...], dict[str, dict[str, Array]]] = {}

    def score(self, request: ScoreRequest) -> list[dict[str, Json]]:
        """Compute and publish the records of an evaluation that are not in the store yet; return the new ones."""
        folder = self._store.evaluation(request.key)
        folder.remember()
        try:
            order = capability(self._sources[request.data], RandomAccess)
            scored = scored_of(self._store, request.key, request.column_set, request.stop, order, self._datasets)
            wanted = [metric for name, metric in self._metrics.items() if name in request.metrics]
            made = list(records(scored, wanted, request.sizes, self._sliced(request, scored)))
            folder.results.publish(made)
        finally:
            folder.finished()
        return [payload for payload, _ in made]

    def _sliced(self, request: ScoreRequest, scored: Scored) -> dict[str, dict[str, Array]]:
        """Return the rows of each slice that is asked for, by label: the same for every checkpoint."""
        asked = request.digest, request.stop, *request.slices
        if request.slices and asked not in self._slices:
            source = self._sources[request.data]
            complete(self._store.dataset(request.digest), source, request.slices, request.stop)
            known = slices_of(self._store, request.digest, request.stop)
            self._slices[asked] = {name: rows_by_label(scored, name, known[name]) for name in request.slices}
        return self._slices.get(asked, {})
