"""Collectors by their configuration: random actions, an agent that plans, one that is curious, or a mixture."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from agent import build
from agent.agent import Agent
from agent.config.config import Closed, Config
from agent.config.load import over
from agent.learned import Learned
from agent.learning.collect import CORRELATION, Collector, PolicyActions, RandomActions
from envs.errors import TelosError
from envs.guard.world import GuardedWorld, Judged
from envs.numbers import Number, Positive
from envs.percept import Percept
from envs.validation import validated
from worldmodels.model import Plural, WorldModel

Correlation = Annotated[Number, Field(ge=0, lt=1)]


class RandomConfig(Closed):
    """Random actions that are correlated in time: a first-order autoregressive process, clipped to [-1,1]."""

    kind: Literal["random"] = "random"
    correlation: tuple[Correlation, ...] = Field(
        default=CORRELATION, min_length=1, description="of consecutive actions; one is drawn for each episode"
    )


class PlannerCollectorConfig(Closed):
    """The agent of the run, which plans for its own objective."""

    kind: Literal["planner"] = "planner"
    run: dict[str, Any] = Field(default_factory=dict, description="fields of the configuration that differ")


class CuriousConfig(Closed):
    """The agent of the run, which plans for the disagreement of the world model's members alone."""

    kind: Literal["curiosity"] = "curiosity"
    run: dict[str, Any] = Field(default_factory=dict, description="fields of the configuration that differ")


class PolicyConfig(Closed):
    """The learned policy, which draws its actions."""

    kind: Literal["policy"] = "policy"


Single = Annotated[RandomConfig | PlannerCollectorConfig | CuriousConfig | PolicyConfig, Field(discriminator="kind")]


class Part(Closed):
    """One collector of a mixture."""

    by: Single
    share: Positive = Field(default=1.0, description="of the episodes, in proportion to those of the other parts")


class MixtureConfig(Closed):
    """Several collectors; every episode is one's, drawn by their shares."""

    kind: Literal["mixture"] = "mixture"
    parts: tuple[Part, ...] = Field(min_length=1, max_length=64)

    @model_validator(mode="after")
    def _finite(self) -> MixtureConfig:
        if not sum(part.share for part in self.parts) < float("inf"):
            raise ValueError("parts: shares whose sum is finite")
        return self


Collects = RandomConfig | PlannerCollectorConfig | CuriousConfig | PolicyConfig | MixtureConfig
CollectConfig = Annotated[Collects, Field(discriminator="kind")]


class Planned:
    """An agent as a collector."""

    def __init__(self, agent: Agent, name: str) -> None:
        self._agent, self.name = agent, name

    def begin(self, seed: int) -> None:
        self._agent.reset(seed)

    def act(self, percept: Percept) -> np.ndarray:
        return self._agent.act(percept).action

    def remember(self, judged: Judged) -> None:
        self._agent.remember(judged)


class Mixture:
    """Each episode is that of one of the parts."""

    def __init__(self, parts: list[tuple[float, Collector]]) -> None:
        shares = np.array([share for share, _ in parts])
        self._shares, self._parts = shares / shares.sum(), [part for _, part in parts]
        self._now = self._parts[0]

    @property
    def name(self) -> str:
        """Of the part that acts in this episode."""
        return self._now.name

    def begin(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._now = self._parts[int(rng.choice(len(self._parts), p=self._shares))]
        self._now.begin(int(rng.integers(2**31)))

    def act(self, percept: Percept) -> np.ndarray:
        return self._now.act(percept)

    def remember(self, judged: Judged) -> None:
        self._now.remember(judged)


def collector(
    by: Collects,
    config: Config,
    world: GuardedWorld,
    model: WorldModel | None = None,
    policy: PolicyActions | None = None,
    learned: Learned | None = None,
) -> Collector:
    """The collector of a configuration.

    Args:
        config: of the run whose agent plans.
        model: it plans with this model; with the configuration's where None.
        policy: the learned policy, if there is one; random actions are held as long as its own.
        learned: cost and actor that are learned with the model.

    Raises:
        TelosError: an agent that does not fit the task or the model, or no policy that could act.
    """
    if isinstance(by, PolicyConfig):
        if policy is None:
            raise TelosError("collect", "a policy, and none is learned", "a training with actor_critic")
        return policy
    if isinstance(by, RandomConfig):
        hold = 1 if policy is None else policy.hold
        return RandomActions(world.env.interface.action_size, by.correlation, hold)
    if isinstance(by, MixtureConfig):
        return Mixture([(part.share, collector(part.by, config, world, model, policy, learned)) for part in by.parts])
    curious = {"cost": {"task": 0.0, "curiosity": 1.0}} if isinstance(by, CuriousConfig) else {}
    asked = validated(Config, over(over(config.model_dump(), curious, "collect"), by.run, "collect.run"), "collect.run")
    own = None if isinstance(by, CuriousConfig) else learned
    agent = build.agent(asked, world.env.task, world.env.interface, model=model, learned=own)
    if isinstance(by, CuriousConfig) and not isinstance(agent.model, Plural):
        allowed = "an ensemble, as model.members of a recipe or world_model.variants make it"
        raise TelosError("collect: curiosity", f"a {type(agent.model).__name__}, which has no doubt", allowed)
    if not any(weight for weight, _ in agent.objective.terms) and asked.goal is None:
        raise TelosError("collect: planner", "an agent without an objective", "cost terms with a weight, or a goal")
    named = f"curiosity {asked.planner.kind}" if isinstance(by, CuriousConfig) else asked.planner.kind
    return Planned(agent, " ".join(filter(None, (named, getattr(agent.model, "sha256", "")))))
