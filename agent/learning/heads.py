"""The learners beside that of the world model: each trains heads on its latents, which it does not change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from agent.learning.actor_critic import ActorCritic
from agent.learning.collect import PolicyActions
from agent.learning.reach import Reach
from agent.learning.recipe import Recipe
from agent.memory.about import About
from agent.memory.ring import Ring
from envs.errors import TelosError
from envs.task import Task
from worldmodels.checkpoint import Checkpoint
from worldmodels.jepa.networks import Networks


class HeadLearner(Protocol):
    """Trains some heads. All randomness of an update derives from its seed and the update's number."""

    updates_per_frame: float

    def ready(self, ring: Ring) -> bool:
        """Whether there is experience to learn from."""
        ...

    def update(self, ring: Ring, number: int) -> dict[str, float]:
        """Update number `number` of the run; the loss terms by name. Raises TelosError for one that is not finite."""
        ...

    def state(self) -> dict[str, Tensor]:
        """The tensors from which `restore` continues bit for bit."""
        ...

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what `state` gave. Raises TelosError where it does not fit."""
        ...

    def parts(self) -> tuple[dict[str, Any], dict[str, nn.Module]]:
        """Parts of a checkpoint: how they are rebuilt, and the modules that tensors come from."""
        ...


def learners(recipe: Recipe, networks: Networks, about: About, task: Task) -> dict[str, HeadLearner]:
    """The learners that a recipe asks for, by their field, with weights that follow from its seed.

    Raises:
        TelosError: a decision that is longer than an episode that is collected.
    """
    found: dict[str, HeadLearner] = {}
    if recipe.reach is not None:
        found["reach"] = Reach(
            networks.encode, networks.size, recipe.reach, recipe.learn.every, recipe.frames, recipe.seed
        )
    if recipe.actor_critic is not None:
        settings = recipe.actor_critic
        hold, discount = settings.timing(about.control_period, task.interface().frame_limit)
        if hold > recipe.episode:
            allowed = f"at most the {recipe.episode * about.control_period:g} s of an episode"
            raise TelosError("actor_critic.interval", f"{settings.interval:g} s", allowed)
        found["actor_critic"] = ActorCritic(
            networks.encode,
            networks.size,
            about.action_size,
            settings,
            (hold, discount),
            task.termination is not None,
            recipe.seed,
        )
    return found


def hold_of(heads: Mapping[str, HeadLearner]) -> int:
    """The control steps of a decision; 1 where no policy is learned."""
    return next((one.hold for one in heads.values() if isinstance(one, ActorCritic)), 1)


def begin_from(heads: Mapping[str, HeadLearner], start: Checkpoint) -> None:
    """Take over the weights of the heads that a checkpoint has. Raises TelosError where they do not fit."""
    for one in heads.values():
        for name, module in one.parts()[1].items():
            if start.has(name):
                start.fill(name, module)
        if isinstance(one, ActorCritic):
            one.heads.slow.load_state_dict(one.heads.critics.state_dict())


def acting(heads: Mapping[str, HeadLearner], networks: Networks, explores: bool) -> PolicyActions | None:
    """The present policy; None where none is learned."""
    for one in heads.values():
        if isinstance(one, ActorCritic):
            return PolicyActions(one.heads.policy, networks.encode, one.hold, explores)
    return None


def parts_of(heads: Mapping[str, HeadLearner]) -> tuple[dict[str, Any], dict[str, nn.Module]]:
    """All heads as parts of a checkpoint."""
    about: dict[str, Any] = {}
    modules: dict[str, nn.Module] = {}
    for one in heads.values():
        said, made = one.parts()
        about, modules = {**about, **said}, {**modules, **made}
    return about, modules
