"""The training loop: an episode is collected, the model is updated, and the agent that plans with it is evaluated.

All randomness derives from the recipe's seed, the episode's index and the update's number. So a run that was killed and
resumed has the same weights and curve as one that was not, on the same machine, versions and threads.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from agent import build, provenance
from agent.config.config import Config
from agent.learning import evaluate
from agent.learning.collect import Collector, RandomActions, collected
from agent.learning.collectors import collector
from agent.learning.goals import goal_pairs
from agent.learning.learner import Learner
from agent.learning.recipe import Recipe
from agent.learning.traindir import START, TrainDir
from agent.learning.watch import Health, health, signals_of
from agent.memory.about import About
from agent.memory.episode import Episode, flat
from agent.memory.ring import Ring
from agent.memory.store import Store
from envs import registry
from envs.errors import TelosError
from envs.files import contents
from envs.guard.world import GuardedWorld
from envs.mjcf import task as mjcf
from envs.physics.batch import BatchPhysics
from envs.physics.signals import request
from worldmodels.checkpoint import Checkpoint, Header, tensors_of
from worldmodels.jepa.model import Jepa, Probe
from worldmodels.jepa.networks import Inputs, Networks
from worldmodels.jepa.saved import PART, jepa, parts_of
from worldmodels.layers import initialise

EVALUATION = 0x5EED  # apart from the seeds of training


@dataclass(frozen=True)
class Progress:
    """The state of a run after a cycle, as progress bars receive it."""

    frames: int
    updates: int
    terms: Mapping[str, float] = field(default_factory=dict)  # the last update's
    scores: tuple[dict[str, Any], ...] = ()  # of the last evaluation
    alarms: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)  # of env, update and evaluate so far


class Training:
    """One training run, cycle by cycle."""

    def __init__(self, folder: TrainDir) -> None:
        """Raises TelosError for a recipe that does not fit its task, or a state that does not fit the recipe."""
        self.folder, self.recipe = folder, folder.recipe
        recipe = self.recipe
        torch.set_num_threads(recipe.threads)
        self.config = recipe.config(str(folder.path.resolve() / "model.safetensors"))
        self.world, about = world_of(self.config)
        self.random = RandomActions(about.action_size)
        start = folder.path / START
        self.start = Checkpoint.read(start) if start.exists() else None
        self.networks = networks_of(recipe, about, self.start)
        updates = int(recipe.frames * recipe.learn.updates_per_frame)
        self.collector: Collector = collector(recipe.collect, self.config, self.world, self.model)
        self.learner = Learner(self.networks, recipe.losses, recipe.learn, updates, recipe.seed)
        self.requests = [request(name) for name in recipe.signals]
        self.physics = BatchPhysics(self.world.env.task.spec, self.requests, about.control_period, threads=1)
        self.held: list[Episode] = []
        self.held_signals: dict[str, list[Tensor]] = {name: [] for name in recipe.signals}
        if recipe.replay:
            self.world.reset(0)  # the shapes of a state, which replayed ones are compared with
        self.stores = stores_of(recipe, about, self.world)
        self.replayed = [episode for store in self.stores for episode in store.episodes()]
        tensors, counts = folder.restore(self._stores(), len(self.replayed))
        longest = max([recipe.episode, *map(len, self.replayed)])
        most = 2 * (recipe.frames + longest)  # rows: an episode takes one more than it has steps
        self.ring = Ring(min(max(recipe.learn.capacity, longest), most), about.features[0], about.action_size)
        self.cycles, self.updates = counts["cycles"], counts["updates"]
        self.seconds: dict[str, float] = counts.get("seconds") or {"env": 0.0, "update": 0.0, "evaluate": 0.0}
        self.due: int = counts.get("due") or recipe.evaluate.every
        self.frames = 0
        for index, episode in enumerate((*self.replayed[: self.cycles], *folder.store.episodes())):
            self._take(index, episode)
        if tensors:
            self.learner.restore(tensors)

    @property
    def finished(self) -> bool:
        return self.frames >= self.recipe.frames

    def cycle(self) -> Progress:
        """Collect an episode, update, and evaluate where it is due; the state on disk follows at the end."""
        recipe, clock = self.recipe, time.perf_counter()
        if self.cycles < len(self.replayed):
            episode = self.replayed[self.cycles]
        else:
            length = min(recipe.episode, recipe.frames - self.frames)
            actor = self.random if self.cycles < recipe.warm_up else self.collector
            episode = collected(self.world, actor, recipe.seed, self.cycles, max(length, 1))
            self.folder.store.append([episode])
        self._take(self.cycles, episode)
        self.cycles += 1
        clock = self._spent("env", clock)
        terms = self._updated()
        clock = self._spent("update", clock)
        scores: list[dict[str, Any]] = []
        alarms: tuple[str, ...] = ()
        if (self.frames >= self.due and self.held) or self.finished:
            scores, alarms = self._evaluated()
            self._spent("evaluate", clock)
            self.due = (self.frames // recipe.evaluate.every + 1) * recipe.evaluate.every
            self.folder.append("curve", self._row(scores, alarms))
        self.folder.append("log", {"frames": self.frames, "updates": self.updates, "terms": terms})
        self._save()
        return Progress(self.frames, self.updates, terms, tuple(scores), alarms, dict(self.seconds))

    def _take(self, index: int, episode: Episode) -> None:
        """A held-out episode measures the model; the others train it, and set the inputs' units."""
        self.frames += len(episode)
        if self.recipe.is_held_out(index):
            self.held.append(episode)
            for name, values in signals_of(self.physics, [episode], self.requests).items():
                self.held_signals[name].append(values)
        else:
            self.ring.add(episode)

    def _updated(self) -> dict[str, float]:
        """The updates that are due after this many frames; the last one's terms."""
        terms: dict[str, float] = {}
        due = int(self.frames * self.recipe.learn.updates_per_frame)
        if due > self.updates and len(self.ring.starts(self.recipe.learn.window)):
            self.networks.inputs.fit(*self.ring.spread())
            for number in range(self.updates, due):
                terms = self.learner.update(self.ring, number)
            self.updates = due
        return terms

    def _evaluated(self) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
        if not self.held:
            raise TelosError("frames", "one episode, and none that is held out", "two episodes at least")
        if not self.updates and int(self.frames * self.recipe.learn.updates_per_frame):
            allowed = (
                f"episodes of at least {self.recipe.learn.window} steps, or a shorter window (learn.moments, every)"
            )
            raise TelosError("learn", "no update: no episode is as long as a window", allowed)
        found, probe = self._health()
        model = jepa(self.networks, self.world.env.interface.control_period, probe if self.requests else None)
        checkpoint = self._checkpoint(probe).written(self.folder.path / "model.safetensors")
        attempts = evaluate.planning(self.config, model)
        goals = self.recipe.evaluate.goals
        scores = [evaluate.score(self.world, attempts, goals, ahead, self.seed) for ahead in goals.ahead]
        self.health, self.model_sha256 = found, checkpoint.sha256
        return [asdict(one) for one in scores], tuple(found.alarms(self.recipe.model))

    @property
    def seed(self) -> int:
        """Of the evaluations, which are never those of training."""
        return int(np.random.SeedSequence([self.recipe.seed, EVALUATION]).generate_state(1)[0])

    @property
    def model(self) -> Jepa:
        """The present world model, without a probe."""
        return jepa(self.networks, self.world.env.interface.control_period, None)

    def _health(self) -> tuple[Health, Probe]:
        signals = {name: torch.cat(values) for name, values in self.held_signals.items()}
        return health(self.networks.eval(), self.held, signals)

    def _checkpoint(self, probe: Probe) -> Checkpoint:
        about, modules = parts_of(self.networks, probe if self.requests else None)
        interface = self.world.env.interface
        header = Header(
            kind=PART,
            task=self.recipe.task,
            features=self.networks.inputs.features,
            action_size=interface.action_size,
            control_period=interface.control_period,
            parts=about,
            signals=probe.sizes,
            frames=self.frames,
            updates=self.updates,
            seed=self.recipe.seed,
            data={"store": self.folder.store.sha256, **self._stores()},
            parents=[] if self.start is None else [self.start.sha256],
            versions=provenance.versions(),
        )
        return Checkpoint(header, tensors_of(modules))

    def _row(self, scores: list[dict[str, Any]], alarms: tuple[str, ...]) -> dict[str, Any]:
        return {
            "frames": self.frames,
            "updates": self.updates,
            "seconds": dict(self.seconds),
            "scores": scores,
            "health": asdict(self.health),
            "alarms": list(alarms),
            "model_sha256": self.model_sha256,
        }

    def _save(self) -> None:
        lines = {name: len(self.folder.lines(name)) for name in ("curve", "log")}
        counts = {"cycles": self.cycles, "updates": self.updates, "due": self.due, "seconds": self.seconds}
        self.folder.save(self.learner.state(), {**counts, **lines, "replayed": self._stores()})

    def _stores(self) -> dict[str, str]:
        """The replayed stores and their digests."""
        return {str(store.path): store.sha256 for store in self.stores}

    def _spent(self, part: str, since: float) -> float:
        now = time.perf_counter()
        self.seconds[part] += now - since
        return now


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


def begin(recipe: Recipe, path: Path) -> Training:
    """A new training run. Raises as `prepared` does."""
    return Training(prepared(recipe, path))


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
        pair = next(goal_pairs(world, recipe.evaluate.goals, min(recipe.evaluate.goals.ahead), recipe.seed))
        stores_of(recipe, about, world)
        model = jepa(networks, about.control_period, None)
        build.agent(config, env.task, env.interface, model=model).goal = pair.shown
        collector(recipe.collect, config, world, model)
    return about
