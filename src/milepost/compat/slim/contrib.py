"""What was left of `tf.contrib` in Slim's scripts: `tf.contrib.slim`, `tf.contrib.training`, `tf.contrib.metrics`, ...

`slim`, `training` and `metrics` are Milepost's; `layers`, `losses` and `framework` (arg scopes, variables) tf_slim's.
"""

import importlib
from typing import Any

from milepost.compat.slim._handed_on import original

_OWN = {
    "slim": "milepost.compat.slim",
    "training": "milepost.compat.slim.training",
    "metrics": "milepost.compat.slim.metrics",
}
_TF_SLIM = {"layers": "tf_slim.layers", "losses": "tf_slim.losses", "framework": "tf_slim"}


def __getattr__(name: str) -> Any:
    if name in _OWN:
        return importlib.import_module(_OWN[name])
    if name in _TF_SLIM:
        return original(_TF_SLIM[name])
    message = f"tf.contrib.{name}: TensorFlow 2 has no tf.contrib; Milepost has {', '.join([*_OWN, *_TF_SLIM])} of it"
    raise AttributeError(message, name=name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_OWN, *_TF_SLIM])
