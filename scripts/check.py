"""Run every check of the house, or those named: `check.py [NAME ...]`.  A failure does not stop the ones after it."""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PYTHON = sys.executable

CHECKS: dict[str, tuple[str, ...]] = {
    "lint": (f"{BIN}/ruff", "check", "--quiet", "--output-format", "concise"),
    "format": (f"{BIN}/ruff", "format", "--check", "--output-format", "concise"),
    "types": (f"{BIN}/mypy", "src", "scripts", "tests"),
    "layers": (f"{BIN}/lint-imports", "--no-cache"),
    "limits": (PYTHON, "scripts/check_limits.py"),
    "words": (PYTHON, "scripts/check_words.py"),
    "extras": (PYTHON, "scripts/check_extras.py"),
    "stubs": (PYTHON, "scripts/make_stubs.py", "--check"),
    "cli-reference": (PYTHON, "scripts/make_cli_reference.py", "--check"),
    "links": (PYTHON, "scripts/check_links.py"),
    "site": (PYTHON, "scripts/make_site.py"),
    "changelog": (PYTHON, "scripts/changelog.py", "check"),
}


def run(name: str) -> bool:
    """Run one check; its output is shown only where it fails."""
    began = time.monotonic()
    done = subprocess.run(CHECKS[name], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    print(f"{name:<14} {'ok' if done.returncode == 0 else 'FAILED':<6} {time.monotonic() - began:5.1f} s", flush=True)
    if done.returncode != 0:
        print(done.stdout, done.stderr, sep="", flush=True)
    return done.returncode == 0


def main() -> int:
    """Run the checks that are named, or all; return 1 where one failed."""
    names = sys.argv[1:] or list(CHECKS)
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        raise SystemExit(f"no check is named {', '.join(unknown)}; there are: {', '.join(CHECKS)}")
    failed = [name for name in names if not run(name)]
    print(f"failed: {', '.join(failed)}" if failed else "every check passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
