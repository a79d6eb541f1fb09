"""PEFT's adapters: recognised with their base, never taken for the weights of a whole model."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.checkpoints.test_hf_shards import save_bin

from milepost.checkpoints.discovery import entry_of, find
from milepost.checkpoints.formats.peft import Peft
from milepost.checkpoints.formats.safetensors import Safetensors
from milepost.checkpoints.reader import read_table
from milepost.core.protocols import Entry
from milepost.core.types import Adapter, Array, CheckpointFiles, Table, Variable
from milepost.errors import CheckpointError, Corrupt, Mismatch, Torn
from milepost.restore.adapters import described
from milepost.restore.matching import restore
from milepost.testing.formats import FormatCase, Law, law_cut_files, law_flipped_bits
from milepost.watch.snapshot import Snapshot

LORA = {
    "base_model.model.fc.lora_A.weight": np.ones((2, 4), np.float32),
    "base_model.model.fc.lora_B.weight": np.ones((4, 2), np.float32),
}
CONFIG = {"base_model_name_or_path": "bert-base-uncased", "peft_type": "LORA", "r": 2, "lora_alpha": 4}
HOSTILE = (b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"r": ' + b"9" * 100_000 + b"}")
NET = [Variable("fc.weight", "float32", (4, 4)), Variable("fc.bias", "float32", (4,))]


class AnyName(Peft):
    """The format, for files of any name: the laws call theirs otherwise."""

    def find(self, entries: Sequence[Entry]) -> Iterator[CheckpointFiles]:
        """Claim each file as if it were called adapter_model.safetensors."""
        for entry in entries:
            place = Path(entry.path).with_name("adapter_model.safetensors")
            place.write_bytes(Path(entry.path).read_bytes())
            yield from super().find([entry_of(str(place))])


def adapter(folder: Path, config: Mapping[str, Any] | str = CONFIG, name: str = "adapter_model.safetensors") -> Table:
    """Write an adapter as PEFT does, and return its table."""
    save_file(LORA, folder / name) if name.endswith("safetensors") else save_bin(LORA, folder / name)
    (folder / "adapter_config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    (found,) = find([str(folder)])
    assert (found.format, found.state) == ("peft", "complete")
    return read_table(Peft(), found)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_model.bin"])
def test_an_adapter_is_known_with_its_base_and_its_config(name: str, tmp_path: Path) -> None:
    table = adapter(tmp_path, name=name)
    assert table.adapter == Adapter("bert-base-uncased", "LORA", CONFIG)
    assert {item.name for item in table.tensors} == LORA.keys()


def test_an_adapter_is_refused_as_a_model_and_the_message_names_its_base(tmp_path: Path) -> None:
    table = adapter(tmp_path)
    with pytest.raises(Mismatch, match=r"a LoRA adapter of the base model bert-base-uncased, not weights") as caught:
        restore(table, NET, "raw")
    assert "--allow-missing" not in str(caught.value)


def test_the_bases_values_never_stand_in_for_what_an_adapter_lacks(tmp_path: Path) -> None:
    save_file({**LORA, "fc.bias": np.ones(4, np.float32)}, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))
    table = read_table(Peft(), find([str(tmp_path)])[0])
    with pytest.raises(Mismatch, match="a LoRA adapter of"):
        restore(table, NET, "raw", initial=lambda names: {name: np.zeros((4, 4), np.float32) for name in names})


def test_a_function_of_arrays_gets_an_adapters_tensors_as_they_are(tmp_path: Path) -> None:
    assert restore(adapter(tmp_path), None, "raw").arrays.keys() == LORA.keys()


def test_an_adapter_without_its_config_is_being_written(tmp_path: Path) -> None:
    save_file(LORA, tmp_path / "adapter_model.safetensors")
    (found,) = find([str(tmp_path)])
    assert found.state == "writing"
    with pytest.raises(Torn, match=r"adapter_config.json, which PEFT writes after the weights, is not there"):
        read_table(Peft(), found)


@pytest.mark.parametrize(
    ("config", "kind", "words"),
    [("[]", Corrupt, "a JSON object"), ("{", Torn, "no end"), ("{x}", Corrupt, "not proper")],
)
def test_a_damaged_config_is_named(config: str, kind: type[Exception], words: str, tmp_path: Path) -> None:
    with pytest.raises(kind, match=words):
        adapter(tmp_path, config)


@pytest.mark.parametrize("config", HOSTILE, ids=lambda config: repr(config[:9]))
def test_a_hostile_config_is_an_error_of_the_tree(config: bytes, tmp_path: Path) -> None:
    adapter(tmp_path)
    (tmp_path / "adapter_config.json").write_bytes(config)
    (found,) = find([str(tmp_path)])
    with pytest.raises(CheckpointError):
        read_table(Peft(), found)


@pytest.mark.parametrize("law", [law_cut_files, law_flipped_bits], ids=lambda law: law.__name__)
def test_damaged_weights_keep_the_laws_of_formats(law: Law, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(CONFIG))

    def write(path: Path, arrays: Mapping[str, Array]) -> None:
        save_file({name: np.array(array, order="C") for name, array in arrays.items()}, path)

    law(FormatCase(AnyName(), write, ".safetensors"), tmp_path)


def test_a_config_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "secret.json").write_text(json.dumps(CONFIG))
    save_file(LORA, tmp_path / "run" / "adapter_model.safetensors")
    (tmp_path / "run" / "adapter_config.json").symlink_to(tmp_path / "secret.json")
    found = next(one for one in find([str(tmp_path / "run")]) if one.format == "peft")
    with pytest.raises(Corrupt, match="is a symbolic link to"):
        read_table(Peft(), found)


def test_a_config_belongs_to_its_weights_in_a_watch(tmp_path: Path) -> None:
    adapter(tmp_path)
    snapshot = Snapshot([str(tmp_path)])
    assert [file.path for file in snapshot.scan().new] == [str(tmp_path / "adapter_model.safetensors")]
    assert snapshot.members(str(tmp_path / "adapter_model.safetensors")) == [str(tmp_path / "adapter_config.json")]


def test_lora_weights_of_other_writers_are_known_by_their_names(tmp_path: Path) -> None:
    names = ("lora_unet_mid.lora_down.weight", "lora_unet_mid.lora_up.weight", "lora_unet_mid.alpha")
    save_file({name: np.ones(2, np.float32) for name in names}, tmp_path / "style.safetensors")
    table = read_table(Safetensors(), find([str(tmp_path)])[0])
    assert table.adapter == Adapter(None, "LORA", {})
    with pytest.raises(Mismatch, match=r"a LoRA adapter \(the file names no base model\)"):
        restore(table, NET, "raw")


def test_a_config_without_a_base_names_none() -> None:
    assert described(Adapter(None, "IA3", {"r": 2})) == "an IA3 adapter (its config names no base model)"


def test_a_model_with_lora_layers_of_its_own_is_a_model(tmp_path: Path) -> None:
    save_file({**LORA, "fc.weight": np.ones((4, 4), np.float32)}, tmp_path / "model.safetensors")
    assert read_table(Safetensors(), find([str(tmp_path)])[0]).adapter is None


@pytest.mark.wide
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of theirs
def test_what_peft_writes_is_an_adapter(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=100
    )
    base = transformers.BertForSequenceClassification(config)
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, task_type="SEQ_CLS"))
    model.save_pretrained(tmp_path)
    (found,) = [one for one in find([str(tmp_path)]) if one.failure is None]
    table = read_table(Peft(), found)
    assert table.adapter is not None
    assert (table.adapter.kind, table.adapter.config["r"]) == ("LORA", 2)
