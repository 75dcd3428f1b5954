"""Where the code that runs comes from: versions, commit, and whether each package is ours.

The top-level packages have generic names, so another `envs` from PyPI could shadow ours silently.
"""

from __future__ import annotations

import base64
import hashlib
import platform
import subprocess
import tomllib
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from envs.errors import TelosError

NAME = "telos"
PACKAGES = ("agent", "benchmarks", "configs", "envs", "planners", "worldmodels")
RECORDED = ("torch", "mujoco", "dm-control", "gymnasium", "numpy")
ROOT = Path(__file__).resolve().parents[1]


def distribution() -> metadata.Distribution | None:
    """The installed distribution, or None in a source tree that is not installed."""
    try:
        return metadata.distribution(NAME)
    except metadata.PackageNotFoundError:
        return None


def check_packages() -> None:
    """Refuse to run where another package of the same name shadows ours.

    Raises:
        TelosError: a package comes from elsewhere, is missing, or differs from the installed file.
    """
    for name in PACKAGES:
        spec = find_spec(name)
        found = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
        wanted = ROOT / name / "__init__.py"
        if found != wanted:
            raise TelosError(f"package {name!r}", found or "nothing", f"{wanted}: remove what shadows it")
    ours = distribution()
    if ours is None or ours.files is None:
        return
    for file in ours.files:  # a wheel lists our packages' files; an editable install does not
        if file.name != "__init__.py" or str(file.parent) not in PACKAGES or file.hash is None:
            continue
        path = Path(str(file.locate()))
        if path.resolve() != ROOT / file.parent / file.name:
            continue  # this is a source tree, run beside an installed wheel
        digest = hashlib.new(file.hash.mode, path.read_bytes()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
            raise TelosError(f"package {str(file.parent)!r}", f"a changed {path}", f"{NAME}'s own: reinstall it")


def requirements() -> list[str]:
    """The requirements of telos with version ranges; those of extras, which carry a marker, are left out."""
    file = ROOT / "pyproject.toml"
    if file.is_file():
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        if project.get("name") == NAME:
            return list(project["dependencies"])
    ours = distribution()
    return [line for line in (ours.requires if ours else None) or [] if "extra ==" not in line]


def version(package: str) -> str | None:
    """The installed version, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def telos_version() -> str:
    """Our own version."""
    file = ROOT / "pyproject.toml"
    if file.is_file():
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        if project.get("name") == NAME:
            return str(project["version"])
    return version(NAME) or "unknown"


def versions() -> dict[str, str]:
    """The versions of everything that a measured number may depend on."""
    found = {package.replace("-", "_"): version(package) or "missing" for package in RECORDED}
    return {"telos": telos_version(), "python": platform.python_version(), **found}


def commit() -> str | None:
    """The commit of the source tree, with a + where tracked files have changed; None outside our repository."""
    if not (ROOT / ".git").exists():
        return None

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(ROOT), *words], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    head = git("rev-parse", "HEAD")
    return head and head + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
