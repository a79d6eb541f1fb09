"""A collate function that drops items is refused with their number; what the message advises works."""

from typing import Any

import numpy as np
import pytest

from milepost.data.torch_loader import TorchLoader
from milepost.errors import DataError

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader, Dataset, Subset, default_collate  # noqa: E402 - torch may be absent


class Broken(Dataset[Any]):
    """Ninety rows, of which some cannot be read: these are None."""

    def __len__(self) -> int:
        return 90

    def __getitem__(self, row: int) -> Any:
        return None if row % 17 == 5 else (np.full(2, row, np.float32), row)


def dropping(items: list[Any]) -> Any:
    return default_collate([item for item in items if item is not None])


def rows(source: TorchLoader) -> list[int]:
    return [label for batch in source.batches(0, 90, 20) for label in batch.labels.tolist()]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("collate", [dropping, default_collate])
def test_items_that_are_none_are_named(collate: Any, workers: int) -> None:
    source = TorchLoader(DataLoader(Broken(), batch_size=20, collate_fn=collate, num_workers=workers), order="natural")
    with pytest.raises(DataError, match="item 5 of the Broken is None, which a collate function may drop") as caught:
        rows(source) if collate is default_collate else source.fingerprint()
    assert "Subset(data, [i for i in range(len(data)) if data[i] is not None])" in str(caught.value)


def test_a_batch_with_fewer_rows_says_so() -> None:
    source = TorchLoader(DataLoader(Broken(), batch_size=20, collate_fn=dropping), order="natural")
    with pytest.raises(DataError, match=r"the collate function gave 19 rows for 20 items: .*data.Subset"):
        rows(source)


def test_leaving_them_out_beforehand_works() -> None:
    data = Broken()
    whole = Subset(data, [i for i in range(len(data)) if data[i] is not None])
    source = TorchLoader(DataLoader(whole, batch_size=20, collate_fn=dropping))
    assert source.size == 85
    assert sorted(rows(source)) == [row for row in range(90) if row % 17 != 5]
    source.fingerprint()
