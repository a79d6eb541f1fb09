"""Files that trainers write beside a checkpoint, as `inspect` shows them: Hugging Face's, Lightning's, timm's."""

import os
from collections.abc import Mapping
from typing import Any

from milepost._internal.bounded import opened
from milepost.checkpoints._files.beside import TRAINER_STATE, json_beside
from milepost.checkpoints._files.facts import flat, of_yaml
from milepost.checkpoints._files.links import check_shards
from milepost.core.types import Json
from milepost.errors import CheckpointError

_JSON = (TRAINER_STATE, "config.json", "eval_results.json", "all_results.json")
_YAML = ("args.yaml", "hparams.yaml")
"""timm's and ultralytics' arguments, Lightning's hyper-parameters."""
_YAML_LIMIT = 1 << 20
_INNER = {"checkpoints", "weights"}
"""Folders within a run's, where trainers put the files while the settings lie above."""
_FIRST = {
    TRAINER_STATE: ("global_step", "epoch", "best_metric", "best_global_step", "best_model_checkpoint", "max_steps"),
    "config.json": ("model_type", "architectures", "num_labels", "problem_type", "hidden_size", "num_hidden_layers"),
}


def side_files_of(path: str) -> list[str]:
    """Return the paths of the files beside a checkpoint that `inspect` reads, and that are there."""
    return [file for file in (*_beside(path, _JSON), *_beside(path, _YAML), *_above(path)) if os.path.isfile(file)]


def facts_beside(path: str) -> dict[str, dict[str, Json]]:
    """Return what the files beside a checkpoint hold, by their names; {} for those that cannot be read.

    >>> facts_beside("/nowhere/model.safetensors")
    {}
    """
    found = {}
    for file in side_files_of(path):
        name = os.path.relpath(file, os.path.dirname(path))
        held = _of_json(path, name) if name.endswith(".json") else _of_yaml(path, file)
        if held:
            found[name] = held
    return found


def _beside(path: str, names: tuple[str, ...]) -> list[str]:
    return [os.path.join(os.path.dirname(path), name) for name in names]


def _above(path: str) -> list[str]:
    folder = os.path.dirname(os.path.abspath(path))
    return _beside(folder, _YAML) if os.path.basename(folder) in _INNER else []


def _of_json(path: str, name: str) -> dict[str, Json]:
    held = json_beside(path, name)
    if not isinstance(held, dict):
        return {}
    held = dict(held)
    if name == TRAINER_STATE:
        held |= _last_evaluation(held.pop("log_history", None))
        held.pop("stateful_callbacks", None)
    if name == "config.json" and isinstance(held.get("id2label"), dict):
        held.setdefault("num_labels", len(held["id2label"]))
    facts = flat({key: value for key, value in held.items() if key not in {"id2label", "label2id"}})
    first = {key: facts[key] for key in _FIRST.get(name, ()) if key in facts}
    return first | facts


def _last_evaluation(log: Any) -> Mapping[str, Json]:
    """Return the numbers of the last evaluation that a trainer logged."""
    for entry in reversed(log) if isinstance(log, list) else ():
        numbers = (
            {key: value for key, value in entry.items() if key.startswith("eval_")} if isinstance(entry, dict) else {}
        )
        if numbers:
            return numbers
    return {}


def _of_yaml(path: str, file: str) -> dict[str, Json]:
    folder = os.path.dirname(os.path.abspath(path))
    try:
        # A file above lies beside the folder of the checkpoint.
        check_shards(path if os.path.dirname(os.path.abspath(file)) == folder else folder, [file])
        with opened(file) as held:
            raw = held.at(0, min(held.size, _YAML_LIMIT), "the settings")
    except CheckpointError:
        return {}
    return of_yaml(raw.decode("utf-8", "replace"))
