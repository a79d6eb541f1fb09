"""Adapters merged into the base that a model was built with: then they are weights like any others."""

from collections.abc import Sequence

from milepost.checkpoints.mapping import read_tensor
from milepost.core.protocols import Merger
from milepost.core.types import Adapter, Overrides, Table, Variable
from milepost.errors import Mismatch
from milepost.restore.adapters import described
from milepost.restore.matching import Restored, adopt
from milepost.restore.overrides import kept_by
from milepost.restore.values import check_finite


def merge(
    table: Table, adapter: Adapter, variables: Sequence[Variable], merger: Merger, overrides: Overrides | None
) -> Restored:
    """Read an adapter's tensors and return the values of all variables once they are merged into the base.

    The digest is that of the merged values: the base's are part of it, and a file of the merged model has the same.
    Raises Mismatch and what the merger raises, and NonfiniteWeights.
    """
    tensors = [item for item in table.tensors if item.role == "weights"]
    groups = sorted({item.group for item in tensors})
    if len(groups) > 1:
        raise Mismatch(f"an adapter's tensors stand in one wrapper; found {len(groups)}: {', '.join(groups)}")
    arrays = {item.name: read_tensor(item) for item in tensors}
    for name, array in arrays.items():
        check_finite(name, array)
    kept = set() if overrides is None else kept_by(overrides, [item.name for item in variables])
    values = {name: array for name, array in merger(adapter, arrays).items() if name not in kept}
    return adopt(values, variables, f"{described(adapter)}, merged by {merger.called}", overrides)
