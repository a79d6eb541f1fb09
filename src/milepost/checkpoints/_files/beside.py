"""Files that trainers write beside a checkpoint: what they say of it is used where the weights do not say it."""

import os
import re

from milepost._internal.bounded import opened
from milepost._internal.budget import extend
from milepost._internal.json_text import parsed
from milepost.checkpoints._files.links import check_shards
from milepost.checkpoints._files.roles import STEP_LIMIT
from milepost.checkpoints.names import HF_INDEXES, step_of_name
from milepost.core.types import Json
from milepost.errors import CheckpointError

TRAINER_STATE = "trainer_state.json"
_HF_WEIGHTS = re.compile(r"(?:pytorch_model|model|adapter_model)(?:\.\w+)?\.(?:safetensors|bin)(?:\.index\.json)?")
_JSON_LIMIT = 32 << 20
"""Most bytes of a file beside: a trainer's state logs each step."""


def step_beside(path: str) -> tuple[int | None, str | None]:
    """Return the step in the `trainer_state.json` beside weights of Hugging Face's, and where it stands; else None."""
    if not is_hugging_face(path):
        return None, None
    held = json_beside(path, TRAINER_STATE)
    step = held.get("global_step") if isinstance(held, dict) else None
    if type(step) is not int or not 0 <= step < STEP_LIMIT:
        return None, None
    return step, f"{TRAINER_STATE}: global_step"


def settled_step(path: str, step: int | None, source: str | None) -> tuple[int | None, str | None]:
    """Return a checkpoint's step and its source: its content's, else its name's, else that of a file beside it.

    `step` and `source` are those that its table has; it may have been read under another path, which has no step.

    >>> settled_step("checkpoint-5/model.safetensors", 7, "content: step")
    (7, 'content: step')
    >>> settled_step("checkpoint-5/model.safetensors", 7, "trainer_state.json: global_step")
    (5, 'name')
    """
    named = step_of_name(path)
    if named is not None and (step is None or (source or "").startswith(TRAINER_STATE)):
        return named, "name"
    return step, source


def is_hugging_face(path: str) -> bool:
    """Tell by its name whether a file holds weights as Hugging Face's libraries write them.

    >>> [is_hugging_face(name) for name in ("out/model.safetensors", "pytorch_model.bin.index.json", "a.safetensors")]
    [True, True, False]
    """
    name = os.path.basename(path)
    return bool(_HF_WEIGHTS.fullmatch(name)) or name.endswith(HF_INDEXES)


def json_beside(path: str, name: str) -> Json:
    """Return what a JSON file in the folder of `path` holds.

    None where it is absent, too large, no proper JSON, or a link that leads elsewhere than the checkpoint does.
    """
    file_path = os.path.join(os.path.dirname(path), name)
    try:
        check_shards(path, [file_path])
        with opened(file_path) as file:
            raw = file.at(0, file.size, "the file") if file.size <= _JSON_LIMIT else b""
        extend(len(raw))
        return parsed(raw)
    except (CheckpointError, ValueError, RecursionError):
        return None
