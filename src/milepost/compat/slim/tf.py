"""TensorFlow 1 as it was, but for `tf.metrics` and `tf.contrib`: `from milepost.compat.slim import tf`.

All else is `tensorflow.compat.v1`'s; `tf.metrics` is `milepost.compat.slim.tf_metrics`, `tf.contrib` what Slim needs.
"""

from typing import Any

from milepost.compat.slim import contrib
from milepost.compat.slim import tf_metrics as metrics
from milepost.compat.slim._handed_on import original

__all__ = ["contrib", "metrics"]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(original("tensorflow.compat.v1"), name)
