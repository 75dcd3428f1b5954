"""Cost and actor from what was learned: reward, critic, policy, and the cost-to-go of goals, of a checkpoint's parts.

They read the latents of the world model that they were trained with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, Field
from torch import Tensor, nn

from agent.actor.actor import Policy
from agent.actor.policy import GaussianPolicy, PolicyParams
from agent.actor.proposals import LearnedProposals
from agent.cost.critic import CriticParams, Critics, LearnedCritic
from agent.cost.objective import Cost, Critic
from agent.cost.reach import ReachCritic, ReachHead
from agent.cost.reward import LearnedReward, RewardHead
from envs.errors import TelosError
from envs.numbers import Flag, NonNegative, Number, Positive, Whole
from envs.trajectory import Trajectory
from envs.validation import validated
from worldmodels.checkpoint import Checkpoint
from worldmodels.model import WorldModel

WRITTEN = "as `telos train` wrote it"


@dataclass(frozen=True)
class Learned:
    """What an agent is given besides its world model."""

    critic: Critic | None = None
    policy: Policy | None = None
    costs: Mapping[str, Cost] = field(default_factory=lambda: MappingProxyType({}))
    """Name -> term, beside those of the configuration."""


class Beyond(BaseModel):
    """What a checkpoint says of its cost-to-go."""

    beyond: NonNegative  # control steps that cost nothing


class Ends(BaseModel):
    """What a checkpoint says of the episodes of its task."""

    terminates: Flag  # whether some end early


class Value(BaseModel):
    """What a checkpoint says of the unit of its critic's values."""

    reward_range: tuple[Number, Number]
    hold: Whole = Field(ge=1)
    discount: Positive = Field(lt=1)  # per decision
    doubt: NonNegative
    proposals: Whole = Field(ge=1)

    @property
    def steps(self) -> float:
        """Control steps that a value of 1 stands for."""
        return self.hold / (1 - self.discount)


def learned(about: Mapping[str, Any], modules: Mapping[str, nn.Module], model: WorldModel) -> Learned:
    """The learned parts of an agent that plans with this model.

    Args:
        about: part -> how it is rebuilt, as a checkpoint's header says.
        modules: part -> its networks.
        model: its states are the latents that the parts were trained on.

    Raises:
        TelosError: a part that says something else than `telos train` wrote.
    """
    critic: Critic | None = None
    policy: Policy | None = None
    costs: dict[str, Cost] = {}
    if "reach" in about:
        head = modules["reach"]
        assert isinstance(head, ReachHead)
        critic = ReachCritic(head, validated(Beyond, about["reach"], "checkpoint: reach").beyond)
    if "critic" in about:
        critics, actor, reward = modules["critic"], modules["policy"], modules["reward"]
        assert isinstance(critics, Critics)
        assert isinstance(actor, GaussianPolicy)
        assert isinstance(reward, RewardHead)
        said = validated(Value, about["critic"], "checkpoint: critic")
        critic = LearnedCritic(critics, actor.act, _last, said.reward_range, said.steps, said.doubt)
        policy = LearnedProposals(actor, model, _same, said.hold, said.proposals)
        terminates = validated(Ends, about["reward"], "checkpoint: reward").terminates
        costs["reward"] = LearnedReward(reward, said.reward_range, terminates)
    return Learned(critic, policy, MappingProxyType(costs))


def modules_of(checkpoint: Checkpoint) -> dict[str, nn.Module]:
    """The networks of a checkpoint's learned parts. Raises TelosError where header and tensors do not fit."""
    makers = {"reach": _reach, "critic": _critics, "policy": _policy, "reward": _reward}
    found: dict[str, nn.Module] = {}
    for name, make in makers.items():
        if checkpoint.has(name):
            try:
                made = make(checkpoint.header.parts[name])
            except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
                raise TelosError(f"checkpoint: {name}", f"{type(error).__name__} {error}", WRITTEN) from None
            checkpoint.fill(name, made)
            found[name] = made.requires_grad_(False).eval()
    if ("critic" in found) and not {"policy", "reward"} <= found.keys():
        raise TelosError("checkpoint: critic", "without policy and reward", WRITTEN)
    return found


def _reach(about: Mapping[str, Any]) -> ReachHead:
    return ReachHead(*(_size(about[name]) for name in ("latent", "width", "unit")))


def _critics(about: Mapping[str, Any]) -> Critics:
    params = validated(CriticParams, about["params"], "checkpoint: critic.params")
    return Critics(_size(about["latent"]), _size(about["action_size"]), params)


def _policy(about: Mapping[str, Any]) -> GaussianPolicy:
    params = validated(PolicyParams, about["params"], "checkpoint: policy.params")
    return GaussianPolicy(_size(about["latent"]), _size(about["action_size"]), params)


def _reward(about: Mapping[str, Any]) -> RewardHead:
    return RewardHead(*(_size(about[name]) for name in ("latent", "action_size", "width")))


def _size(value: Any) -> int:
    """A size that memory can be taken for. Raises ValueError for any other value."""
    if type(value) is not int or not 0 < value <= 1_000_000:
        raise ValueError(f"size {value!r}")
    return value


def _last(trajectory: Trajectory) -> Tensor:
    return trajectory.states[:, -1]


def _same(states: Tensor) -> Tensor:
    return states
