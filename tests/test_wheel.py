"""The wheel as a user gets it: built, installed into a clean environment, run from another directory."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("wheel")  # one wheel for all
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    source = tmp_path_factory.mktemp("source") / "telos"
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with the wheel and, through a .pth file, this environment's locked requirements."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    binary = folder / "bin" / "python"
    purelib = subprocess.run(
        [str(binary), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", purelib, str(wheel)]
    subprocess.run(install, check=True, timeout=120)
    # It comes after the wheel in the search order, and its own .pth files (an editable telos) are not followed.
    Path(purelib, "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return binary


def test_it_ships_the_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    packages = {"agent", "benchmarks", "configs", "envs", "planners", "worldmodels"}
    assert {top for top in tops if not top.endswith(".dist-info")} == {*packages, "telos.py"}
    assert "configs/quickstart.yaml" in names
    assert any(name.startswith("configs/tasks/") for name in names)
    assert {name for name in names if name.endswith("py.typed")} == {f"{package}/py.typed" for package in packages}
    shipped = {name for name in names if name.endswith(".py")}
    sources = {str(path.relative_to(ROOT)) for package in packages for path in (ROOT / package).rglob("*.py")}
    assert shipped == {*sources, "telos.py"}


def test_it_runs_from_another_directory(python: Path, tmp_path: Path) -> None:
    arguments = ["quickstart", "--frames", "5", "--episodes", "1", "--planner.budget.evaluations", "16"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), "-m", "agent.command.cli", "run", *arguments, "--video", "false", "--out", "here"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here" / "report.html").is_file()
    assert len((tmp_path / "here" / "episodes.jsonl").read_text().splitlines()) == 1


def in_a_folder(python: Path, folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """What a user's own script does in a folder of theirs."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    (folder / "script.py").write_text(code)
    return subprocess.run(
        [str(python), "script.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_public_door(python: Path, tmp_path: Path) -> None:
    code = """
import telos

config = telos.load("quickstart", frames=3, episodes=1, planner__budget__evaluations=16, video=False)
env = telos.environment(config)
agent, world = telos.agent(config, env), telos.world(config, env)
agent.reset(0)
print(agent.act(world.reset(0)).action.shape)
print(len(telos.open_run(telos.run(config, "run").path).rows()))
"""
    done = in_a_folder(python, tmp_path, code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["(2,)", "1"]


def test_a_file_that_shadows_a_package_of_ours_is_named(python: Path, tmp_path: Path) -> None:
    (tmp_path / "agent.py").write_text("print('a stranger')\n")
    done = in_a_folder(python, tmp_path, "import telos")
    assert done.returncode == 1
    assert str(tmp_path / "agent.py") in done.stderr.splitlines()[-1]
    assert "a stranger" not in done.stdout


def test_the_door_guards_every_package() -> None:
    import telos
    from agent import provenance

    assert telos.PACKAGES == provenance.PACKAGES
