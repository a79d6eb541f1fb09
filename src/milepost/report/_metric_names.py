"""What a metric is called elsewhere: from a name that no value has to those that may be meant."""

import difflib
import re
from collections.abc import Collection, Iterator

_PARTS = re.compile(r"^(train|training|val|valid|validation|eval|test|dev)[_/.-]")
_TOP = re.compile(r"^(?:top|acc|accuracy|prec|hits?)[@_-]?(\d+)(?:[_-]?(?:acc|accuracy))?$")
_ALIASES = {
    "top1": ("acc", "accuracy", "top_k", "top", "categorical_accuracy", "sparse_categorical_accuracy"),
    "cross_entropy": ("loss", "nll", "ce", "xent", "log_loss", "logloss", "crossentropy", "perplexity"),
    "calibration_error": ("ece", "calibration"),
    "matthews": ("mcc", "matthews_corrcoef"),
    "cohen_kappa": ("kappa",),
    "brier": ("brier_score",),
    "mean_per_class_accuracy": ("confusion", "uar", "mean_accuracy", "class_accuracy"),
    "balanced_accuracy": ("bacc", "balanced_acc", "balanced_accuracy_score"),
    "f1_": ("f1", "fscore", "f_score", "f_beta", "f1_score"),
    "recall_": ("recall", "sensitivity", "tpr"),
    "precision_": ("precision", "ppv"),
    "specificity_": ("specificity", "tnr"),
}
"""Names of values, or their beginnings (`_` at the end), and what other programs call them."""
_SHOWN = 3


def meant(asked: str, names: Collection[str]) -> list[str]:
    """Return at most three of the names, the likeliest first, for one that is none of them.

    >>> there = ["cross_entropy", "top1", "top5", "recall_micro"]
    >>> meant("accuracy", there), meant("val_loss", there), meant("acc@5", there), meant("Recall", there)
    (['top1'], ['cross_entropy'], ['top5'], ['recall_micro'])
    >>> meant("top7", there), meant("crossentropie", there), meant("zzz", there)
    ([], ['cross_entropy'], [])
    """
    word = _PARTS.sub("", asked.lower().replace(" ", "_"))
    known = {name.lower(): name for name in sorted(names)}
    called = [known[name] for name in _called(word) if name in known]
    called += [name for begin, words in _ALIASES.items() if word in words and begin.endswith("_")
               for name in sorted(names) if name.startswith(begin)]  # fmt: skip
    close = (
        [] if called or _TOP.match(word) else [known[name] for name in difflib.get_close_matches(word, known, n=_SHOWN)]
    )
    return list(dict.fromkeys([*called, *close]))[:_SHOWN]


def hint(asked: str, names: Collection[str]) -> str:
    """Return the question that stands behind a list of names; "" where nothing is near.

    >>> hint("accuracy", ["top1"]), hint("accuracy", ["brier"])
    (' (did you mean top1?)', '')
    """
    near = meant(asked, names)
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def computed(asked: str, names: Collection[str]) -> str:
    """Return what computes a value of a name that is none of those on record.

    >>> computed("top3", ["top1"])
    "`milepost score --all --metric 'top_k(k=3)'` computes it from kept outcomes"
    """
    if (found := _TOP.match(asked.lower())) and int(found[1]) > 0 and not meant(asked, names):
        return f"`milepost score --all --metric 'top_k(k={int(found[1])})'` computes it from kept outcomes"
    return "`milepost score` computes further ones from kept outcomes"


def _called(word: str) -> Iterator[str]:
    """Yield the names of values that a word stands for elsewhere."""
    if word:
        yield word
    if found := _TOP.match(word):
        yield f"top{int(found[1])}"
    if word.endswith(("_acc", "_accuracy")):
        yield "top1"
    yield from (name for name, words in _ALIASES.items() if word in words)
