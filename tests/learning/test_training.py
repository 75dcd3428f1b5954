"""A training run: what it writes, that it goes on bit for bit after a kill, and what it says when it cannot."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent.learning import recipe
from agent.learning.goals import goal_pairs
from agent.learning.learner import Learner
from agent.learning.prepare import world_of
from agent.learning.recipe import Recipe
from agent.learning.train import Training, begin
from agent.learning.traindir import TrainDir
from agent.learning.watch import LEAST_STD, signals_of
from agent.memory.episode import Episode
from agent.memory.ring import Ring
from agent.memory.store import Store
from agent.rollouts.episode import seeds_of
from benchmarks.worldmodels.kills import outcome
from envs.errors import TelosError
from envs.files import locked
from envs.physics.batch import BatchPhysics
from envs.physics.signals import request
from tests.learning.conftest import REWARDS, SMALL, to_the_end
from worldmodels import losses
from worldmodels.checkpoint import Checkpoint
from worldmodels.jepa.networks import Inputs, Networks


class Killed(BaseException):
    """As SIGKILL: nothing runs after it."""


def test_what_a_run_leaves(whole: Path, small: Recipe) -> None:
    folder = TrainDir.open(whole)
    assert folder.store.frames == small.frames
    assert [row["frames"] for row in folder.lines("curve")] == [150, 300]
    assert folder.lines("log")[-1]["updates"] == int(small.frames * small.learn.updates_per_frame)
    row = folder.lines("curve")[-1]
    assert row["model_sha256"] == Checkpoint.read(whole).sha256
    assert set(row["health"]["probe_r2"]) == set(small.signals)
    assert row["scores"][0]["starts"] == 2
    header = Checkpoint.read(whole).header
    assert (header.frames, header.seed, header.data["store"]) == (300, 0, folder.store.sha256)


def test_the_same_seed_gives_the_same_run(whole: Path, small: Recipe, tmp_path: Path) -> None:
    torch.manual_seed(99)  # global random numbers change nothing
    np.random.seed(99)  # noqa: NPY002
    to_the_end(begin(small, tmp_path / "again"))
    assert outcome(tmp_path / "again") == outcome(whole)


def test_another_seed_gives_another_run(whole: Path, small: Recipe, tmp_path: Path) -> None:
    to_the_end(begin(small.model_copy(update={"seed": 1}), tmp_path / "other"))
    assert outcome(tmp_path / "other")["model"] != outcome(whole)["model"]


def kill(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, after: int, late: bool) -> None:
    """Make the call number `after` of a method end the process, before or after its work."""
    original: Callable[..., Any] = getattr(target, name)
    calls = 0

    def dying(*args: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == after and not late:
            raise Killed
        found = original(*args, **named)
        if calls == after:
            raise Killed
        return found

    monkeypatch.setattr(target, name, dying)


@pytest.mark.parametrize(
    ("where", "after", "late"),
    [
        *(("store", 3, False), ("store", 3, True), ("update", 7, False), ("curve", 1, False), ("curve", 1, True)),
        *(("log", 4, True), ("save", 2, False), ("save", 6, True), ("model", 2, True), ("restore", 1, False)),
    ],
)
def test_a_killed_run_ends_as_one_that_was_not(
    whole: Path, small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, after: int, late: bool
) -> None:
    path = tmp_path / "run"
    places: dict[str, tuple[Any, str]] = {
        "store": (Store, "append"),
        "update": (Learner, "update"),
        "curve": (TrainDir, "append"),
        "log": (TrainDir, "append"),
        "save": (TrainDir, "save"),
        "model": (Checkpoint, "written"),
        "restore": (TrainDir, "restore"),
    }
    with monkeypatch.context() as patch:
        kill(patch, *places[where], after, late)
        with pytest.raises(Killed):
            to_the_end(begin(small, path))
    to_the_end(Training(TrainDir.open(path)))
    assert outcome(path) == outcome(whole)


VARIANTS: dict[str, dict[str, Any]] = {
    "the cost-to-go of goals": {"reach": {"updates_per_frame": 0.05, "batch": 16, "width": 16}},
    "critic and policy": {"evaluate.returns": {"episodes": 1, "by": ["policy"]}},
    "a teacher": {"learn.target": "teacher"},
    "members and curiosity": {"model.members": 3, "collect": {"kind": "curiosity"}, "warm_up": 2},
    "a ring that wraps": {"learn.capacity": 120},
    "sigreg": {"losses": {"prediction": 1.0, "sigreg": 0.1}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kind_of_training_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    rewarded = variant == "critic and policy"
    base, small = ("rewards", REWARDS) if rewarded else ("quickstart", SMALL)
    given = recipe.load(base, {**small, **VARIANTS[variant]})
    to_the_end(begin(given, tmp_path / "whole"))
    with monkeypatch.context() as patch:
        kill(patch, TrainDir, "save", 4, late=False)
        with pytest.raises(Killed):
            to_the_end(begin(given, tmp_path / "killed"))
    to_the_end(Training(TrainDir.open(tmp_path / "killed")))
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


def test_a_rollout_compares_each_moment_with_its_own_prediction(small: Recipe) -> None:
    """With a predictor that adds the action, every third of 6 steps is predicted exactly, and no other."""
    settings = small.learn.model_copy(update={"moments": 2, "every": 3, "batch": 4})
    params = small.model.model_copy(update={"encoder": "identity", "predictor_layers": 1, "predictor_width": 2})
    networks = Networks(Inputs(2), 2, params, 2, 3)
    networks.roll = lambda latents, actions: (latents[:, None] + actions.cumsum(1))[None]  # type: ignore[method-assign]
    actions = np.random.default_rng(0).uniform(-1, 1, (9, 2))
    seen = np.concatenate([np.zeros((1, 2)), actions.cumsum(0)])
    ring = Ring(100, 2, 2)
    blank = np.zeros((9, 0))
    ring.add(Episode(seen, actions, np.zeros(9), blank, np.zeros((0, 0)), terminated=True))
    windows = ring.windows(np.arange(9), 6)
    rollout = Learner(networks, {"prediction": 1.0}, settings, 1, 0).rollout(windows, 0)
    assert rollout.weight[0].tolist() == [[float(s + 3 <= 9), float(s + 6 <= 9)] for s in range(9)]
    apart = (rollout.predicted[0] - rollout.targets[:, 1:]).abs().amax(-1)
    assert (apart[rollout.weight[0] > 0] < 1e-6).all()
    torch.testing.assert_close(rollout.actions[0], windows.actions[0].reshape(2, 6))
    assert losses.prediction(rollout).item() == pytest.approx(0, abs=1e-10)


def test_a_gradient_that_is_no_number_changes_no_weight(small: Recipe, tmp_path: Path) -> None:
    training = begin(small, tmp_path / "run")
    for _ in range(3):
        training.cycle()
    weights = {name: value.clone() for name, value in training.networks.state_dict().items()}
    handle = training.networks.encoder[0].weight.register_hook(lambda slope: slope * torch.inf)  # type: ignore[index]
    with pytest.raises(TelosError, match="a gradient of norm"):
        training.learner.update(training.ring, 99)
    handle.remove()
    assert all(torch.equal(value, weights[name]) for name, value in training.networks.state_dict().items())


def test_a_finished_run_has_nothing_left_to_do(whole: Path) -> None:
    before = outcome(whole)
    training = Training(TrainDir.open(whole))
    assert training.finished
    assert outcome(whole) == before


def test_no_start_of_an_evaluation_is_one_of_training(whole: Path) -> None:
    training = Training(TrainDir.open(whole))
    trained = {episode.seed for episode in training.folder.store.episodes()}
    pairs = list(goal_pairs(training.world, training.recipe.evaluate.goals, 4, training.seed))
    tested = {seed for pair in pairs for seed in seeds_of(training.seed, pair.index)}
    assert len(trained) == 6
    assert not trained & tested


# --- what goes wrong ------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_sound_state(
    small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = begin(small, tmp_path / "run")
    for _ in range(3):
        training.cycle()
    before = (tmp_path / "run" / "state.safetensors").read_bytes()
    weights = {name: value.clone() for name, value in training.networks.state_dict().items()}
    original = Ring.sample

    def spoilt(self: Ring, *args: Any, **named: Any) -> Any:
        windows = original(self, *args, **named)
        windows.observations[0, 0, 0] = torch.nan
        return windows

    monkeypatch.setattr(Ring, "sample", spoilt)
    with pytest.raises(TelosError, match=r"losses\.prediction: given nan in update"):
        training.cycle()
    inputs = ("inputs.mean", "inputs.scale")
    assert all(torch.equal(value, weights[n]) for n, value in training.networks.state_dict().items() if n not in inputs)
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == before
    monkeypatch.undo()
    to_the_end(Training(TrainDir.open(tmp_path / "run")))


def test_prediction_alone_collapses_and_the_alarm_sounds(small: Recipe, tmp_path: Path) -> None:
    more = {"losses": {"prediction": 1.0}, "learn.updates_per_frame": 1.0, "learn.rate": 2e-2}
    training = begin(recipe.load("quickstart", {**SMALL, **more}), tmp_path / "run")
    to_the_end(training)
    (row,) = training.folder.lines("curve")[-1:]
    assert row["health"]["std_least"] < LEAST_STD["plain"]
    assert any("the latents collapse" in alarm and "losses.variance" in alarm for alarm in row["alarms"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"task": "dm_control/reacher-eazy-v0"}, "did you mean"),
        ({"observe.angles": ["positions"]}, "did you mean 'position'"),
        ({"losses": {"predictoin": 1.0}}, "'predictoin' is none of them"),
        ({"learn.moments": 90}, "up to the 50 steps"),
        ({"evaluate.goals.within": {"joint_position/elbow": 0.1}}, "elbow"),
        ({"signals": ["joint_velocity/elbow"]}, "elbow"),
        ({"frames": 0}, "frames"),
        ({"frames": 50}, "above the 50 steps of an episode"),
        ({"evaluate.every": 30}, "above the 50 steps of an episode"),
        ({"model.latnt": 3}, "did you mean 'latent'"),
        ({"losses": {}}, "trains something"),
        ({"losses": {"variance": 1.0}, "model.encoder": "frozen"}, "trains something"),
        ({"evaluate.goals.ahead": []}, "ahead"),
        ({"evaluate.goals.periods": {"joint_position/shoulde": 6.3}}, "is none of them"),
        ({"observe.ignored": ["position", "to_target", "velocity"], "observe.angles": []}, "every entry"),
        ({"model.latent_form": "simnorm", "model.latent": 10}, "groups of 8"),
        ({"seed": 10**24}, "seed"),
        ({"signals": ["contact_force/hand"]}, "signals of a state"),
        ({"learn.capacity": 10}, "at least the 50 steps"),
        ({"collect": {"kind": "curiosity"}}, "which has no doubt"),
        ({"collect": {"kind": "planner"}}, "without an objective"),
        ({"run.planner.kind": "icam"}, "did you mean 'icem'"),
        ({"episode.length": 3}, "which is 50"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused_and_leaves_nothing(
    tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(TelosError, match=said):
        begin(recipe.load("quickstart", {**SMALL, **more}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_changed_recipe_is_not_resumed(whole: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(whole, tmp_path / "run")
    file = copy / "recipe.yaml"
    file.write_text(file.read_text().replace("batch: 16", "batch: 17"))
    with pytest.raises(TelosError, match="a recipe that has changed"):
        TrainDir.open(copy)


@pytest.mark.parametrize(("file", "said"), [("state.safetensors", "unreadable state"), ("curve.jsonl", "0 lines")])
def test_a_damaged_run_is_not_resumed(whole: Path, tmp_path: Path, file: str, said: str) -> None:
    copy = shutil.copytree(whole, tmp_path / "run")
    (copy / file).write_bytes((copy / file).read_bytes()[:50])
    with pytest.raises(TelosError, match=said):
        Training(TrainDir.open(copy))


def test_signals_are_those_of_the_model_that_a_reset_changed(whole: Path) -> None:
    """A reset of reacher moves the target, which is a part of the model and not of the state."""
    env = world_of(recipe.load("quickstart", SMALL).config(""))[0].env
    wanted = [request("geom_position/target"), request("geom_position/finger")]
    physics = BatchPhysics(env.task.spec, wanted, env.interface.control_period, threads=1)
    for episode in TrainDir.open(whole).store.episodes():
        found = signals_of(physics, [episode], wanted)
        apart = (found["geom_position/target"] - found["geom_position/finger"]).numpy()[:, :2]
        np.testing.assert_allclose(apart, episode.observations[:, 2:4], atol=1e-9)  # to_target, in the arm's plane


def test_a_recipe_without_signals_trains_too(tmp_path: Path) -> None:
    training = begin(recipe.load("quickstart", {**SMALL, "signals": []}), tmp_path / "run")
    to_the_end(training)
    assert training.folder.lines("curve")[-1]["health"]["probe_r2"] == {}
    assert Checkpoint.read(tmp_path / "run").header.signals == {}


def test_the_rows_are_plain_json(whole: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for name in ("curve.jsonl", "log.jsonl"):
        for line in (whole / name).read_text().splitlines():
            json.loads(line, parse_constant=refuse)


def test_a_resume_beside_a_running_training_changes_nothing(
    telos: Callable[..., Any], small: Recipe, tmp_path: Path
) -> None:
    """Between an episode and the state that counts it, the store holds more than the state says."""
    training = begin(small, tmp_path / "run")
    training.cycle()
    training.folder.store.append(list(training.folder.store.episodes()))
    with locked(tmp_path / "run", "a training"):
        done = telos("resume", tmp_path / "run")
    assert done.status == 2
    assert "still going" in done.err
    assert len(Store.open(tmp_path / "run" / "store")) == 2


def test_the_manifest_says_what_the_numbers_depend_on(whole: Path) -> None:
    said = json.loads((whole / "manifest.json").read_text())
    assert said["threads"] == 1
    assert "torch" in said["versions"]
