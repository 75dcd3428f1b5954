"""The model-free baseline: settings are checked first, training survives a kill, evaluation uses the planners' starts.

No test needs Stable-Baselines3: a learner that only counts replaces it.
"""

from __future__ import annotations

import csv
import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from agent.rollouts import episode
from benchmarks.harness import rows
from benchmarks.planners import planners
from benchmarks.planners.scores import interval, mean_return
from benchmarks.sac import sac
from benchmarks.sac.training import (
    CHUNK,
    REQUIREMENT,
    ActionRepeat,
    Env,
    Spent,
    StableBaselines,
    Training,
    Watch,
    environment,
    flat,
    newest,
    seed_of,
    trained,
)
from envs import registry
from envs.errors import TelosError

ROOT = Path(__file__).parent.parent.parent
CARTPOLE, CHEETAH = sac.TASKS


class Counting:
    """A learner that takes no step in its environment; its action depends on the sum of its seeds."""

    made: ClassVar[list[Path | None]]  # checkpoints from which learners of this test began
    stop_at: int | None = None  # frames after which Ctrl-C is simulated

    def __init__(self, training: Training, env: Env, checkpoint: Path | None) -> None:
        self.training = training
        self.told = {"decisions": 0, "seeds": 0}
        if checkpoint is not None:
            self.told = json.loads((checkpoint / "told.json").read_text())
        assert env.action_space.shape is not None
        self.action_size = env.action_space.shape[0]
        self.made.append(checkpoint)

    @property
    def gradient_steps(self) -> int:
        return self.told["decisions"] // self.training.train_freq

    def learn(self, decisions: int, seed: int, watch: Watch) -> None:
        half = decisions // 2
        watch(half)
        frames = (self.told["decisions"] + half) * self.training.action_repeat
        if self.stop_at is not None and frames >= self.stop_at:
            raise KeyboardInterrupt
        watch(decisions)
        self.told = {"decisions": self.told["decisions"] + decisions, "seeds": self.told["seeds"] + seed}

    def act(self, observation: np.ndarray) -> np.ndarray:
        assert observation.dtype == np.float32
        assert observation.ndim == 1
        return np.full(self.action_size, np.tanh(observation.sum() + self.told["seeds"] % 7))

    def save(self, folder: Path) -> None:
        (folder / "told.json").write_text(json.dumps(self.told))


@pytest.fixture
def counting() -> type[Counting]:
    """A new subclass for each test."""
    return type("Mine", (Counting,), {"made": []})


def training(**more: Any) -> Training:
    return Training(**{"task": CARTPOLE, "seed": 0, "frames": 3 * CHUNK, "action_repeat": 2, "train_freq": 1} | more)


def bench(counting: type[Counting], out: Path, *argv: str) -> list[dict[str, Any]]:
    """The rows after `telos bench sac ARGV`, evaluated in two episodes."""
    assert sac.main(["--out", str(out), "--episodes", "2", *argv], counting) == 0
    return rows.read(out)


def row(task: str = CARTPOLE, seed: int = 0, **more: Any) -> dict[str, Any]:
    made = {"task": task, "seed": seed, "frames": 100_000, "action_repeat": 2, "train_freq": 1, "episodes": 2}
    made |= {
        "gradient_steps": 49_900,
        "train_seconds": 1_800.0,
        "train_cpu_seconds": 1_080.0,
        "return": 820.0,
        "returns": [810.0, 830.0],
    }
    return made | {"decision_ms_median": 0.25, "violation_steps": 3} | more


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"task": "dm_control/cartpole-swingpu-v0"}, "did you mean 'dm_control/cartpole-swingup-v0'"),
        ({"seed": -1}, "--seed: given -1; allowed: >= 0"),
        ({"frames": 0}, "--frames: given 0; allowed: >= 1"),
        ({"action_repeat": 0}, "--action-repeat: given 0; allowed: >= 1"),
        ({"train_freq": 0}, "--train-freq: given 0; allowed: >= 1"),
        ({"train_freq": 3}, "given 2 x 3 frames; allowed: a divisor of --frames and of 10,000"),
        ({"frames": 10_001}, "given 2 x 1 frames; allowed: a divisor of --frames and of 10,000"),
    ],
)
def test_what_cannot_be_trained_is_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(TelosError) as caught:
        training(**wrong)
    assert message in str(caught.value)


def test_nothing_is_trained_where_an_argument_is_wrong(
    telos: Callable[..., Any], counting: type[Counting], tmp_path: Path
) -> None:
    for option in ("--seeds", "--episodes", "--threads"):
        wrong = telos("bench", "sac", "--out", tmp_path / "rows.jsonl", option, "0")
        assert f"argument {option}: 0 given, allowed: a whole number >= 1" in wrong.err
    done = telos("bench", "sac", "--out", tmp_path / "rows.jsonl", "--tasks", "cartpole-swingup", "cheetah-rnu")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "did you mean 'dm_control/cheetah-run-v0'" in done.err
    assert counting.made == []
    assert not (tmp_path / "rows.jsonl").exists()


def test_every_task_and_seed_gets_a_row_once(counting: type[Counting], tmp_path: Path) -> None:
    argv = (
        "--episodes",
        "1",
        "--tasks",
        "cartpole-swingup",
        CHEETAH,
        "cheetah-run",
        "--frames",
        "10000",
        "--seeds",
        "2",
    )
    found = bench(counting, tmp_path / "rows.jsonl", *argv)
    assert [(one["task"], one["seed"]) for one in found] == [(CARTPOLE, 0), (CHEETAH, 0), (CARTPOLE, 1), (CHEETAH, 1)]
    assert {one["decisions"] for one in found} == {5_000}
    assert [one["env_frames"] for one in found] == [[1_000]] * 4, "whole episodes"
    assert all(one["return"] == pytest.approx(np.mean(one["returns"])) for one in found)
    assert bench(counting, tmp_path / "rows.jsonl", *argv) == found
    assert len(counting.made) == 4
    less = ("--episodes", "1", "--tasks", CARTPOLE, "--frames", "10000", "--train-freq", "5")
    more = bench(counting, tmp_path / "rows.jsonl", *less)
    assert (len(more), more[-1]["gradient_steps"]) == (5, 1_000), "another way of training is another row"


def test_other_episodes_need_no_other_training(counting: type[Counting], tmp_path: Path) -> None:
    out, argv = tmp_path / "rows.jsonl", ("--tasks", CARTPOLE, "--frames", "20000")
    bench(counting, out, *argv)
    found = bench(counting, out, *argv, "--episodes", "1")
    assert [len(one["returns"]) for one in found] == [2, 1]
    assert found[1]["returns"] == found[0]["returns"][:1]
    assert found[1]["train_seconds"] == found[0]["train_seconds"]
    assert [path and path.name for path in counting.made] == [None, "20000"]


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    counting: type[Counting], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ("--episodes", "1", "--tasks", CARTPOLE, "--frames", "50000")
    (whole,) = bench(counting, tmp_path / "whole.jsonl", *argv)
    counting.stop_at = 35_000
    with pytest.raises(KeyboardInterrupt, match=r"30,000 of 50,000 frames of dm_control/cartpole-swingup-v0 are train"):
        bench(counting, tmp_path / "rows.jsonl", *argv)
    assert rows.read(tmp_path / "rows.jsonl") == []
    counting.stop_at = None
    capsys.readouterr()
    (resumed,) = bench(counting, tmp_path / "rows.jsonl", *argv)
    assert "cartpole-swingup seed 0: 40,000 of 50,000 frames" in capsys.readouterr().err
    times = ("train_seconds", "train_cpu_seconds", "decision_ms_median")
    assert {k: v for k, v in resumed.items() if k not in times} == {k: v for k, v in whole.items() if k not in times}
    assert [path and path.name for path in counting.made] == [None, None, "30000"]


def test_half_a_checkpoint_is_none(counting: type[Counting], tmp_path: Path) -> None:
    learner, spent = trained(training(frames=CHUNK), tmp_path, counting, [].append)
    assert newest(tmp_path) == (CHUNK, spent)
    (tmp_path / "20000.part").mkdir()
    assert newest(tmp_path) == (CHUNK, spent)
    told: list[int] = []
    learner, more = trained(training(), tmp_path, counting, told.append)
    assert more.wall > spent.wall
    assert learner.gradient_steps == 3 * CHUNK // 2
    assert told == [10_000, 15_000, 20_000, 25_000, 30_000]
    assert [path.name for path in tmp_path.iterdir()] == ["30000"], "one checkpoint is enough"
    assert newest(tmp_path / "nowhere") == (0, Spent())


def test_every_training_has_its_own_checkpoints(tmp_path: Path) -> None:
    others = [{}, {"task": CHEETAH}, {"seed": 1}, {"frames": CHUNK}, {"action_repeat": 1}, {"train_freq": 5}]
    folders = {sac.folder(training(**other), tmp_path / "sac.jsonl") for other in others}
    assert len(folders) == len(others)
    assert {folder.parent for folder in folders} == {tmp_path / "sac"}


def test_policies_are_evaluated_where_planners_begin_and_not_where_they_were_trained(
    counting: type[Counting], tmp_path: Path
) -> None:
    (found,) = bench(counting, tmp_path / "rows.jsonl", "--tasks", CARTPOLE, "--frames", "10000")
    cases = planners.cases(["cartpole-swingup"], ["icem"], range(2), 1, planners.BUDGET, None)
    assert found["reset_seeds"] == [episode.seeds_of(case.config.seed, case.episode)[0] for case in cases]
    assert found["guardrails_sha256"]
    trained_from = {seed_of(seed, at) for seed in range(20) for at in range(0, 1_000_000, CHUNK)}
    assert len(trained_from) == 20 * 100, "every chunk has its own"
    assert not trained_from & {seed for case in range(20) for seed in episode.seeds_of(case, 0)}


def test_an_action_lasts_as_many_frames_as_is_said() -> None:
    env, real = environment(CHEETAH, 2), registry.make(CHEETAH)
    observation, _ = env.reset(seed=3)
    mine, _ = real.reset(seed=3)
    assert (observation.shape, observation.dtype) == (env.observation_space.shape, np.float32)
    rng = np.random.default_rng(0)
    truncated, decisions = False, 0
    while not truncated:
        np.testing.assert_array_equal(observation, flat(real.observation_space, mine))
        action = rng.uniform(-1, 1, 6)
        observation, reward, _, truncated, _ = env.step(action)
        _, first, _, _, _ = real.step(action)
        mine, second, _, ended, _ = real.step(action)
        assert (reward, truncated) == (first + second, ended)
        decisions += 1
    assert decisions == 500
    env.close()
    real.close()


def test_an_action_does_not_outlast_its_episode() -> None:
    env = ActionRepeat(registry.make(CARTPOLE), 3)
    env.reset(seed=0)
    ends = [env.step(np.zeros(1))[3] for _ in range(334)]
    assert ends == [False] * 333 + [True]
    env.close()


def test_a_missing_extra_is_one_command(
    telos: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)  # as if it were not installed
    done = telos("bench", "sac", "--out", tmp_path / "rows.jsonl", "--tasks", "cartpole-swingup", "--frames", "100")
    assert done.status == 2
    assert done.err.count("\n") == 1
    assert "no Stable-Baselines3" in done.err
    assert f"pip install '{REQUIREMENT}'" in done.err
    assert not (tmp_path / "rows.jsonl").exists()


def test_the_extra_is_what_the_error_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"]["sac"] == [REQUIREMENT]
    assert REQUIREMENT in (sac.__doc__ or "")


class Library:
    """The part of `stable_baselines3.SAC` that `StableBaselines` calls; it records the calls in order."""

    def __init__(self, policy: str, env: Any, **params: Any) -> None:
        self.calls: list[Any] = [(policy, params)]
        self.env, self.num_timesteps, self._n_updates = env, 0, 0

    @classmethod
    def load(cls, path: Path, env: Any, device: str) -> Library:
        made = cls("", env)
        made.num_timesteps = int(path.read_text())
        return made

    def load_replay_buffer(self, path: Path) -> None:
        self.calls.append(path.read_text())

    def save(self, path: Path) -> None:
        path.write_text(str(self.num_timesteps))

    def save_replay_buffer(self, path: Path) -> None:
        path.write_text("transitions")

    def get_env(self) -> Any:
        return self.env

    def set_env(self, env: Any, force_reset: bool) -> None:
        self.calls.append(("reset", env is self.env and force_reset))

    def set_random_seed(self, seed: int) -> None:
        self.calls.append(("seed", seed))

    def learn(self, decisions: int, callback: Callable[[Any, Any], bool], reset_num_timesteps: bool) -> None:
        assert not reset_num_timesteps
        for _ in range(decisions):
            self.num_timesteps += 1
            assert callback(None, None), "the library stops where a callback returns False"
        self._n_updates += decisions

    def predict(self, observation: np.ndarray, deterministic: bool) -> tuple[np.ndarray, None]:
        assert deterministic
        return np.zeros(1), None


def test_the_library_is_asked_for_its_defaults_and_for_whole_chunks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", SimpleNamespace(SAC=Library))
    asked = training(frames=100, seed=4, train_freq=5)
    env = environment(asked.task, asked.action_repeat)
    new = StableBaselines(asked, env, None)
    policy, params = new._model.calls[0]
    assert policy == "MlpPolicy"
    assert params == {
        "buffer_size": 50,
        "train_freq": 5,
        "gradient_steps": 1,
        "seed": seed_of(4, 0),
        "device": "cpu",
    }, "all else is the library's"
    told: list[int] = []
    new.learn(3, 11, told.append)
    new.save(tmp_path)
    again = StableBaselines(asked, env, tmp_path)
    again.learn(2, 12, told.append)
    assert told == [1, 2, 3, 1, 2]
    assert new._model.calls[1:] == [("reset", True), ("seed", 11)]
    assert again._model.calls[1:] == ["transitions", ("reset", True), ("seed", 12)]
    assert (new.gradient_steps, again._model.num_timesteps) == (3, 5)
    assert again.act(np.zeros(5, np.float32)).shape == (1,)
    (tmp_path / "model.zip").write_text("torn")
    with pytest.raises(TelosError, match="delete it to train anew"):
        StableBaselines(asked, env, tmp_path)
    env.close()


def test_the_table_has_a_line_for_each_way_of_training() -> None:
    found = [
        row(),
        row(CARTPOLE, 1, **{"return": 800.0}),
        row(CHEETAH),
        row(CHEETAH, train_freq=5, gradient_steps=9_980),
    ]
    head, rule, cartpole, cheetah, rarely = sac.table(found).splitlines()
    assert head.count("|") == rule.count("|") == cartpole.count("|")
    assert cartpole.startswith(
        f"| cartpole-swingup | 100,000 | 2 | 49,900 | 0.50 (0.30) | {interval(mean_return([820.0, 800.0]))} | 810 |"
    )
    assert "2 trainings, 2 starts each" in cartpole
    assert cartpole.endswith("| 1.5 | 0.25 | 835.0 (826, 845) at 100,000 |")
    assert f"{interval(mean_return([830.0, 810.0]))} | 810 | 2 starts, one training" in cheetah
    assert "| 9,980 |" in rarely
    assert len(sac.table([]).splitlines()) == 2


def test_the_anchor_is_the_nearest() -> None:
    with (rows.ANCHORS / "dm_control_returns.csv").open(encoding="utf-8") as file:
        known = {
            int(one["env_frames"]): one["mean_return"]
            for one in csv.DictReader(file)
            if (one["task"], one["method"]) == ("cheetah-run", "sac")
        }
    for frames, near in ((1_000, 100_000), (100_000, 100_000), (160_000, 200_000), (9_000_000, 4_000_000)):
        said = sac.published("cheetah-run", frames)
        assert said.startswith(f"{known[near]} (")
        assert said.endswith(f" at {near:,}")
    assert sac.published("of-my-own", 1) == ""


def test_the_table_needs_no_library(telos: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    rows.append(tmp_path / "rows.jsonl", row())
    done = telos("bench", "sac", "--table", "--out", tmp_path / "rows.jsonl")
    assert done.status == 0
    assert "| cartpole-swingup | 100,000 |" in done.out
