"""Weights that are an adapter's: what to say where they are asked to be a whole model's."""

from milepost.core.types import Adapter, Table
from milepost.errors import Mismatch


def described(adapter: Adapter) -> str:
    """Return in words what an adapter is, and of which base.

    >>> described(Adapter("bert-base-uncased", "LORA"))
    'a LORA adapter of the base model bert-base-uncased'
    """
    return f"a {adapter.kind} adapter of {f'the base model {adapter.base}' if adapter.base else 'a base not named'}"


def refuse_adapter(table: Table, why: Mismatch) -> None:
    """Raise `Mismatch` where a table that does not fit the model is an adapter's; what is missing is then the base."""
    if table.adapter is not None:
        raise Mismatch(
            f"{described(table.adapter)}, not weights of a whole model: its {len(table.tensors)} tensors only change "
            "the base's; TorchModel(build, adapter=True) merges them into the base that `build` loads; or merge them "
            "yourself (PEFT's merge_and_unload) and save that"
        ) from why
