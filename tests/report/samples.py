"""Records and checkpoints of a made-up run, as an index hands them out."""

from typing import Any

DIGESTS = {step: f"{step:04x}" * 8 for step in (100, 200, 900)}


def checkpoint(step: int, *names: str, run: str = "lenet-0a1b2c3d") -> dict[str, Any]:
    """Return a checkpoint seen under some names, the first of them the primary one."""
    seen = [
        {
            "run": run,
            "path": f"runs/{run}/{name}.pt",
            "step": step,
            "name": name,
            "seen": f"2026-01-01T00:00:{step % 60:02}Z",
        }
        for name in names
    ]
    head = {key: seen[0][key] for key in ("run", "path", "step", "name")}
    checkpoints = [{**item, "current": True} for item in seen]
    return {
        **head,
        "variant": "raw",
        "digest": DIGESTS[step],
        "checkpoints": checkpoints,
        "failure": None,
        "state": "done",
    }


def failed(step: int, kind: str, message: str) -> dict[str, Any]:
    """Return a checkpoint that failed before its weights were known."""
    row = checkpoint(100, f"step-{step}")
    row["checkpoints"][0].update(step=step)
    failure = {"kind": kind, "message": message}
    return {**row, "step": step, "digest": None, "failure": failure, "state": "failed"}


def record(step: int, metric: str, value: Any, *, n: int = 10_000, size: int | None = None) -> dict[str, Any]:
    """Return one record; a share of right answers has numerator, denominator and an interval."""
    share = metric.startswith("top") and value is not None
    exact = size is None
    span = {"low": value - 0.005, "high": min(1.0, value + 0.005)} if share else {}
    return {
        "event": "record",
        "run": "lenet-0a1b2c3d",
        "checkpoint": {"path": f"runs/step-{step}.pt", "step": step, "digest": DIGESTS[step], "variant": "raw"},
        "data": "test",
        "slice": "all",
        "metric": metric,
        "estimator": "exact" if exact else "batch_mean",
        **({} if exact else {"batch_size": size}),
        "value": value,
        "numerator": round(value * n) if share and exact else None,
        "denominator": n if share and exact else None,
        "n": n,
        "intervals": [{**span, "level": 0.95, "method": "wilson", "kind": "population"}] if share and exact else [],
        "tied": 0,
        "nonfinite": 0,
        "status": "ok",
    }


def run_of_three() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return records and checkpoints: two good ones, one that failed between them."""
    checkpoints = [
        checkpoint(100, "step-100"),
        failed(200, "mismatch", "step-200.pt: fc.weight is missing\nnearest: fc2.weight"),
        checkpoint(900, "step-900", "last", "best"),
    ]
    records = []
    for step, top1, loss in ((100, 0.9412, 0.21), (900, 0.99996, 0.0123)):
        records += [record(step, "cross_entropy", loss), record(step, "top1", top1)]
        records += [
            record(step, "cross_entropy", loss + 0.001, size=256),
            record(step, "top1", top1 - 0.0001, size=256),
        ]
    return records, checkpoints
