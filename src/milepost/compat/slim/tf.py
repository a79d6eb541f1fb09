"""TensorFlow 1 as it was, but for `tf.metrics`: `from milepost.compat.slim import tf`.

Everything is `tensorflow.compat.v1`'s; `tf.metrics` is `milepost.compat.slim.tf_metrics`.
"""

from typing import Any

from milepost.compat.slim import tf_metrics as metrics
from milepost.compat.slim._handed_on import original

__all__ = ["metrics"]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(original("tensorflow.compat.v1"), name)
