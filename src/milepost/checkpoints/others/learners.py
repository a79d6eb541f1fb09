"""Kinds that hold other learners than networks: pickles of scikit-learn's (joblib's too), boosted trees."""

import re
import struct
from collections.abc import Callable

from milepost.checkpoints.others._kind import Cursor, OtherKind, Short, Start, json_end
from milepost.checkpoints.others.packed import packed_with, unpack_whole

_LIMIT = 64 << 10
_PICKLE = re.compile(rb"\x80[\x02-\x05]|c\w|\(")
_CLASS = re.compile(rb"(?:c|\x8c.)(sklearn|imblearn|xgboost|lightgbm|catboost)[.\n]", re.DOTALL)
_LIBRARIES = {
    b"sklearn": "scikit-learn",
    b"imblearn": "imbalanced-learn",
    b"xgboost": "XGBoost",
    b"lightgbm": "LightGBM",
    b"catboost": "CatBoost",
}


def library(start: Start) -> str | None:
    """Return the library whose learner a pickle names first, packed by joblib or not; None for other files."""
    packed = packed_with(start.head)
    data = packed[1] if packed else start.head
    found = _CLASS.search(data) if _PICKLE.match(data) else None
    return _LIBRARIES[found[1]] if found else None


def _of(name: str) -> Callable[[Start], bool]:
    return lambda start: library(start) == name


def _pickle_end(cursor: Cursor) -> None:
    if unpack_whole(cursor):
        return
    cursor.at = cursor.size - 1
    if cursor.take(1) != b".":
        raise Short("the pickle has no end")


def _ubjson_end(cursor: Cursor) -> None:
    cursor.at = cursor.size - 1
    if cursor.take(1) != b"}":
        raise Short("its UBJSON has no end")


def _trees_end(cursor: Cursor) -> None:
    cursor.at = max(0, cursor.size - _LIMIT)
    if b"end of parameters" not in cursor.take(cursor.size - cursor.at):
        raise Short("its text has no end")


def _catboost(cursor: Cursor) -> None:
    cursor.skip(4)
    cursor.skip(cursor.number("<I"))


_XGBOOST_JSON = re.compile(rb"\s*\{\s*\"(?:learner|version)\"\s*:")
_XGBOOST_UBJSON = re.compile(rb"\{L" + re.escape(struct.pack(">q", 7)) + rb"(?:learner|version)")

_TREES = "it holds trees, no tensors: evaluate it with {}"
_LEARNER = (
    "a pickle is not run: evaluate it with scikit-learn; of a linear model or an MLP, save the arrays (coef_, "
    "intercept_, coefs_) with np.savez"
)

KINDS = (
    OtherKind("a scikit-learn pickle (joblib)", _LEARNER, _of("scikit-learn"), _pickle_end),
    OtherKind("an imbalanced-learn pickle (joblib)", _LEARNER, _of("imbalanced-learn"), _pickle_end),
    OtherKind("a pickle of XGBoost", _TREES.format("XGBoost"), _of("XGBoost"), _pickle_end),
    OtherKind("a pickle of LightGBM", _TREES.format("LightGBM"), _of("LightGBM"), _pickle_end),
    OtherKind("a pickle of CatBoost", _TREES.format("CatBoost"), _of("CatBoost"), _pickle_end),
    OtherKind(
        "an XGBoost model",
        _TREES.format("XGBoost"),
        lambda s: _XGBOOST_JSON.match(s.head) and b'"learner"' in s.head,
        json_end,
    ),
    OtherKind("an XGBoost model", _TREES.format("XGBoost"), lambda s: _XGBOOST_UBJSON.match(s.head), _ubjson_end),
    OtherKind("an XGBoost model", _TREES.format("XGBoost"), lambda s: s.head.startswith((b"binf", b"bs64\t"))),
    OtherKind(
        "a LightGBM model", _TREES.format("LightGBM"), lambda s: s.head.startswith(b"tree\nversion=v"), _trees_end
    ),
    OtherKind("a CatBoost model", _TREES.format("CatBoost"), lambda s: s.head.startswith(b"CBM1"), _catboost),
)
