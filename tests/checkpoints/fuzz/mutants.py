"""Mutants of whole checkpoints: the number of a mutant and a seed say all of it."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.checkpoints.fuzz import blind, sealed
from tests.checkpoints.fuzz.specimens import Specimen

Data = Mapping[str, Sequence[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed checkpoint: what it was made from, what was done, and whether its checksums were made again."""

    seed: str
    specimen: Specimen
    what: str
    sealed: bool
    files: Mapping[str, bytes] = field(repr=False)


def mutant(seed: str, specimens: Sequence[Specimen], data: Mapping[int, Data]) -> Mutant:
    """Return the mutant of a seed; `data` says where in a specimen's files its tensors lie."""
    draw = Random(seed)
    forms = sorted({one.form for one in specimens})
    form = draw.choice(forms)
    specimen = draw.choice([one for one in specimens if one.form == form])
    name = draw.choice(sorted(specimen.files))
    content = specimen.files[name]
    if draw.random() < 0.02:
        return Mutant(seed, specimen, f"{name} is absent", sealed=False, files=_without(specimen.files, name))
    changed = sealed.mutated(draw, content) if draw.random() < 0.5 else None
    if changed is None:
        # What is spliced in comes from a checkpoint of the same format, or of any.
        others = [one for one in specimens if one.form == form] if draw.random() < 0.6 else specimens
        other = draw.choice(sorted(draw.choice(others).files.values(), key=len))
        structure = blind.outside(len(content), data[id(specimen)].get(name, ()))
        changed = sealed.Changed(*blind.mutated(draw, content, structure, other), sealed=False)
    # What was spliced may be another whole checkpoint from its first difference on.
    whole = any(changed.content in one.files.values() for one in specimens)
    files = {**specimen.files, name: changed.content}
    return Mutant(seed, specimen, f"{name}: {changed.what}", changed.sealed or whole, files)


def _without(files: Mapping[str, bytes], name: str) -> dict[str, bytes]:
    return {other: content for other, content in files.items() if other != name}


def kept(path: Path, made: Mutant, verdict: Mapping[str, Any]) -> None:
    """Write a mutant and its verdict to a file, from which `found` has it again."""
    specimen = {"form": made.specimen.form, "name": made.specimen.name, "files": _text(made.specimen.files)}
    held = {"seed": made.seed, "what": made.what, "sealed": made.sealed, "files": _text(made.files)}
    path.write_text(json.dumps({"verdict": verdict, **held, "specimen": specimen}, indent=1), encoding="ascii")


def found(path: Path) -> Mutant:
    """Return a mutant that was kept."""
    held = json.loads(path.read_text(encoding="ascii"))
    specimen = Specimen(held["specimen"]["form"], held["specimen"]["name"], _bytes(held["specimen"]["files"]))
    return Mutant(held["seed"], specimen, held["what"], held["sealed"], _bytes(held["files"]))


def _text(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(content).decode() for name, content in files.items()}


def _bytes(files: Mapping[str, str]) -> dict[str, bytes]:
    return {name: base64.b64decode(content) for name, content in files.items()}
