"""What a training is made of before its first cycle: world, networks, stores, and its directory."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from agent import build, provenance
from agent.config.config import Config
from agent.learned import learned
from agent.learning.collectors import collector
from agent.learning.goals import goal_pairs
from agent.learning.heads import acting, begin_from, learners
from agent.learning.heads import parts_of as parts_of_heads
from agent.learning.recipe import Recipe
from agent.learning.traindir import TrainDir
from agent.memory.about import About
from agent.memory.episode import Episode, flat
from agent.memory.store import Store
from envs import registry
from envs.errors import TelosError
from envs.files import contents
from envs.guard.world import GuardedWorld
from envs.mjcf import task as mjcf
from envs.physics.batch import BatchPhysics
from envs.physics.signals import request
from worldmodels.checkpoint import Checkpoint
from worldmodels.jepa.networks import Inputs, Networks
from worldmodels.jepa.saved import PART, jepa, parts_of
from worldmodels.layers import initialise


def world_of(config: Config) -> tuple[GuardedWorld, About]:
    """The guarded world of a configuration, and what a store says of its episodes."""
    env = build.environment(config, render_mode=None)
    world = build.world(config, env)
    entries = entries_of(env.observation_space)
    about = About(
        task=config.task,
        features=(sum(entries.values()),),
        action_size=env.interface.action_size,
        control_period=env.interface.control_period,
        entries=entries,
        guardrails=json.loads(world.monitor.guardrails.canonical_json)["guardrails"],
        guardrails_sha256=world.monitor.digest,
        versions=provenance.versions(),
    )
    return world, about


def entries_of(space: spaces.Space[Any]) -> dict[str, int]:
    """The entries of an observation and their numbers, in the order of `envs.percept.flatten`."""
    if isinstance(space, spaces.Dict):
        return {name: int(np.prod(space[name].shape or (1,))) for name in sorted(space.spaces)}
    return {"observation": int(np.prod(space.shape or (1,)))}


def inputs_of(recipe: Recipe, about: About) -> Inputs:
    """What the encoder reads. Raises TelosError for an entry that the observation lacks."""
    at, places = 0, {}
    for name, size in about.entries.items():
        places[name] = range(at, at + size)
        at += size
    for field_name in ("angles", "ignored"):
        for name in getattr(recipe.observe, field_name):
            if name not in places:
                raise TelosError.unknown(f"observe.{field_name}", name, places)
    angles, ignored = (
        tuple(i for name in names for i in places[name]) for names in (recipe.observe.angles, recipe.observe.ignored)
    )
    made = Inputs(at, angles, tuple(i for i in ignored if i not in angles))
    if not made.size:
        raise TelosError("observe.ignored", "every entry of the observation", "some of them")
    return made


def networks_of(recipe: Recipe, about: About, start: Checkpoint | None) -> Networks:
    """The networks of a recipe, with weights that follow from its seed, or those of a checkpoint.

    Raises:
        TelosError: as `inputs_of`; or a checkpoint of another task, or of other networks or inputs.
    """
    inputs = inputs_of(recipe, about)
    made = Networks(inputs, about.action_size, recipe.model, recipe.learn.moments, recipe.learn.every)
    initialise(made, recipe.seed)
    if start is not None:
        ours = parts_of(made, None)[0][PART]
        theirs = start.header.parts.get(PART)
        if start.header.task != recipe.task:
            raise TelosError("start", f"a checkpoint of {start.header.task}", recipe.task)
        if theirs != ours:
            differ = sorted(k for k in ours if not isinstance(theirs, dict) or theirs.get(k) != ours[k])
            raise TelosError("start", f"a checkpoint with other {', '.join(differ)}", "one that this recipe could make")
        start.fill(PART, made)
    made.teach()
    return made


def stores_of(recipe: Recipe, about: About, world: GuardedWorld) -> list[Store]:
    """The stores to replay.

    Raises:
        TelosError: a store of another task, of other observations or actions, or with states or params that do not fit
            the task's model.
    """
    found = [Store.open(Path(path)) for path in recipe.replay]
    for store in found:
        for name in ("task", "features", "action_size", "control_period"):
            ours, theirs = getattr(about, name), getattr(store.about, name)
            if ours != theirs:
                raise TelosError(f"replay: {store.path}", f"{name} {theirs}", f"{ours}, as the recipe's task has it")
        for episode in store.episodes():
            _insist_fits(episode, world, bool(recipe.signals), f"replay: {store.path}")
    return found


def _insist_fits(episode: Episode, world: GuardedWorld, signals: bool, where: str) -> None:
    """Raises TelosError for states or params that are not of the world's model: they are written into it."""
    now = world.env.snapshot()
    if not episode.states.size:
        if signals:
            given = "episodes without raw states, which signals are read from"
            raise TelosError(where, given, "stores with raw states, or a recipe without signals")
        return
    wanted = flat(now.params)
    shapes = {name: np.shape(value) for name, value in wanted.items()}
    if episode.states.shape[1] != len(now.state) or not np.isfinite(episode.states).all():
        raise TelosError(where, f"states of {episode.states.shape[1]} numbers", f"{len(now.state)}, finite")
    if {name: np.shape(value) for name, value in episode.params.items()} != shapes:
        raise TelosError(where, f"the params {sorted(episode.params)}", f"{sorted(shapes)}, of the task's shapes")
    if not all(np.isfinite(value).all() for value in episode.params.values()):
        raise TelosError(where, "params that are not finite", "those of a reset")


def prepared(recipe: Recipe, path: Path) -> TrainDir:
    """The directory of a new training.

    Raises:
        TelosError: the path is taken, or the recipe does not fit its task. Nothing is left on disk.
    """
    start = b"" if recipe.start is None else contents(_checkpoint_file(Path(recipe.start)))
    more: dict[str, Any] = {"replay": tuple(str(Path(one).resolve()) for one in recipe.replay)}
    if registry.is_file(recipe.task):
        more["task"] = str(mjcf.located(recipe.task))
    if recipe.start is not None:
        more["start"] = str(Path(recipe.start).resolve())
    recipe = recipe.model_copy(update=more)  # absolute, so that it can be resumed from any folder
    return TrainDir.create(path, recipe, _tried(recipe, str(path / "model.safetensors")), start)


def _checkpoint_file(path: Path) -> Path:
    return path / "model.safetensors" if path.is_dir() else path


def _tried(recipe: Recipe, file: str) -> About:
    """What the store says, once world, networks, signals, a goal and the agent could be made."""
    config = recipe.config(file)
    world, about = world_of(config)
    with closing(world.env):
        env, start = world.env, None if recipe.start is None else Checkpoint.read(Path(recipe.start))
        networks = networks_of(recipe, about, start)
        limit = env.interface.frame_limit
        if recipe.learn.window > limit:
            raise TelosError("learn", f"windows of {recipe.learn.window} steps", f"at most {limit}, as episodes have")
        wanted = [request(name) for name in recipe.signals]
        physics = BatchPhysics(env.task.spec, wanted, about.control_period, threads=1)
        if strange := [one.name for one in wanted if one not in physics.at_rest or one.at != "state"]:
            raise TelosError("signals", strange[0], "signals of a state, as positions and velocities")
        stores_of(recipe, about, world)
        model, goals = jepa(networks, about.control_period, None), recipe.evaluate.goals
        heads = learners(recipe, networks, about, env.task)
        if start is not None:
            begin_from(heads, start)
        parts = learned(*parts_of_heads(heads), model)
        agent = build.agent(config, env.task, env.interface, model=model, learned=parts)
        if goals is not None:
            agent.goal = next(goal_pairs(world, goals, min(goals.ahead), recipe.seed)).shown
        collector(recipe.collect, config, world, model, acting(heads, networks, explores=True), parts)
    return about
