"""Numbers and settings in a checkpoint and in files beside it: shown by `inspect`, built from nothing, bounded."""

import argparse
import enum
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from tests.checkpoints import hdf5_files as files

from milepost.checkpoints._files.facts import MOST, flat, of_yaml
from milepost.checkpoints.reader import Reader
from milepost.core.types import Inspection

W = {"weight": torch.ones(2, 2)}


class Strategy(enum.Enum):
    """An enumeration of a trainer's."""

    EPOCH = "epoch"


def inspected(path: Path) -> Inspection:
    return Reader().inspect(str(path))


@pytest.mark.parametrize("zipped", [True, False])
def test_scalars_of_a_torch_file_are_found_beside_its_weights(zipped: bool, tmp_path: Path) -> None:
    args = argparse.Namespace(lr=0.1, how=Strategy.EPOCH, out=Path("runs/a"), sizes=[1, 2], none=None)
    held = {
        "epoch": 12,
        "best_prec1": torch.tensor(76.5),
        "val_loss": np.float64(0.25),
        "seen": np.int64(-7),
        "arch": "resnet18",
        "args": args,
        "state_dict": W,
        "optimizer": {"param_groups": [{"lr": 0.1}], "state": {}},
        "lr_schedulers": [{"last_epoch": 12}],
        "loops": {"x": 1},
        "hyper_parameters": {"hidden": 64},
    }
    torch.save(held, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    assert inspected(tmp_path / "a.pt").facts == {
        "epoch": 12,
        "val_loss": 0.25,
        "seen": -7,
        "arch": "resnet18",
        "best_prec1": 76.5,
        "args.lr": 0.1,
        "args.how": "epoch",
        "args.out": "runs/a",
        "args.sizes": [1, 2],
        "args.none": None,
        "hyper_parameters.hidden": 64,
    }


NUMBERS = (np.float32(0.5), np.float16(0.5), np.int8(3), np.uint8(3), np.bool_(True), np.int32(-3))


@pytest.mark.parametrize("value", NUMBERS)
def test_numpys_scalars_are_read_from_their_bytes(value: Any, tmp_path: Path) -> None:
    torch.save({"x": value, **W}, tmp_path / "a.pt")
    assert inspected(tmp_path / "a.pt").facts["x"] == value.item()


def test_a_big_endian_numpy_scalar_is_read_as_such(tmp_path: Path) -> None:
    torch.save({"x": np.array(2.5, ">f8")[()], **W}, tmp_path / "a.pt")
    assert inspected(tmp_path / "a.pt").facts["x"] == 2.5


def test_numbers_that_json_has_no_word_for_are_texts(tmp_path: Path) -> None:
    torch.save({"loss": float("nan"), "best": float("-inf"), "huge": 1 << 70, **W}, tmp_path / "a.pt")
    assert inspected(tmp_path / "a.pt").facts == {"loss": "nan", "best": "-inf"}


def test_names_of_a_state_dict_are_no_scalars(tmp_path: Path) -> None:
    torch.save(torch.nn.BatchNorm1d(2).state_dict(), tmp_path / "bn.pt")
    torch.save({"bn1.num_batches_tracked": torch.tensor(3), "scale": torch.tensor(2.0)}, tmp_path / "a.pt")
    assert inspected(tmp_path / "a.pt").facts == {"scale": 2.0}


def test_nothing_that_a_file_names_is_called(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "executed",)

    torch.save({"epoch": Trap(), "step": 3, **W}, tmp_path / "a.pt")
    assert inspected(tmp_path / "a.pt").facts == {"step": 3}
    assert not (tmp_path / "executed").exists()


def test_facts_are_bounded() -> None:
    endless: dict[str, Any] = {}
    endless |= {f"k{number}": endless for number in range(100)}
    assert flat(endless) == {}
    assert len(flat({f"k{number}": number for number in range(9000)})) == MOST
    assert len(flat({"text": "x" * 9000})["text"]) == 300
    assert flat({"many": list(range(100)), ("a", "tuple"): 1, "deep": {"a": {"b": {"c": {"d": 1}}}}}) == {}


def test_settings_in_yaml_are_read_line_by_line_and_no_object_is_built() -> None:
    text = """# timm
lr: 0.05
mean: null
sched: "cosine"
flag: true
model: 'a: b'
path: /a:b
object: !!python/object/apply:os.system ["touch x"]
ratio:
- 0.75
- 1.33
opt:
  betas: 2
  deep:
    er: 3
alias: *x
broken
"""
    assert of_yaml(text) == {
        "lr": 0.05, "mean": None, "sched": "cosine", "flag": True, "model": "a: b", "path": "/a:b",
        "ratio": [0.75, 1.33], "opt.betas": 2,
    }  # fmt: skip


def test_hugging_faces_files_are_shown_the_telling_first(tmp_path: Path) -> None:
    save_file({"w": np.ones(2, np.float32)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = {"vocab_size": 9, "model_type": "bert", "architectures": ["Bert"], "id2label": {"0": "a", "1": "b"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    log = [{"eval_loss": 0.5, "step": 1}, {"eval_loss": 0.25, "eval_accuracy": 0.9, "step": 2}, {"loss": 0.1}]
    state = {
        "epoch": 1.5,
        "best_metric": 0.9,
        "global_step": 7,
        "log_history": log,
        "stateful_callbacks": {"a": {"b": 1}},
    }
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    found = inspected(tmp_path)
    assert found.facts == {"format": "pt"}
    assert list(found.beside["config.json"].items()) == [
        ("model_type", "bert"), ("architectures", ["Bert"]), ("num_labels", 2), ("vocab_size", 9),
    ]  # fmt: skip
    assert list(found.beside["trainer_state.json"].items()) == [
        ("global_step", 7), ("epoch", 1.5), ("best_metric", 0.9), ("eval_loss", 0.25), ("eval_accuracy", 0.9),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "settings"),
    [("version_0/checkpoints", "version_0/hparams.yaml"), ("run", "run/args.yaml"), ("run/weights", "run/args.yaml")],
)
def test_settings_of_lightning_timm_and_ultralytics_are_found(where: str, settings: str, tmp_path: Path) -> None:
    (tmp_path / where).mkdir(parents=True)
    torch.save(W, tmp_path / where / "last.pt")
    (tmp_path / settings).write_text("lr: 0.5\n")
    ((name, facts),) = inspected(tmp_path / where / "last.pt").beside.items()
    assert (Path(name).name, facts) == (Path(settings).name, {"lr": 0.5})


def test_a_file_beside_that_leads_elsewhere_or_is_damaged_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    torch.save(W, tmp_path / "run" / "last.pt")
    (tmp_path / "secret.yaml").write_text("key: 1\n")
    (tmp_path / "run" / "args.yaml").symlink_to(tmp_path / "secret.yaml")
    (tmp_path / "run" / "config.json").write_text('{"a": ')
    (tmp_path / "run" / "trainer_state.json").write_text("[1]")
    assert inspected(tmp_path / "run" / "last.pt").beside == {}


def test_a_keras_archive_says_what_the_model_is_without_building_it(tmp_path: Path) -> None:
    compiled = {
        "optimizer": {"class_name": "Adam", "config": {"learning_rate": 0.001}},
        "loss": "mse",
        "metrics": ["mae"],
    }
    config = {"class_name": "Sequential", "config": {"name": "net"}, "compile_config": compiled}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", files.made(files.layers({"dense/0": np.ones((2, 2), np.float32)})))
    (tmp_path / "a.keras").write_bytes(made.getvalue())
    assert inspected(tmp_path / "a.keras").facts == {
        "keras_version": "3.15.1", "model": "Sequential", "name": "net", "optimizer": "Adam", "learning_rate": 0.001,
        "loss": "mse", "metrics": ["mae"],
    }  # fmt: skip


def test_a_settings_file_alone_shows_what_it_holds(tmp_path: Path) -> None:
    torch.save(argparse.Namespace(lr=0.1), tmp_path / "args.pt")
    found = inspected(tmp_path / "args.pt")
    assert (found.facts, found.table.tensors) == ({"lr": 0.1}, ())
    assert pickle.loads(pickle.dumps(found)) == found
