"""Weights that are an adapter's: what to say where they are asked to be a whole model's."""

from milepost.core.types import Adapter, Table
from milepost.errors import Mismatch


def described(adapter: Adapter) -> str:
    """Return in words what an adapter is, and of which base.

    >>> described(Adapter("bert-base-uncased", "LORA"))
    'a LoRA adapter of the base model bert-base-uncased'
    """
    kind = "LoRA" if adapter.kind == "LORA" else adapter.kind
    base = f"of the base model {adapter.base}" if adapter.base else f"({_unnamed(adapter)})"
    return f"{'an' if kind[0] in 'AEIO' else 'a'} {kind} adapter {base}"


def _unnamed(adapter: Adapter) -> str:
    return "its config names no base model" if adapter.config else "the file names no base model"


def refuse_adapter(table: Table, why: Mismatch) -> None:
    """Raise `Mismatch` where a table that does not fit the model is an adapter's; what is missing is then the base."""
    if table.adapter is not None:
        raise Mismatch(
            f"{described(table.adapter)}, not weights of a whole model: its {len(table.tensors)} tensors only change "
            "the base's; TorchModel(build, adapter=True) merges them into the base that `build` loads; or merge them "
            "yourself (PEFT's merge_and_unload) and save that"
        ) from why
