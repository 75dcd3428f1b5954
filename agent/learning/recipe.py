"""The recipe of a training run: closed, frozen models over YAML, as `agent.config.config` has them for a run."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from agent.actor.policy import PolicyParams
from agent.config.config import Closed, Config
from agent.config.load import described, parse, read, shipped
from agent.cost.critic import CriticParams
from agent.learning.collectors import CollectConfig, RandomConfig
from envs import registry
from envs.errors import TelosError
from envs.numbers import Flag, NonNegative, Number, Positive, Scale, Whole
from envs.validation import validated
from worldmodels import losses
from worldmodels.jepa.networks import JepaParams

FOLDER = "train"  # of the shipped recipes, inside `configs`
TERMS = ", ".join(losses.TABLE)
OF_ENCODER = {"variance", "covariance", "similarity", "sigreg"}  # terms that train the encoder alone


class ObserveConfig(Closed):
    """What the encoder reads of an observation, by the names of its entries."""

    angles: tuple[str, ...] = Field(default=(), description="entries in rad, read as cosine and sine")
    ignored: tuple[str, ...] = Field(default=(), description="entries that are not read")


class LearnConfig(Closed):
    """Updates of the weights, after every episode."""

    updates_per_frame: Positive = Field(default=0.02, description="of the environment")
    batch: Whole = Field(default=128, ge=2, le=65_536, description="windows per update")
    moments: Whole = Field(default=5, ge=1, le=1_000, description="compared moments of a window, after its first")
    every: Whole = Field(default=1, ge=1, le=1_000, description="control steps between two of them")
    rate: Positive = Field(default=1e-3, description="of learning, at its highest")
    schedule: Literal["cosine", "constant"] = Field(
        default="cosine", description="of the rate: it rises, then falls to 0 as a cosine, or stays as it is"
    )
    warm_up: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.1, description="with a cosine: share of the updates in which the rate rises"
    )
    decay: NonNegative = Field(default=1e-5, description="of weights (AdamW)")
    clip: Positive = Field(default=10.0, description="largest norm of the gradient")
    target: Literal["self", "stop", "teacher"] = Field(
        default="self", description="what is predicted: latents with gradients, without, or a slow teacher's"
    )
    teacher_rate: Annotated[Positive, Field(le=1)] = Field(default=0.01, description="share of a teacher's update")
    keep: Annotated[Positive, Field(le=1)] = Field(
        default=0.8, description="with several members: share of the windows that each one learns from"
    )
    capacity: Whole = Field(default=1_000_000, ge=1, description="steps in memory; the oldest episodes leave first")

    @property
    def window(self) -> int:
        """Control steps of a window."""
        return self.moments * self.every


class ReachConfig(Closed):
    """A head that predicts how many control steps lie between two states, which leads plans to distant goals."""

    width: Whole = Field(default=128, ge=1, le=4096, description="of two hidden layers")
    updates_per_frame: Positive = Field(default=0.025, description="of the environment")
    batch: Whole = Field(default=256, ge=2, le=65_536, description="pairs of states per update")
    rate: Positive = Field(default=1e-3, description="of learning, at its highest")
    expectile: Annotated[Positive, Field(lt=1)] = Field(
        default=0.1, description="of the elapsed times; a low one predicts those of the quickest ways"
    )
    negatives: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.2, description="share of the pairs that are of different episodes"
    )
    longest: Positive = Field(default=200.0, description="control steps that such a pair counts as")
    beyond: NonNegative = Field(default=15.0, description="control steps after a plan that cost nothing")


class ActorCriticConfig(Closed):
    """A critic and a policy that are learned from rewards, beside the world model."""

    interval: Annotated[Positive, Field(le=3600)] = Field(
        default=0.04, description="s between two decisions; an action is held in between"
    )
    critic: CriticParams = CriticParams()
    policy: PolicyParams = PolicyParams()
    reward_range: tuple[Number, Number] = Field(default=(0.0, 1.0), description="of rewards per control step")
    updates_per_frame: Positive = Field(default=0.5, description="of the environment")
    batch: Whole = Field(default=256, ge=2, le=65_536, description="decisions per update")
    rate: Positive = Field(default=3e-4, description="of learning")
    decay: NonNegative = Field(default=1e-2, description="of weights (AdamW)")
    target_rate: Annotated[Positive, Field(le=1)] = Field(default=0.005, description="of the slow critic's update")
    discount: Annotated[Positive, Field(lt=1)] | None = Field(
        default=None, description="per decision; where it is not given, it follows from the episode's length"
    )
    entropy: Number = Field(default=0.5, description="minus the wanted entropy of the policy, per action")
    doubt: NonNegative = Field(default=0.5, description="weight of the critics' disagreement in plans")
    decisions: Whole = Field(default=3, ge=1, le=1_000, description="horizon of plans; beyond it, the critic counts")
    proposals: Whole = Field(default=16, ge=1, le=10_000, description="sequences of the policy among the candidates")
    bfloat16: Flag = Field(default=False, description="half precision: quick on processors with matrix units")

    @model_validator(mode="after")
    def _ordered(self) -> ActorCriticConfig:
        if not self.reward_range[0] < self.reward_range[1]:
            raise ValueError("reward_range: the lower end first")
        return self

    def timing(self, control_period: float, episode: int) -> tuple[int, float]:
        """Control steps of a decision, and the discount per decision.

        Where the discount is not given, it is 1 - 5/decisions, at least 0.95 and at most 0.995 (TD-MPC2; Hansen et al.
        2024, appendix).

        Args:
            control_period: s
            episode: control steps
        """
        hold = max(round(self.interval / control_period), 1)
        rule = min(max(1 - 5 * hold / episode, 0.95), 0.995)
        return hold, rule if self.discount is None else self.discount


class GoalsConfig(Closed):
    """Goals that random actions reach from the start; the agent is given the observation, and judged by signals."""

    ahead: tuple[Annotated[Whole, Field(ge=1, le=100_000)], ...] = Field(
        default=(25,), min_length=1, max_length=64, description="control steps to the goal"
    )
    within: dict[str, Scale] = Field(min_length=1, description="signal -> distance that counts as reached, in its unit")
    periods: dict[str, Scale] = Field(default_factory=dict, description="signal -> what it may differ by, as 2 pi")
    still: bool = Field(default=True, description="whether nothing moves in the goal")
    budget: Positive = Field(default=2.0, description="steps allowed, in units of `ahead`")
    starts: Whole = Field(default=40, ge=1, le=100_000, description="of each distance, none of them solved already")

    @model_validator(mode="after")
    def _known(self) -> GoalsConfig:
        for name in self.periods:
            if name not in self.within:
                raise ValueError(f"periods: signals among {', '.join(self.within)}, and {name!r} is none of them")
        return self


class ReturnsConfig(Closed):
    """Whole episodes of the task, whose returns count."""

    episodes: Whole = Field(default=10, ge=1, le=10_000, description="of each way to act")
    by: tuple[Literal["policy", "planner"], ...] = Field(
        default=("policy",), min_length=1, description="the policy alone, or the planner in the learned model"
    )


class EvaluateConfig(Closed):
    """How the agent is tested while it learns: by goals without reward, or by returns."""

    every: Whole = Field(default=20_000, ge=1, description="environment frames between two evaluations")
    goals: GoalsConfig | None = None
    returns: ReturnsConfig | None = None

    @model_validator(mode="after")
    def _some(self) -> EvaluateConfig:
        if (self.goals is None) == (self.returns is None):
            raise ValueError("goals or returns, one of them")
        return self


class Recipe(Closed):
    """Everything a training run needs."""

    task: str
    seed: Whole = Field(default=0, ge=0, lt=2**63)
    frames: Whole = Field(default=100_000, ge=1, description="environment frames to learn from, replayed ones included")
    replay: tuple[str, ...] = Field(default=(), description="stores, whose episodes come before collected ones")
    start: str | None = Field(default=None, description="a checkpoint whose weights are trained on")
    episode: Whole = Field(default=200, ge=2, description="control steps of a collected episode")
    held_out: Annotated[Number, Field(ge=1e-3, le=0.5)] = Field(
        default=0.1, description="share of the episodes that measure the model and do not train it"
    )
    collect: CollectConfig = RandomConfig()
    warm_up: Whole = Field(default=5, ge=2, description="episodes of random actions, before any other collector acts")
    observe: ObserveConfig = ObserveConfig()
    model: JepaParams = JepaParams()
    signals: tuple[str, ...] = Field(default=(), description="that a linear probe reads off the latents")
    losses: dict[str, NonNegative] = Field(description=f"term -> weight; terms are {TERMS}")
    learn: LearnConfig = LearnConfig()
    reach: ReachConfig | None = Field(default=None, description="the cost-to-go of goals; none is learned without it")
    actor_critic: ActorCriticConfig | None = Field(default=None, description="critic and policy; none without reward")
    evaluate: EvaluateConfig
    run: dict[str, Any] = Field(default_factory=dict, description="fields of the configuration that the agent runs")
    threads: Whole = Field(default=1, ge=1, le=256, description="of torch; a resume under another number is refused")

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        for name in self.losses:
            if name not in losses.TABLE:
                raise ValueError(f"losses: terms among {TERMS}, and {name!r} is none of them")
        learned = {name for name, weight in self.losses.items() if weight > 0}
        if not learned - (OF_ENCODER if self.model.encoder != "learned" else set()):
            raise ValueError("losses: a term with a weight above 0 that trains something; prediction does")
        if self.model.latent_form == "simnorm" and (self.model.latent % 8 or self.model.encoder == "identity"):
            raise ValueError("model.latent_form simnorm needs an encoder, and a latent in groups of 8")
        if self.learn.capacity < self.episode:
            raise ValueError(f"learn.capacity at least the {self.episode} steps of an episode")
        if self.learn.window > self.episode:
            raise ValueError(f"learn: moments · every up to the {self.episode} steps of an episode")
        if self.frames <= self.episode or self.evaluate.every <= self.episode:
            raise ValueError(f"frames and evaluate.every above the {self.episode} steps of an episode: two are needed")
        if self.learn.target == "teacher" and self.model.encoder != "learned":
            raise ValueError("learn.target teacher needs an encoder that learns")
        if (self.actor_critic is None) != (self.evaluate.returns is None):
            raise ValueError("evaluate.returns with actor_critic, and with it alone: it pursues rewards, not goals")
        return self

    def is_held_out(self, episode: int) -> bool:
        """Whether the episode of this index measures the model: every k-th does, k from `held_out`."""
        return episode % max(round(1 / self.held_out), 2) == 1

    def config(self, checkpoint: str) -> Config:
        """The configuration of the agent that plans with the model of this checkpoint file."""
        model = {"kind": "checkpoint", "file": checkpoint}
        return validated(Config, {"video": False, **self.agent, "task": self.task, "world_model": model}, "run")

    @property
    def agent(self) -> dict[str, Any]:
        """The fields of the configuration with which the agent runs, besides its task and its world model.

        Where a policy is learned, plans consist of its decisions, during which actions are held.
        """
        fields = {"perception": {"kind": "stacked", "depth": 1}, "cost": {"task": 0.0}, **self.run}
        planner, cost = fields.get("planner", {}), fields["cost"]
        params = planner.get("params", {}) if isinstance(planner, Mapping) else None
        if self.actor_critic is None or not (isinstance(params, Mapping) and isinstance(cost, Mapping)):
            return fields  # the configuration refuses what is no mapping
        interface = registry.load(self.task).interface()
        hold, discount = self.actor_critic.timing(interface.control_period, interface.frame_limit)
        decisions = self.actor_critic.decisions
        params = {**params, "knots": decisions, "interpolation": "zero"}
        cost = {"task": 0.0, "discount": discount ** (1 / hold), **cost}
        planner = {**planner, "horizon": decisions * hold, "replan_every": hold, "params": params}
        return {**fields, "cost": cost, "planner": planner}


def recipes() -> dict[str, str]:
    """Names of the shipped recipes, with the first comment line of each."""
    return described(shipped(FOLDER))


def load(source: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe of that name or in that file, with dotted fields over it. Raises TelosError where it is wrong."""
    if source in recipes():
        data = parse(shipped(FOLDER)[source].read_text(encoding="utf-8"), source)
    elif source.endswith((".yaml", ".yml")) or "/" in source:
        data = read(Path(source))
    else:
        raise TelosError.unknown("recipe", source, recipes(), "telos list recipes")
    for key, value in (overrides or {}).items():
        *parents, last = key.split(".")
        here = data
        for name in parents:
            here = here.setdefault(name, {})
            if not isinstance(here, dict):
                raise TelosError(f"--{key}", f"a field inside {name}, which is {here!r}", "a field that has fields")
        here[last] = copy.deepcopy(value)  # a mapping replaces one, so that `losses` can be given whole
    return validated(Recipe, data, source)
