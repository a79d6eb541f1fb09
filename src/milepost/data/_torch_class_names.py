"""The classes' names that a PyTorch data set holds: torchvision's `classes`, a Hugging Face column's `features`."""

from collections.abc import Mapping, Sequence
from typing import Any

from milepost.errors import MissingExtra

try:
    from torch.utils import data as torch_data
except ModuleNotFoundError as error:
    raise MissingExtra("torch", "torch") from error

Names = dict[int, str]


def class_names_of(dataset: Any, label: str | None) -> Names | None:
    """Return names by the data's label, where the data set holds them; `label` names the entry of dict items.

    Data sets that wrap another are looked into where they leave its labels as they are: `Subset`, and
    `ConcatDataset` of data sets with the same names.
    """
    if isinstance(dataset, torch_data.Subset):
        return class_names_of(dataset.dataset, label)
    if isinstance(dataset, torch_data.ConcatDataset):
        first, *others = [class_names_of(item, label) for item in dataset.datasets]
        return first if all(names == first for names in others) else None
    features = getattr(dataset, "features", None)
    if isinstance(features, Mapping):
        return _listed(getattr(features.get(label), "names", None))
    # Whatever turns labels into others makes the names those of something else.
    if getattr(dataset, "target_transform", None) is not None:
        return None
    names, numbers = _listed(getattr(dataset, "classes", None)), getattr(dataset, "class_to_idx", None)
    if names is None or not isinstance(numbers, Mapping):
        return names
    found = {number: str(name) for name, number in numbers.items() if name in names.values()}
    return found if len(found) == len(names) and all(isinstance(number, int) for number in found) else names


def _listed(names: Any) -> Names | None:
    """Return names by place; of several for one class, as ImageNet has them, the first."""
    if not isinstance(names, Sequence) or isinstance(names, str) or not names:
        return None
    firsts = [name[0] if isinstance(name, tuple) and name else name for name in names]
    return dict(enumerate(firsts)) if all(isinstance(name, str) for name in firsts) else None
