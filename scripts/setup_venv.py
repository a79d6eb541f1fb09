"""Make a virtual environment and install Milepost into it: `setup_venv.py FOLDER EXTRAS`; nothing to do a second time.

Runs on the machine's own Python and needs only its standard library and pip.  A stamp in the folder remembers
pyproject.toml, this file, the interpreter and the place, so that a change of any of them installs again.
"""

import hashlib
import platform
import subprocess
import sys
from pathlib import Path

if not (3, 11) <= sys.version_info[:2] <= (3, 13):  # before anything that an older Python cannot read
    found = f"{sys.executable} is {sys.version_info[0]}.{sys.version_info[1]}"
    raise SystemExit(f"Milepost needs Python 3.11 to 3.13, and {found}; name another: make PYTHON=python3.12 ...")

ROOT = Path(__file__).resolve().parent.parent
# Pinned on purpose: on Linux a later plain torch, or plain tensorflow, brings gigabytes of GPU libraries that no test
# uses.  tf-keras would bring a second TensorFlow, so it comes without what it depends on, which is there by then.
CPU = "-cpu" if (sys.platform, platform.machine()) == ("linux", "x86_64") else ""
FIRST = {
    "torch": (("torch==2.13.0",),),
    "slim": (
        (f"tensorflow{CPU}==2.21.0", "keras==3.15.1", "h5py"),
        ("--no-deps", "tf-slim==1.1.0", "tf-keras==2.21.0"),
    ),
    "jax": (("jax==0.10.2", "jaxlib==0.10.2"),),
}
DONE = ("slim", "jax")
"""What the lines above install whole: as extras, they would bring the plain packages on top."""


def run(*command: str) -> bool:
    """Run a command, with its output on stderr; return whether it succeeded."""
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False).returncode == 0


def stamp_of(folder: Path, extras: str) -> str:
    """Return a digest of all that decides what is installed where."""
    digest = hashlib.sha256(f"{folder}\n{extras}\n{sys.version}\n".encode())
    for path in (ROOT / "pyproject.toml", Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def make(folder: Path) -> bool:
    """Create the environment; where Python came without ensurepip, the machine's pip serves it."""
    python = folder / "bin" / "python"
    if python.exists() and run(str(python), "-c", "import sys; sys.exit(sys.version_info < (3, 11))"):
        return True
    return run(sys.executable, "-m", "venv", str(folder)) or run(
        sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)
    )


def install(folder: Path, extras: str) -> bool:
    """Install the package in place with its extras, first what is pinned of them."""
    python = str(folder / "bin" / "python")
    own = (python, "-m", "pip")
    has_own = subprocess.run((*own, "--version"), capture_output=True, check=False).returncode == 0
    pip = own if has_own else (sys.executable, "-m", "pip", "--python", python)
    options = ("install", "--quiet", "--disable-pip-version-check", "--no-input")
    asked = extras.split(",") if extras else []
    steps = [packages for name in asked for packages in FIRST.get(name, ())]
    rest = ",".join(name for name in asked if name not in DONE)
    return all(run(*pip, *options, *packages) for packages in (*steps, ("-e", f".[{rest}]" if rest else ".")))


def main() -> int:
    """Make what is missing."""
    if len(sys.argv) != 3:  # noqa: PLR2004 - the two arguments and the script
        raise SystemExit("usage: setup_venv.py FOLDER EXTRAS (such as .venv torch,dev; '' for none)")
    folder, extras = ROOT / sys.argv[1], sys.argv[2]
    stamp, wanted = folder / ".milepost-stamp", stamp_of(folder, extras)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return 0
    print(f"Setting up {sys.argv[1]} (once; again when pyproject.toml changes) ...", file=sys.stderr, flush=True)
    if not (make(folder) and install(folder, extras)):
        print(f"{sys.argv[1]} could not be set up; the lines above say why.", file=sys.stderr)
        return 1
    stamp.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
