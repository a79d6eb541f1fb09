"""The names, signatures and argument orders of `tf.metrics` (`tf.compat.v1.metrics`), over Milepost's exact states.

What is not here yet is handed on to TensorFlow's own as it is, with a warning that the number is the original's.
"""

from typing import Any

from milepost.compat.slim._graph import functions
from milepost.compat.slim._handed_on import handed_on

_OWN = functions(slim=False)


def __getattr__(name: str) -> Any:
    return _OWN[name] if name in _OWN else handed_on("tensorflow.compat.v1.metrics", name, __name__)


def __dir__() -> list[str]:
    return sorted([*globals(), *_OWN])
