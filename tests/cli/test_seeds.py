"""Several seeds in one run directory: the episodes of one run per seed, and a line for each seed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import pytest

from agent.command import run
from agent.config.config import Config
from agent.config.load import load
from agent.reports.compare import compare
from agent.rollouts.jobs import Job, Outcome, Watch
from agent.rollouts.rollouts import Serial
from agent.rollouts.row import TIMES
from agent.runs.rundir import RunDir
from envs.errors import TelosError

TASK = "dm_control/cartpole-swingup-v0"


@pytest.fixture(scope="module")
def several(telos: Callable[..., Any], config_file: Path) -> tuple[Path, Any]:
    """A run of seeds 3 and 0 with two episodes each, and the result of the command."""
    path = config_file.parent / "several"
    return path, telos("run", config_file, "--episodes=2", "--seeds=3,0", "--video=false", "--out", path)


def untimed(run: RunDir) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.values().items() if name not in TIMES} for row in run.rows()]


def test_the_episodes_are_those_of_runs_of_one_seed(
    telos: Callable[..., Any], several: tuple[Path, Any], config_file: Path, tmp_path: Path, fast: None
) -> None:
    together = RunDir.open(several[0])
    for at, seed in enumerate((3, 0)):
        out = tmp_path / str(seed)
        assert telos("run", config_file, "--episodes=2", f"--seed={seed}", "--video=false", "--out", out).status == 0
        alone = RunDir.open(out)
        rows = [{**row, "episode": row["episode"] - 2 * at} for row in untimed(together)[2 * at : 2 * at + 2]]
        assert rows == untimed(alone)
        assert (together.steps(2 * at + 1).state == alone.steps(1).state).all()
        assert (compare(together, alone).pairs, compare(together, alone).left_out) == (2, 2)
        (difference,) = [each for each in compare(alone, together).differences if each.name == "return"]
        assert difference.difference.mean == 0, "episodes of one seed and index are the same"


def test_rows_table_and_report_tell_the_seeds(several: tuple[Path, Any]) -> None:
    path, done = several
    assert done.status == 0
    assert [(row.seed, row.episode) for row in RunDir.open(path).rows()] == [(3, 0), (3, 1), (0, 2), (0, 3)]
    assert "seed 0, episode 1: return" in done.err
    table = [line.split("│")[1:3] for line in done.err.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in cells] for cells in table] == [["0", "2"], ["3", "2"], ["all", "4"]]
    report = (path / "report.html").read_text()
    assert "seeds 3, 0" in report
    assert "<h2>Seeds</h2>" in report


def test_resume_goes_on_in_the_middle_of_a_seed(
    telos: Callable[..., Any], several: tuple[Path, Any], tmp_path: Path, fast: None
) -> None:
    whole = RunDir.open(several[0])
    copy = RunDir.create(tmp_path / "copy", whole.config, whole.manifest)
    for row in whole.rows()[:3]:
        copy.record(row, whole.steps(row.episode))
    assert telos("resume", copy.path).status == 0
    assert untimed(RunDir.open(copy.path)) == untimed(whole)


def test_explain_runs_an_episode_of_its_seed_again(telos: Callable[..., Any], several: tuple[Path, Any]) -> None:
    done = telos("explain", several[0], "--episode=2", "--step=3")
    assert done.status == 0
    assert "differ" not in done.out


@pytest.mark.parametrize(
    ("given", "seeds"),
    [("0..2", (0, 1, 2)), ("0,3,7", (0, 3, 7)), ("0..1,7", (0, 1, 7)), (5, (5,)), ([2, 1], (2, 1)), ("4..4", (4,))],
)
def test_seeds_as_people_write_them(given: Any, seeds: tuple[int, ...]) -> None:
    assert load(task=TASK, overrides={"seeds": given}).seeds == seeds


@pytest.mark.parametrize("given", ["0..x", "", "0,,1", "1..0", "0..1..2", "0..99999", "010,3", "0,0", -1, "-1", 1.5])
def test_what_are_no_seeds(given: Any) -> None:
    with pytest.raises(TelosError, match=r"config\.seeds"):
        load(task=TASK, overrides={"seeds": given})


def test_one_seed_or_several(telos: Callable[..., Any], config_file: Path) -> None:
    done = telos("run", config_file, "--seed=1", "--seeds=0..4")
    assert (done.status, done.err) == (2, "telos: --seed: given together with --seeds; allowed: one of them\n")


def test_what_is_given_last_counts(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"task: {TASK}\nseed: 3\n")
    several = load(str(file), overrides={"seeds": "1,2"})
    assert (several.seed, several.seeds) == (0, (1, 2))
    file.write_text(f"task: {TASK}\nseeds: 1,2\n")
    assert load(str(file), overrides={"seed": 3}).place(0) == (3, 0)
    file.write_text(f"task: {TASK}\nseed: 1\nseeds: 1,2\n")
    with pytest.raises(TelosError, match="seed or seeds, one of them"):
        load(str(file))


def test_a_configuration_of_one_seed_is_written_as_before(small: Callable[..., Config]) -> None:
    """So its digest, which identifies rows, stays the same."""
    assert "seeds" not in small(seed=1).model_dump()
    assert "seed" not in small(seeds="0..1").model_dump()


class Watched:
    """Runs only the first few jobs, and counts how many jobs were made."""

    def __init__(self, few: int) -> None:
        self.few, self.made = few, 0

    def run(self, jobs: Iterable[Job], watch: Watch, stop: Callable[[], bool]) -> Generator[Outcome, None, None]:
        """See `Rollouts.run`."""

        def counted() -> Iterable[Job]:
            for job in jobs:
                self.made += 1
                yield job

        yield from Serial().run(itertools.islice(counted(), self.few), watch, stop)


def test_a_thousand_million_episodes_begin_at_once(small: Callable[..., Config], tmp_path: Path, fast: None) -> None:
    config, rollouts = small(episodes=1_000_000_000, frames=2), Watched(2)
    with pytest.raises(run.Interrupted, match="after 2 finished episodes"):
        run.run(config, tmp_path / "run", rollouts=rollouts)
    assert rollouts.made == 2
    assert [row.episode for row in RunDir.open(tmp_path / "run").rows()] == [0, 1]
