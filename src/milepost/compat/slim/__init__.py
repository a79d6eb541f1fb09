"""TensorFlow-Slim's calls on Milepost's engine: two import lines of an old script change, and nothing else.

```python
from milepost.compat.slim import tf      # import tensorflow as tf
from milepost.compat import slim         # import tensorflow.contrib.slim as slim
```

`slim.metrics` and `tf.metrics` are graph operations `(value, update_op)` over exact states; `slim.evaluation` evaluates
every checkpoint.  All else (layers, arg scopes, ...) is tf_slim's and TensorFlow's own.  docs/migrating-from-slim.md
lists every difference.
"""

import importlib
import importlib.util
from typing import Any

from milepost.compat.slim._handed_on import original, put_back

_EVALUATION = (
    "StopAfterNEvalsHook",
    "SummaryAtEndHook",
    "checkpoints_iterator",
    "evaluate_once",
    "evaluate_repeatedly",
    "evaluation_loop",
    "get_or_create_eval_step",
    "wait_for_new_checkpoint",
)
_METRICS = ("aggregate_metric_map", "aggregate_metrics")
_MODULES = ("contrib", "evaluation", "metrics", "tf", "tf_metrics", "training")

if importlib.util.find_spec("tensorflow") is not None:
    put_back()  # here, since the networks of a script may lie in files that import tf_slim themselves


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name == "train_eval":  # tf_slim's name for tf_slim.training.evaluation
        return importlib.import_module(f"{__name__}.training")
    if name in _EVALUATION or name in _METRICS:
        module = "evaluation" if name in _EVALUATION else "metrics"
        return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return getattr(original("tf_slim"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_EVALUATION, *_METRICS, *_MODULES])
