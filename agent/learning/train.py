"""The training loop: an episode is collected, the model is updated, and the agent that plans with it is evaluated.

All randomness derives from the recipe's seed, the episode's index and the update's number. So a run that was killed and
resumed has the same weights and curve as one that was not, on the same machine, versions and threads.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agent import build, provenance
from agent.learned import Learned, learned
from agent.learning import evaluate
from agent.learning.collect import Collector, RandomActions, collected
from agent.learning.collectors import Planned, collector
from agent.learning.heads import HeadLearner, acting, begin_from, hold_of, learners
from agent.learning.heads import parts_of as parts_of_heads
from agent.learning.learner import Learner, inside
from agent.learning.prepare import networks_of, prepared, stores_of, world_of
from agent.learning.recipe import Recipe
from agent.learning.returns import played, summed
from agent.learning.traindir import START, TrainDir
from agent.learning.watch import health, signals_of
from agent.memory.episode import Episode
from agent.memory.ring import Ring
from envs.errors import TelosError
from envs.physics.batch import BatchPhysics
from envs.physics.signals import request
from worldmodels.checkpoint import Checkpoint, Header, tensors_of
from worldmodels.jepa.model import Jepa, Probe
from worldmodels.jepa.saved import PART, jepa, parts_of

EVALUATION = 0x5EED  # apart from the seeds of training


@dataclass(frozen=True)
class Progress:
    """The state of a run after a cycle, as progress bars receive it."""

    frames: int
    updates: int
    terms: Mapping[str, float] = field(default_factory=dict)  # the last update's
    scores: tuple[dict[str, Any], ...] = ()  # of the last evaluation, on goals
    returns: tuple[dict[str, Any], ...] = ()  # of the last evaluation
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
        start = folder.path / START
        self.start = Checkpoint.read(start) if start.exists() else None
        self.networks = networks_of(recipe, about, self.start)
        updates = int(recipe.frames * recipe.learn.updates_per_frame)
        self.learner = Learner(self.networks, recipe.losses, recipe.learn, updates, recipe.seed)
        self.heads = learners(recipe, self.networks, about, self.world.env.task)
        if self.start is not None:
            begin_from(self.heads, self.start)
        self.random = RandomActions(about.action_size, hold=hold_of(self.heads))
        self.collector: Collector = collector(
            recipe.collect,
            self.config,
            self.world,
            self.model,
            acting(self.heads, self.networks, explores=True),
            self.learned(self.model),
        )
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
        self.head_updates: dict[str, int] = {name: counts.get("heads", {}).get(name, 0) for name in self.heads}
        self.seconds: dict[str, float] = counts.get("seconds") or {"env": 0.0, "update": 0.0, "evaluate": 0.0}
        self.due: int = counts.get("due") or recipe.evaluate.every
        self.frames = 0
        for index, episode in enumerate((*self.replayed[: self.cycles], *folder.store.episodes())):
            self._take(index, episode)
        if tensors:
            self.learner.restore(tensors)
            for name, learner in self.heads.items():
                learner.restore(inside(tensors, name))

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
        row: dict[str, Any] = {}
        if (self.frames >= self.due and self.held) or self.finished:
            row = self._evaluated()
            self._spent("evaluate", clock)
            self.due = (self.frames // recipe.evaluate.every + 1) * recipe.evaluate.every
            self.folder.append("curve", {**row, "seconds": dict(self.seconds)})
        self.folder.append("log", {"frames": self.frames, "updates": self.updates, "terms": terms})
        self._save()
        scores, returns, alarms = (tuple(row.get(name, ())) for name in ("scores", "returns", "alarms"))
        return Progress(self.frames, self.updates, terms, scores, returns, alarms, dict(self.seconds))

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
        for name, learner in self.heads.items():
            terms |= self._updated_head(name, learner)
        return terms

    def _updated_head(self, name: str, learner: HeadLearner) -> dict[str, float]:
        """The updates of a head that are due; the last one's terms."""
        terms: dict[str, float] = {}
        due = int(self.frames * learner.updates_per_frame)
        if due > self.head_updates[name] and learner.ready(self.ring):
            self.networks.eval()
            for number in range(self.head_updates[name], due):
                terms = learner.update(self.ring, number)
            self.head_updates[name] = due
        return terms

    def _evaluated(self) -> dict[str, Any]:
        """The row of an evaluation; the checkpoint that it is of is written."""
        if not self.held:
            raise TelosError("frames", "one episode, and none that is held out", "two episodes at least")
        if not self.updates and int(self.frames * self.recipe.learn.updates_per_frame):
            allowed = f"episodes of at least {self.recipe.learn.window} steps, or a shorter window"
            raise TelosError("learn", "no update: no episode is as long as a window", allowed)
        signals = {name: torch.cat(values) for name, values in self.held_signals.items()}
        found, probe = health(self.networks.eval(), self.held, signals)
        own = probe if self.requests else None
        checkpoint = self._checkpoint(own).written(self.folder.path / "model.safetensors")
        return {
            "frames": self.frames,
            "updates": self.updates,
            "head_updates": dict(self.head_updates),
            "scores": self._scores(own),
            "returns": self._returns(),
            "health": asdict(found),
            "alarms": found.alarms(self.recipe.model),
            "model_sha256": checkpoint.sha256,
        }

    def _scores(self, probe: Probe | None) -> list[dict[str, Any]]:
        """What became of goals, one row for each distance."""
        goals = self.recipe.evaluate.goals
        if goals is None:
            return []
        attempts = self.attempts(probe)
        return [asdict(evaluate.score(self.world, attempts, goals, ahead, self.seed)) for ahead in goals.ahead]

    def attempts(self, probe: Probe | None = None) -> evaluate.Attempts:
        """The attempts of the present agent at goals."""
        model = jepa(self.networks, self.world.env.interface.control_period, probe)
        return evaluate.planning(self.config, model, learned=self.learned(model))

    def _returns(self) -> list[dict[str, Any]]:
        """The returns of every way to act."""
        asked = self.recipe.evaluate.returns
        if asked is None:
            return []
        players = {name: self.player(name) for name in asked.by}
        return [
            asdict(summed(name, list(played(self.world, by, asked.episodes, self.seed))))
            for name, by in players.items()
        ]

    def player(self, name: str) -> Collector:
        """Who acts under this name, without exploring: `policy` or `planner`."""
        if name == "policy":
            policy = acting(self.heads, self.networks, explores=False)
            assert policy is not None, "the recipe was validated"
            return policy
        model, env = self.model, self.world.env
        agent = build.agent(self.config, env.task, env.interface, model=model, learned=self.learned(model))
        return Planned(agent, name)

    def learned(self, model: Jepa) -> Learned:
        """The present heads, for an agent that plans with this model."""
        about, modules = parts_of_heads(self.heads)
        return learned(about, modules, model)

    @property
    def seed(self) -> int:
        """Of the evaluations, which are never those of training."""
        return int(np.random.SeedSequence([self.recipe.seed, EVALUATION]).generate_state(1)[0])

    @property
    def model(self) -> Jepa:
        """The present world model, without a probe."""
        return jepa(self.networks, self.world.env.interface.control_period, None)

    def _checkpoint(self, probe: Probe | None) -> Checkpoint:
        about, modules = parts_of(self.networks, probe)
        heads, more = parts_of_heads(self.heads)
        about, modules = {**about, **heads}, {**modules, **more}
        interface = self.world.env.interface
        header = Header(
            kind=PART,
            task=self.recipe.task,
            features=self.networks.inputs.features,
            action_size=interface.action_size,
            control_period=interface.control_period,
            parts=about,
            signals={} if probe is None else probe.sizes,
            frames=self.frames,
            updates=self.updates,
            seed=self.recipe.seed,
            data={"store": self.folder.store.sha256, **self._stores()},
            parents=[] if self.start is None else [self.start.sha256],
            versions=provenance.versions(),
        )
        return Checkpoint(header, tensors_of(modules))

    def _save(self) -> None:
        lines = {name: len(self.folder.lines(name)) for name in ("curve", "log")}
        counts = {"cycles": self.cycles, "updates": self.updates, "due": self.due, "seconds": self.seconds}
        counts |= {"heads": dict(self.head_updates)}
        state = self.learner.state()
        for part, learner in self.heads.items():
            state |= {f"{part}/{name}": tensor for name, tensor in learner.state().items()}
        self.folder.save(state, {**counts, **lines, "replayed": self._stores()})

    def _stores(self) -> dict[str, str]:
        """The replayed stores and their digests."""
        return {str(store.path): store.sha256 for store in self.stores}

    def _spent(self, part: str, since: float) -> float:
        now = time.perf_counter()
        self.seconds[part] += now - since
        return now


def begin(recipe: Recipe, path: Path) -> Training:
    """A new training run. Raises as `prepared` does."""
    return Training(prepared(recipe, path))
