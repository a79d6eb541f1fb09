"""Optional capabilities are whole or absent: one that lacks a member would not be judged, and not be used."""

from milepost.core.capabilities import CAPABILITIES, is_begun, missing


def check_capabilities(thing: object, seam: type) -> None:
    """Raise an `AssertionError` for a capability of the seam of which an object has methods, but not all members."""
    for kind in CAPABILITIES[seam]:
        lacking = missing(thing, kind) if is_begun(thing, kind) else []
        assert not lacking, f"{thing} has methods of {kind.__name__} and lacks {', '.join(lacking)}"
