"""Versions of the distributions that an evaluation imports are part of its code; their requirements too."""

import json
import sys
from pathlib import Path

import pytest

from milepost.evaluation.distributions import Installed


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, the first on the path, with a cache of its own."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return folder


def installed(site: Path, name: str, version: str, requires: tuple[str, ...] = (), module: str = "") -> Path:
    """Install a package of one module as pip would."""
    module = module or name.replace("-", "_")
    info = site / f"{module}-{version}.dist-info"
    for old in site.glob(f"{module}-*.dist-info"):
        old.rename(info)
    info.mkdir(exist_ok=True)
    (site / f"{module}.py").write_text("")
    lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {one}" for one in requires), "", "text"]
    (info / "METADATA").write_text("\n".join(lines))
    (info / "RECORD").write_text(f"{module}.py,,\n{info.name}/METADATA,,\n")
    return info


def versions(*modules: str) -> dict[str, str]:
    return Installed.found().versions(modules)


def test_the_version_of_what_is_imported_and_of_what_that_requires(site: Path) -> None:
    installed(site, "base-mp", "1.0", ("inner-mp>=2", "absent-mp", 'extra-mp; extra == "all"'))
    installed(site, "inner-mp", "2.5")
    installed(site, "extra-mp", "9")
    installed(site, "other-mp", "3")
    assert versions("base_mp", "base_mp.sub") == {"base-mp": "1.0", "inner-mp": "2.5"}
    assert versions("json", "no_such_module_mp") == {}
    installed(site, "inner-mp", "2.6")
    assert versions("base_mp")["inner-mp"] == "2.6"


def test_a_module_may_have_another_name_than_its_distribution(site: Path) -> None:
    installed(site, "python-thing-mp", "1.2", module="thing_mp")
    assert versions("thing_mp") == {"python-thing-mp": "1.2"}
    assert Installed.found().owns("thing_mp.deep")
    assert not Installed.found().owns("thing")


def test_what_was_installed_from_a_folder_is_known_by_its_files(site: Path) -> None:
    info = installed(site, "local-mp", "0.1")
    (info / "direct_url.json").write_text(json.dumps({"url": "file:///somewhere"}))
    first = versions("local_mp")["local-mp"]
    (info / "RECORD").write_text("local_mp.py,sha256=other,1\n")
    second = versions("local_mp")["local-mp"]
    assert first.startswith("0.1 (")
    assert first != second


def test_milepost_itself_is_no_part_of_it(site: Path) -> None:
    installed(site, "uses-mp", "1", ("milepost",))
    assert list(versions("uses_mp", "milepost.data")) == ["uses-mp"]
