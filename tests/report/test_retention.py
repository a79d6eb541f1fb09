"""What is kept: golden cases by hand, and laws that hold whatever was measured."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.report.retention import Held, Measured, Retention, keep


def held(step: int | None, content: str | None = None, name: str = "", barred: str = "") -> Held:
    name = name or f"step-{step}"
    weights = () if content == "" else (content or str(step),)
    return Held(f"/run/{name}", name, step, weights, barred)


def reasons(verdicts: list[Retention]) -> dict[str, str]:
    return {one.held.name: ("keep: " if one.keep else "delete: ") + one.reason for one in verdicts}


def worse(value: float) -> Measured:
    return Measured(value, may_go=True, why="worse")


def stays(value: float, why: str = "tied") -> Measured:
    return Measured(value, may_go=False, why=why)


def test_best_last_tied_and_the_rest() -> None:
    every = [held(step) for step in (1, 2, 3, 4, 5, 6)]
    values = [stays(0.9, "the best"), stays(0.85), worse(0.7), stays(0.3, "untested: F is no mean"), worse(0.5)]
    measured = dict(zip("12345", values, strict=True)) | {"6": worse(0.6)}
    assert reasons(keep(every, measured, higher=True, best=1, last=2)) == {
        "step-1": "keep: best 1",
        "step-2": "keep: tied",
        "step-3": "delete: worse, not among the best 1 nor the last 2",
        "step-4": "keep: untested: F is no mean",
        "step-5": "keep: last 2",
        "step-6": "keep: last 2",
    }


def test_lower_is_better_and_equal_values_are_all_kept() -> None:
    every = [held(step) for step in (1, 2, 3, 4)]
    measured = {str(step): worse(value) for step, value in ((1, 0.5), (2, 0.5), (3, 0.7), (4, 0.9))}
    shown = reasons(keep(every, measured, higher=False, best=1, last=1))
    assert [shown[f"step-{step}"].partition(":")[0] for step in (1, 2, 3, 4)] == ["keep", "keep", "delete", "keep"]


def test_what_lacks_something_stays_and_its_other_names_too() -> None:
    every = [
        held(1, "a"),
        held(1, "a", "pinned", barred="pinned: it waits for its evaluation"),
        held(2, "b"),
        held(3, "c"),
        held(4, "", "new"),
        held(5, "without a record"),
        held(None, "d", "final"),
        held(9, "e"),
    ]
    measured = {name: worse(value) for name, value in (("a", 0.1), ("b", 0.2), ("c", 0.3), ("d", 0.1), ("e", 0.9))}
    assert reasons(keep(every, measured, higher=True, best=1, last=1)) == {
        "step-1": "keep: same weights as pinned, which stays",
        "pinned": "keep: pinned: it waits for its evaluation",
        "step-2": "delete: worse, not among the best 1 nor the last 1",
        "step-3": "delete: worse, not among the best 1 nor the last 1",
        "new": "keep: not evaluated yet",
        "step-5": "keep: no whole value yet",
        "final": "keep: neither its step nor its epoch is known",
        "step-9": "keep: best 1",
    }


def test_epochs_order_what_has_no_step() -> None:
    every = [Held(f"/run/epoch_{epoch:02}", f"epoch_{epoch:02}", None, (str(epoch),), "", epoch) for epoch in range(12)]
    every.append(Held("/run/best", "best", None, ("4",)))  # a copy, whose name tells nothing
    measured = {str(epoch): worse(0.9 if epoch == 4 else 0.1 + epoch / 100) for epoch in range(12)}
    verdicts = keep(every, measured, higher=True, best=1, last=2)
    assert [one.held.name for one in verdicts if one.keep] == ["epoch_04", "epoch_10", "epoch_11", "best"]


def test_two_variants_of_one_file_go_together() -> None:
    both = Held("/run/step-1", "step-1", 1, ("raw", "ema"))
    measured = {"raw": worse(0.1), "ema": worse(0.9), "2": worse(0.5), "3": worse(0.4)}
    verdicts = keep([both, held(2), held(3)], measured, higher=True, best=1, last=1)
    assert [one.keep for one in verdicts] == [True, False, True]
    tied = {**measured, "ema": worse(0.2), "raw": stays(0.1), "2": worse(0.9)}
    assert keep([both, held(2), held(3)], tied, higher=True, best=1, last=1)[0].reason == "other weights in it: tied"
    half = {"raw": worse(0.1), "2": worse(0.5), "3": worse(0.4)}
    assert keep([both, held(2), held(3)], half, higher=True, best=1, last=1)[0].reason == "no whole value yet"


def variants(step: int) -> Held:
    raw, ema = f"{step} raw", f"{step} ema"
    return Held(f"/run/{step}", str(step), step, (ema, raw), variants={raw: "raw", ema: "ema"})


def test_value_and_reason_are_those_of_the_best_variant_and_any_other_may_keep_it() -> None:
    every = [variants(step) for step in (1, 2, 3, 4)]
    measured = {
        "1 raw": Measured(0.9, may_go=True, why="worse, p of raw"),
        "1 ema": Measured(0.8, may_go=True, why="ema"),
        "2 raw": Measured(0.1, may_go=True, why="raw"),
        "2 ema": Measured(0.7, may_go=True, why="worse, p of ema"),
        "3 raw": stays(0.2, "untested"),
        "3 ema": worse(0.6),
        "4 raw": stays(1.0, "the best"),
        "4 ema": worse(0.99),
    }
    verdicts = keep(every, measured, higher=True, best=1, last=1)
    assert [(one.keep, one.variant, one.value, one.reason) for one in verdicts] == [
        (False, "raw", 0.9, "worse, p of raw, not among the best 1 nor the last 1"),
        (False, "ema", 0.7, "worse, p of ema, not among the best 1 nor the last 1"),
        (True, "ema", 0.6, "raw: untested"),
        (True, "raw", 1.0, "best 1"),
    ]
    assert [one.variant for one in keep(every, measured, higher=False, best=1, last=1)] == ["ema", "raw", "raw", "ema"]


def test_the_best_are_counted_by_checkpoint_and_equal_ones_at_the_border_stay() -> None:
    every = [variants(step) for step in (1, 2, 3, 4, 5)]
    values = {1: 0.9, 2: 0.8, 3: 0.8, 4: 0.5, 5: 0.1}
    measured = {f"{step} raw": worse(value) for step, value in values.items()}
    measured |= {f"{step} ema": worse(value - 0.01) for step, value in values.items()}
    found = [one.reason for one in keep(every, measured, higher=True, best=2, last=1)]
    assert found[:3] == ["best 2", "as good as the best 2", "as good as the best 2"]
    assert found[3:] == ["worse, not among the best 2 nor the last 1", "last 1"]
    found = [one.reason for one in keep(every, measured, higher=True, best=3, last=1)]
    assert found[:4] == ["best 3", "best 3", "best 3", "worse, not among the best 3 nor the last 1"]


pairs = st.lists(st.tuples(st.tuples(st.integers(0, 6), st.booleans()), st.tuples(st.integers(0, 6), st.booleans())))


@given(pairs, st.integers(1, 3), st.booleans())
@settings(max_examples=80, deadline=None)
def test_laws_of_variants(table: list[tuple[tuple[int, bool], tuple[int, bool]]], best: int, higher: bool) -> None:
    every = [variants(step) for step in range(len(table))]
    measured = {
        f"{step} {name}": Measured(value, may_go, f"{step} {name}")
        for step, both in enumerate(table)
        for name, (value, may_go) in zip(("raw", "ema"), both, strict=True)
    }
    pick = max if higher else min
    values = [pick(value for value, _ in both) for both in table]
    border = sorted(values, reverse=higher)[:best]
    for step, one in enumerate(keep(every, measured, higher=higher, best=best, last=1)):
        own = measured[f"{step} {one.variant}"]
        assert one.value == own.value == values[step]
        free = values[step] not in border and step != len(table) - 1
        assert one.keep == (not free or not all(may_go for _, may_go in table[step]))
        if not one.keep:
            assert one.reason.startswith(f"{own.why},")


folders = st.lists(
    st.tuples(st.integers(0, 8) | st.none(), st.sampled_from("abcdef"), st.booleans()), min_size=1, max_size=10
)
tables = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(0, 20), st.booleans()))


@given(folders, tables, st.integers(1, 3), st.integers(1, 3), st.booleans())
@settings(max_examples=80, deadline=None)
def test_laws(
    folder: list[tuple[int | None, str, bool]],
    table: dict[str, tuple[int, bool]],
    best: int,
    last: int,
    higher: bool,
) -> None:
    every = [
        held(step, content, f"name-{number}", "barred" if barred else "")
        for number, (step, content, barred) in enumerate(folder)
    ]
    measured = {name: Measured(value, may_go, "") for name, (value, may_go) in table.items()}
    verdicts = keep(every, measured, higher=higher, best=best, last=last)
    gone = [one for one in verdicts if not one.keep]
    kept = [one for one in verdicts if one.keep]
    assert [one.held for one in verdicts] == every
    lost = {content for one in gone for content in one.held.weights}
    assert not lost & {content for one in kept for content in one.held.weights}  # every name, or none
    there = [measured[content] for one in every for content in one.weights if content in measured]
    for one in gone:
        (content,) = one.held.weights
        mine = measured[content]
        assert not one.held.barred
        better = {other.value for other in there if (other.value > mine.value) == higher and other.value != mine.value}
        assert better  # never the best
        assert mine.may_go
        own = max(other.step for other in every if other.weights == (content,) and other.step is not None)
        assert any(other.held.step is not None and other.held.step > own for other in kept)
    more = keep(every, measured, higher=higher, best=best + 1, last=last + 1)
    assert {one.held.path for one in more if not one.keep} <= {one.held.path for one in gone}
    barred = keep([replace(one, barred="x") for one in every], measured, higher=higher, best=best, last=last)
    assert all(one.keep for one in barred)
