"""Libraries for reinforcement learning take a task from `gymnasium.make` as it is."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import RecordEpisodeStatistics, RecordVideo
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.vec_env import DummyVecEnv

import telos

CARTPOLE = "telos/dm_control-cartpole-swingup-v0"
CALM = {"kind": "joint_velocity", "name": "calm", "joint": "slider", "limit": 0.1, "unit": "m/s"}
ARM = str(Path(telos.__file__).parent / "docs" / "arm" / "arm.yaml")


@pytest.mark.parametrize(
    "options",
    [{"id": CARTPOLE, "guardrails": [CALM]}, {"id": "telos/Hopper-v5"}, {"id": "telos/MJCF-v0", "file": ARM}],
)
def test_stable_baselines_finds_nothing_wrong(options: dict[str, Any], recwarn: pytest.WarningsRecorder) -> None:
    with closing(gymnasium.make(**options)) as env:
        check_env(env)
    assert [str(one.message) for one in recwarn.list if one.category is UserWarning] == []


class Costs(BaseCallback):
    """Collects what a safe agent would learn from."""

    def __init__(self) -> None:
        super().__init__()
        self.costs: list[float] = []
        self.margins: list[float] = []

    def _on_step(self) -> bool:
        self.costs += [info["cost"] for info in self.locals["infos"]]
        self.margins += [info["margin/calm"] for info in self.locals["infos"]]
        return True


def test_ppo_trains_and_sees_the_costs() -> None:
    with closing(DummyVecEnv([lambda: gymnasium.make(CARTPOLE, guardrails=[CALM], max_episode_steps=40)] * 2)) as envs:
        agent = PPO("MultiInputPolicy", envs, n_steps=32, batch_size=64, n_epochs=1, seed=0, device="cpu")
        seen = Costs()
        agent.learn(128, callback=seen)
        assert len(seen.costs) == 128
        assert set(seen.costs) == {0.0, 1.0}
        assert [cost == 1.0 for cost in seen.costs] == [margin < 0 for margin in seen.margins]
        action, _ = agent.predict(envs.reset())
        assert action.dtype == np.float32


def walked(mode: str) -> tuple[list[Any], dict[str, Any]]:
    """Rewards, costs and margins of two environments under the same actions, and the infos of the last step."""
    envs = gymnasium.make_vec(CARTPOLE, num_envs=2, vectorization_mode=mode, guardrails=[CALM], max_episode_steps=15)
    with closing(envs):
        envs.reset(seed=7)
        rng = np.random.default_rng(0)
        seen, infos = [], {}
        for _ in range(20):
            actions = rng.uniform(-1, 1, (2, 1)).astype(np.float32)
            _, rewards, _, truncated, infos = envs.step(actions)
            cost, margin = infos.get("cost", np.zeros(2)), infos.get("margin/calm", np.zeros(2))
            seen.append((rewards.tolist(), truncated.tolist(), cost.tolist(), margin.tolist()))
        return seen, infos


def test_vector_environments_give_the_same_in_one_process_and_in_several() -> None:
    serial, infos = walked("sync")
    parallel, _ = walked("async")
    assert parallel == serial
    assert infos["cost"].shape == (2,)
    assert infos["cost"].dtype == np.float64
    assert {cost for _, _, costs, _ in serial for cost in costs} == {0.0, 1.0}
    assert sum(all(truncated) for _, truncated, _, _ in serial) == 1


class Clip:
    """The part of MoviePy that `RecordVideo` calls: MoviePy itself needs an older Pillow than telos is locked to."""

    written: list[tuple[int, float, str]]

    def __init__(self, frames: list[np.ndarray], fps: float) -> None:
        assert all(frame.shape == (96, 128, 3) and frame.dtype == np.uint8 for frame in frames)
        self.frames, self.fps = frames, fps

    def write_videofile(self, path: str, logger: object) -> None:
        self.written.append((len(self.frames), self.fps, Path(path).name))


def test_videos_are_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Clip.written = []
    monkeypatch.setitem(sys.modules, "moviepy", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "moviepy.video.io.ImageSequenceClip", SimpleNamespace(ImageSequenceClip=Clip))
    env = gymnasium.make(CARTPOLE, render_mode="rgb_array", width=128, height=96, max_episode_steps=5)
    with closing(RecordVideo(RecordEpisodeStatistics(env), str(tmp_path / "films"))) as recorded:
        recorded.reset(seed=0)
        infos = [recorded.step(np.ones(1, np.float32))[4] for _ in range(5)]
        assert infos[-1]["episode"]["l"] == 5
    assert Clip.written == [(6, pytest.approx(100.0), "rl-video-episode-0.mp4")]
