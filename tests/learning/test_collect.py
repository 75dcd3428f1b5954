"""Collectors, and stores that come from several of them, from Minari, or from another training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter

from agent.config.load import load
from agent.learning import recipe
from agent.learning.collect import RandomActions, collected
from agent.learning.collectors import CollectConfig, collector
from agent.learning.prepare import world_of
from agent.learning.recipe import Recipe
from agent.learning.train import Training, begin
from agent.learning.traindir import TrainDir
from agent.memory import minari_data
from agent.memory.card import card_of
from agent.memory.episode import ARRAYS, Episode
from agent.memory.store import Store
from envs.errors import TelosError
from envs.percept import Percept
from tests.conftest import RAIL
from tests.learning.conftest import SMALL, to_the_end
from tests.learning.test_training import outcome
from worldmodels.checkpoint import Checkpoint

CARTPOLE = "dm_control/cartpole-swingup-v0"
QUICK = {"planner.horizon": 4, "planner.budget.evaluations": 8, "planner.params": {"iterations": 2, "elites": 3}}


def by(**fields: Any) -> Any:
    return TypeAdapter(CollectConfig).validate_python(fields)


def episodes(fields: dict[str, Any], number: int = 1, steps: int = 6, **overrides: Any) -> list[Episode]:
    config = load(None, CARTPOLE, {**QUICK, **overrides})
    world, _ = world_of(config)
    actor = collector(by(**fields), config, world)
    return [collected(world, actor, 0, index, steps) for index in range(number)]


@pytest.mark.parametrize("wanted", [0.0, 0.5, 0.9])
def test_random_actions_are_as_correlated_as_was_asked(wanted: float) -> None:
    """Clipping keeps signs, whose correlation in a Gaussian process is 2/pi times the arcsine of its own (Sheppard)."""
    actor, percept = RandomActions(50, (wanted,)), Percept(np.zeros(1), None)
    actor.begin(0)
    signs = np.sign([actor.act(percept) for _ in range(200)])
    assert (signs[1:] * signs[:-1]).mean() == pytest.approx(2 / np.pi * np.arcsin(wanted), abs=0.05)


@pytest.mark.parametrize("fields", [{"kind": "random"}, {"kind": "planner"}])
def test_an_episode_follows_from_seed_and_index(fields: dict[str, Any]) -> None:
    one, other = episodes(fields, 2), episodes(fields, 2)
    for a, b in zip(one, other, strict=True):
        assert all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ARRAYS)
    assert not np.array_equal(one[0].actions, one[1].actions)
    assert one[0].seed != one[1].seed


def test_the_record_says_who_acted() -> None:
    assert episodes({"kind": "planner", "run": {"planner": {"kind": "mppi", "params": {}}}})[0].actor == "mppi"
    assert episodes({"kind": "random"})[0].actor == "random"


def test_a_mixture_draws_by_its_shares() -> None:
    parts = [{"by": {"kind": "random"}, "share": 3.0}, {"by": {"kind": "planner"}, "share": 1.0}]
    actors = [episode.actor for episode in episodes({"kind": "mixture", "parts": parts}, 40, steps=1)]
    assert set(actors) == {"random", "icem"}
    assert 20 <= actors.count("random") <= 38


def test_what_the_gate_refuses_is_recorded_as_it_was_executed() -> None:
    """Random actions would leave the rail; the record holds what entered the world, and no violation."""
    rules = [{**RAIL, "lower": -0.3, "upper": 0.3, "scale": 0.1}]
    random = {"kind": "random", "correlation": [0.95]}
    (found,) = episodes(random, 1, steps=150, guardrails=rules)
    assert (found.margins >= 0).all()
    (free,) = episodes(random, 1, steps=150)
    assert not np.array_equal(free.actions, found.actions)
    assert np.abs(free.observations[:, 0]).max() > 0.3, "the cart's position: without the rule it would leave the rail"


# --- the card -----------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    config = load(None, "dm_control/reacher-easy-v0", {})
    world, about = world_of(config)
    actor = collector(by(kind="random"), config, world)
    made = Store.create(tmp_path / "store", about)
    made.append([collected(world, actor, 0, index, 30) for index in range(4)])
    return made


def test_a_card_counts_what_is_there(store: Store) -> None:
    (first, *_) = store.episodes()
    store.append([replace(first, actor="icem", terminated=True, truncated=False)])
    card = card_of(store)
    assert (card.episodes, card.frames, card.terminated) == (5, 150, 1)
    assert card.actors == {"random": 120, "icem": 30}
    assert card.seconds == pytest.approx(3.0)
    assert list(card.coverage)[:2] == ["position[0]", "position[1]"]
    assert np.isnan(card.violating)
    assert "random 80 %" in card.text()
    assert store.sha256 in card.text()


def test_a_card_counts_violating_steps(tmp_path: Path, store: Store) -> None:
    rule = {**RAIL, "tolerance": 0.1, "scale": 0.1}
    about = store.about.model_copy(update={"guardrails": [rule]})
    made = Store.create(tmp_path / "broken", about)
    (first, *_) = store.episodes()
    margins = np.ones((30, 1))
    margins[:3] = [[-0.05], [-0.2], [np.nan]]  # the first one is within the tolerance
    made.append([replace(first, margins=margins)])
    assert card_of(made).violating == pytest.approx(2 / 30)


# --- Minari -------------------------------------------------------------------------------------------------

minari = pytest.importorskip("minari")


def test_minari_loads_what_was_exported(store: Store, tmp_path: Path) -> None:
    minari_data.export(store, tmp_path / "out", "telos/reacher-random-v0")
    found = minari.MinariDataset(tmp_path / "out" / "data")
    assert (found.total_episodes, found.total_steps) == (4, 120)
    assert found.id == "telos/reacher-random-v0"
    for ours, theirs in zip(store.episodes(), found.iterate_episodes(), strict=True):
        np.testing.assert_array_equal(theirs.observations, ours.observations)
        np.testing.assert_array_equal(theirs.actions, ours.actions)
        np.testing.assert_array_equal(theirs.rewards, ours.rewards)
        assert theirs.truncations[-1]
        assert found.observation_space.contains(theirs.observations[0])
        assert found.action_space.contains(theirs.actions[0])


def test_what_was_exported_is_imported_again(store: Store, tmp_path: Path) -> None:
    env = world_of(load(None, store.about.task, {}))[0].env
    minari_data.export(store, tmp_path / "out", "telos/reacher-random-v0")
    again = minari_data.imported(tmp_path / "out", tmp_path / "again", store.about.task, env.interface, 6)
    for ours, theirs in zip(store.episodes(), again.episodes(), strict=True):
        assert all(np.array_equal(getattr(ours, name), getattr(theirs, name)) for name in ARRAYS)
        assert (ours.seed, ours.actor, ours.truncated) == (theirs.seed, theirs.actor, theirs.truncated)
        assert ours.params.keys() == theirs.params.keys()
        assert all(np.array_equal(ours.params[name], theirs.params[name]) for name in ours.params)
    assert (again.about.guardrails, again.about.entries) == (store.about.guardrails, store.about.entries)


def test_actions_in_native_units_become_ours(store: Store, tmp_path: Path) -> None:
    from gymnasium import spaces
    from minari.data_collector.episode_buffer import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    env = world_of(load(None, "Hopper-v5", {}))[0].env
    wide = replace(env.interface, action_low=np.full(3, -2.0), action_high=np.full(3, 2.0))
    seen = {"b": np.ones((3, 1)), "a": np.zeros((3, 2))}
    space = spaces.Dict({"b": spaces.Box(-9, 9, (1,)), "a": spaces.Box(-9, 9, (2,))})
    (tmp_path / "out").mkdir()
    made = MinariStorage.new(tmp_path / "out" / "data", space, spaces.Box(-2, 2, (3,)))
    ends = [False, False]
    made.update_episodes([EpisodeBuffer(0, observations=seen, actions=np.full((2, 3), 1.0), rewards=[0.0, 1.0], terminations=ends, truncations=ends)])  # fmt: skip  # noqa: E501
    (found,) = minari_data.imported(tmp_path / "out", tmp_path / "again", "Hopper-v5", wide, 3).episodes()
    np.testing.assert_allclose(found.actions, 0.5)
    np.testing.assert_allclose(found.observations, [[0, 0, 1]] * 3)  # entries in key order


def spoil_link(folder: Path) -> None:
    with h5py.File(folder / minari_data.MAIN, "r+") as file:
        del file["episode_0/rewards"]
        file["episode_0/rewards"] = h5py.ExternalLink("/etc/passwd", "x")


def spoil_filter(folder: Path) -> None:
    with h5py.File(folder / minari_data.MAIN, "r+") as file:
        del file["episode_0/rewards"]
        file["episode_0"].create_dataset("rewards", data=np.zeros(30), chunks=(30,), scaleoffset=2)


def spoil_spaces(folder: Path) -> None:
    """Without spaces, Minari would make the environment that the data set names: its code would run."""
    said = json.loads((folder / minari_data.METADATA).read_text())
    del said["observation_space"]
    said["env_spec"] = '{"id": "Evil-v0", "entry_point": "os:system"}'
    (folder / minari_data.METADATA).write_text(json.dumps(said))


def spoil_metadata(folder: Path) -> None:
    (folder / minari_data.METADATA).write_text("{")


@pytest.mark.parametrize("spoil", [spoil_link, spoil_filter, spoil_spaces, spoil_metadata])
def test_a_data_set_that_is_more_than_data_is_refused(store: Store, tmp_path: Path, spoil: Any) -> None:
    env = world_of(load(None, store.about.task, {}))[0].env
    minari_data.export(store, tmp_path / "out", "telos/x-v0")
    spoil(tmp_path / "out" / "data")
    with pytest.raises(TelosError, match="no plain data set"):
        minari_data.imported(tmp_path / "out", tmp_path / "again", store.about.task, env.interface, 6)
    assert not (tmp_path / "again").exists()


# --- training from what is there ------------------------------------------------------------------------------


def test_replayed_episodes_train_as_collected_ones_do(whole: Path, tmp_path: Path) -> None:
    """The same episodes, once collected and once replayed from two stores, give the same weights."""
    episodes = list(TrainDir.open(whole).store.episodes())
    stores = []
    for index, part in enumerate((episodes[:2], episodes[2:])):
        stores.append(Store.create(tmp_path / f"store{index}", TrainDir.open(whole).store.about))
        stores[-1].append(part)
    given = {**SMALL, "replay": [str(store.path) for store in stores]}
    training = begin(recipe.load("quickstart", given), tmp_path / "run")
    to_the_end(training)
    one, other = outcome(whole), outcome(tmp_path / "run")
    assert one["state"] == other["state"]
    assert len(training.folder.store) == 0
    data = Checkpoint.read(tmp_path / "run").header.data
    assert {data[str(store.path)] for store in stores} == {store.sha256 for store in stores}


def test_more_frames_than_are_replayed_are_collected(whole: Path, tmp_path: Path) -> None:
    given = {**SMALL, "frames": 400, "evaluate.every": 400, "replay": [str(whole / "store")]}
    training = begin(recipe.load("quickstart", given), tmp_path / "run")
    for _ in range(7):
        training.cycle()
    to_the_end(Training(TrainDir.open(tmp_path / "run")))
    folder = TrainDir.open(tmp_path / "run")
    assert folder.store.frames == 100
    assert [row["frames"] for row in folder.lines("curve")] == [400]


def test_a_store_that_has_changed_is_not_resumed_over(whole: Path, tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store", TrainDir.open(whole).store.about)
    episodes = list(TrainDir.open(whole).store.episodes())
    store.append(episodes[:3])
    training = begin(recipe.load("quickstart", {**SMALL, "replay": [str(store.path)]}), tmp_path / "run")
    for _ in range(5):
        training.cycle()
    store.append(episodes[3:])
    with pytest.raises(TelosError, match="a store that has changed"):
        Training(TrainDir.open(tmp_path / "run"))
    assert len(TrainDir.open(tmp_path / "run").store) == 2, "its own episodes are still there"


@pytest.mark.parametrize(
    ("params", "states", "said"),
    [
        ({"model/jnt_qposadr": np.array([10**6, 0])}, None, "the params"),
        ({"nonsense": np.zeros(1)}, None, "the params"),
        (None, np.zeros((51, 3)), "states of 3 numbers"),
        (None, np.full((51, 35), np.nan), "states of 35 numbers; allowed: 35, finite"),
    ],
)
def test_a_foreign_store_writes_nothing_into_the_model(
    whole: Path, tmp_path: Path, params: Any, states: Any, said: str
) -> None:
    (first, *_) = TrainDir.open(whole).store.episodes()
    store = Store.create(tmp_path / "store", TrainDir.open(whole).store.about)
    more = {"params": first.params if params is None else params, "states": first.states if states is None else states}
    store.append([replace(first, **more)] * 2)
    with pytest.raises(TelosError, match=said):
        begin(recipe.load("quickstart", {**SMALL, "replay": [str(store.path)]}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_goals_of_an_own_task_train_and_run_from_anywhere(
    telos: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/arm, whose task is a file, without its guardrails."""
    shutil.copytree(Path(__file__).parents[2] / "docs" / "arm", tmp_path / "arm")
    file = tmp_path / "arm" / "arm.yaml"
    said = {
        key: value for key, value in yaml.safe_load(file.read_text()).items() if key not in ("guardrails", "back_up")
    }
    file.write_text(yaml.safe_dump(said))
    monkeypatch.chdir(tmp_path / "arm")
    joint = next(iter(_joints(Path("arm.yaml"))))
    given = {
        **SMALL,
        "task": "arm.yaml",
        "observe": {},
        "signals": [f"joint_velocity/{joint}"],
        "evaluate.goals.within": {f"joint_position/{joint}": 0.05},
        "evaluate.goals.periods": {},
        "evaluate.goals.starts": 1,
    }
    to_the_end(begin(recipe.load("quickstart", given), tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    Training(TrainDir.open(tmp_path / "run"))
    goal = ("--goal", f"joint_velocity/{joint} = 0 +- 9", "--frames", "3")
    done = telos("run", "--model", tmp_path / "run", *goal, "--out", tmp_path / "played")
    assert done.status == 0, done.err


def test_a_learned_model_is_not_judged_as_if_it_were_exact(whole: Path) -> None:
    rules = [{**RAIL, "joint": "wrist", "lower": -2.0, "upper": 2.0, "unit": "rad", "scale": 0.1}]
    given = {**SMALL, "run.guardrails": rules}
    with pytest.raises(TelosError, match="that predicts its signals"):
        begin(recipe.load("quickstart", given), whole.parent / "never")


def _joints(task: Path) -> list[str]:
    from envs import registry

    model = registry.load(str(task)).spec().compile()
    return [model.joint(index).name for index in range(model.njnt)]


def test_a_training_goes_on_from_anothers_weights(whole: Path, tmp_path: Path) -> None:
    given = {**SMALL, "start": str(whole / "model.safetensors"), "learn.updates_per_frame": 1e-9}
    training = begin(recipe.load("quickstart", given), tmp_path / "run")
    to_the_end(training)
    ours, theirs = Checkpoint.read(tmp_path / "run"), Checkpoint.read(whole)
    assert ours.header.parents == [theirs.sha256]
    weights = [name for name in theirs.tensors if "predictor" in name]
    assert all(np.array_equal(ours.tensors[name], theirs.tensors[name]) for name in weights)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"replay": ["/nowhere"]}, "no such directory"),
        ({"start": "/nowhere/model.safetensors"}, "no such file"),
        ({"start": "TRAINED", "model.latent": 5}, "with other params"),
        ({"start": "TRAINED", "observe.ignored": ["velocity"]}, "with other ignored"),
        ({"start": "TRAINED", "task": "dm_control/reacher-hard-v0"}, "a checkpoint of dm_control/reacher-easy-v0"),
        ({"replay": ["STORE"], "task": "dm_control/reacher-hard-v0"}, "task dm_control/reacher-easy-v0"),
    ],
)
def test_what_cannot_be_built_on_is_refused(whole: Path, tmp_path: Path, more: dict[str, Any], said: str) -> None:
    places = {"TRAINED": str(whole), "STORE": str(whole / "store")}
    given = {
        name: [places.get(one, one) for one in value] if isinstance(value, list) else places.get(value, value)
        for name, value in more.items()
    }
    with pytest.raises(TelosError, match=said):
        begin(recipe.load("quickstart", {**SMALL, **given}), tmp_path / "run")


def test_a_curious_collector_takes_over_after_the_warm_up(tmp_path: Path) -> None:
    given = {**SMALL, "model.members": 3, "collect": {"kind": "curiosity"}, "warm_up": 2}
    training = begin(recipe.load("quickstart", given), tmp_path / "run")
    to_the_end(training)
    actors = [episode.actor for episode in training.folder.store.episodes()]
    assert actors == ["random", "random", *["curiosity icem"] * 4]
    assert TrainDir.open(tmp_path / "run").lines("curve")[-1]["frames"] == 300


def test_a_recipe_is_read_back_as_it_was_written(small: Recipe, whole: Path) -> None:
    assert TrainDir.open(whole).recipe == small
