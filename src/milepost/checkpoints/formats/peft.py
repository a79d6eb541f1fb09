"""PEFT's adapters: adapter_model.safetensors (or .bin), and adapter_config.json, which PEFT writes after it.

An adapter's tensors change those of a base model, whose name the config has.  They are read as they are; the table says
that they are an adapter's, so that nobody takes the base's numbers for theirs.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from milepost._internal.bounded import AGAIN, CUT, opened
from milepost._internal.fileid import identity_of
from milepost._internal.json_text import parsed
from milepost._internal.serialization import to_plain
from milepost.checkpoints._files.layout import refused
from milepost.checkpoints._files.links import check_shards
from milepost.checkpoints.formats._huggingface.weights import beside, read_weights, state_of
from milepost.core.protocols import Entry
from milepost.core.types import Adapter, CheckpointFiles, Json, Table, Tensor
from milepost.errors import Corrupt, Torn

CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_CONFIG_LIMIT = 1 << 20
_TEXT_LIMIT = 500
_LORA = re.compile(r"(?:^|[._])lora(?:_[AB]|_embedding_[AB]|_magnitude_vector|_up|_down|\.up|\.down|_mid)(?:\.|$)")
_BESIDE = re.compile(r"\.(?:alpha|dora_scale)$")


class Peft:
    """Reads an adapter's weights and its config as one checkpoint."""

    name = "peft"

    def main_name(self, name: str) -> str | None:
        """Return the name of the weights that a config belongs to; None for any other file.

        >>> Peft().main_name("adapter_config.json")
        'adapter_model.safetensors'
        """
        return _WEIGHTS[0] if name == CONFIG else None

    def find(self, entries: Sequence[Entry]) -> Iterator[CheckpointFiles]:
        """Claim PEFT's files of weights by their names; "writing" where they are not whole, or without the config."""
        for entry in entries:
            if entry.is_dir or os.path.basename(entry.path) not in _WEIGHTS:
                continue
            config = beside(entry.path, CONFIG)
            now, there = identity_of(entry.path), os.path.isfile(config)
            files = (entry.path, config) if there else (entry.path,)
            yield CheckpointFiles(entry.path, self.name, files, now, state_of([entry.path]) if there else "writing")

    def read(self, files: CheckpointFiles) -> Table:
        """Return the table of the weights, with the adapter's config.

        Raises `Torn` where the config is absent or cut off, and the errors of the weights' own format.
        """
        config = _config(files.path)
        base, kind = config.get("base_model_name_or_path"), config.get("peft_type")
        named = base[:_TEXT_LIMIT] if isinstance(base, str) and base else None
        adapter = Adapter(named, kind[:_TEXT_LIMIT] if isinstance(kind, str) else "LORA", config)
        # The config decides what the tensors come to, and nothing guards it.
        return replace(read_weights(files.path), format=self.name, adapter=adapter, checksum=False)

    def fetch(self, tensor: Tensor) -> bytes:
        """Refuse: nothing in these files is compressed; the extent has the reason."""
        raise refused(tensor)


def adapter_among(tensors: Sequence[Tensor]) -> Adapter | None:
    """Return what is known of weights that are nothing but LoRA's by their names; None for any others.

    >>> from milepost.core.types import Extent
    >>> at = Extent("a.pt", 0, 0)
    >>> adapter_among([Tensor("fc.lora_A.weight", "float32", (2, 4), at)]).kind
    'LORA'
    >>> adapter_among([Tensor("fc.lora_A.weight", "float32", (2, 4), at), Tensor("fc.weight", "float32", (4, 4), at)])
    """
    names = [item.name for item in tensors if item.role == "weights"]
    some = any(_LORA.search(name) for name in names)
    return Adapter(None, "LORA") if some and all(_LORA.search(name) or _BESIDE.search(name) for name in names) else None


def _config(path: str) -> dict[str, Json]:
    config = beside(path, CONFIG)
    if not os.path.lexists(config):
        raise Torn(f"{path}: {CUT}: {CONFIG}, which PEFT writes after the weights, is not there{AGAIN}")
    check_shards(path, [config])
    with opened(config) as file:
        if file.size > _CONFIG_LIMIT:
            raise Corrupt(f"{config}: {file.size:,} bytes, at most {_CONFIG_LIMIT:,} are read")
        raw = file.at(0, file.size, "the config")
    try:
        held = parsed(raw)
        to_plain(held)  # it crosses to other processes: what is nested too deep for that is refused here
    except (ValueError, RecursionError) as error:
        if not raw.rstrip().endswith(b"}"):
            raise Torn(f"{config}: {CUT}: it has no end{AGAIN}") from error
        raise Corrupt(f"{config}: not proper JSON: {str(error)[:120]}") from error
    if not isinstance(held, dict):
        raise Corrupt(f"{config}: expected a JSON object, found {type(held).__name__}")
    return held
