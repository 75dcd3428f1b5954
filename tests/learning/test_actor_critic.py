"""Critic, policy and reward, learned from rewards: against closed forms, and inside a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Normal, TanhTransform, TransformedDistribution

from agent.actor.policy import GaussianPolicy, PolicyParams
from agent.actor.proposals import LearnedProposals
from agent.cost.critic import CriticParams, Critics, LearnedCritic
from agent.cost.objective import Objective
from agent.cost.reward import LearnedReward
from agent.learned import learned, modules_of
from agent.learning import recipe
from agent.learning.actor_critic import ActorCritic
from agent.learning.collect import PolicyActions, RandomActions
from agent.learning.recipe import ActorCriticConfig
from agent.learning.train import Training, begin
from agent.learning.traindir import TrainDir
from agent.memory.episode import Episode
from agent.memory.ring import Ring
from envs.errors import TelosError
from envs.percept import Percept
from envs.trajectory import Signals, Trajectory
from tests.learning.conftest import REWARDS, to_the_end
from worldmodels.belief import Belief
from worldmodels.checkpoint import Checkpoint
from worldmodels.jepa.saved import model_of
from worldmodels.layers import initialise

SETTINGS = ActorCriticConfig.model_validate(
    {
        "critic": {"width": 16, "bins": 51},
        "policy": {"width": 8},
        "batch": 32,
        "rate": 3e-3,
        "target_rate": 0.05,
        "decay": 0.0,
    }
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def experience(reward: Any, decisions: int = 400, hold: int = 1, ended: bool = False) -> Ring:
    """Episodes of one observation, 0, and random actions; `reward` of the actions (T,)."""
    actions = np.repeat(np.random.default_rng(0).uniform(-1, 1, (decisions, 1)), hold, 0)
    blank = np.zeros((len(actions), 0))
    ring = Ring(10_000, 1, 1)
    seen = np.zeros((len(actions) + 1, 1))
    ring.add(Episode(seen, actions, reward(actions[:, 0]), blank, np.zeros((0, 0)), terminated=ended))
    return ring


def learner(hold: int = 1, discount: float = 0.5, **more: Any) -> ActorCritic:
    settings = SETTINGS.model_copy(update=more)
    return ActorCritic(lambda seen: seen, 1, 1, settings, (hold, discount), terminates=True, seed=0)


def value(made: ActorCritic, actions: torch.Tensor) -> torch.Tensor:
    """The critics' mean for the observation 0 and actions (N,1)."""
    with torch.no_grad():
        critics = made.heads.critics
        return critics.values(critics(torch.zeros(len(actions), 1), actions)).mean(0)


def trained(made: ActorCritic, ring: Ring, updates: int) -> ActorCritic:
    for number in range(updates):
        made.update(ring, number)
    return made


@pytest.mark.parametrize("wanted", [0.0, 0.137, 0.5, 0.98, 1.0])
def test_two_bins_hold_any_value(wanted: float) -> None:
    critics = Critics(1, 1, CriticParams(bins=21))
    below = min(int(wanted * 10), 9)
    shares = torch.full((21,), 1e-12)
    shares[below + 10], shares[below + 11] = below + 1 - 10 * wanted + 1e-12, 10 * wanted - below + 1e-12
    logits = shares.log().expand(2, 1, 21).clone().requires_grad_()
    assert critics.values(logits)[:, 0].tolist() == pytest.approx([wanted, wanted], abs=1e-5)
    critics.loss(logits, torch.tensor([wanted]), torch.ones(1)).backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-5


def test_values_begin_near_the_lowest_reward() -> None:
    assert value(learner(), torch.linspace(-1, 1, 5)[:, None]).tolist() == pytest.approx([0] * 5, abs=0.03)


def test_the_density_of_the_policy_is_that_of_a_squashed_gaussian() -> None:
    policy = GaussianPolicy(3, 2, PolicyParams(width=16))
    initialise(policy, 0)
    latents = torch.randn(64, 3, generator=seeded()) * 3
    actions, density = policy.sample(latents, torch.randn(64, 2, generator=seeded(1)))
    mean, log_std = policy(latents)
    known = TransformedDistribution(Normal(mean, log_std.exp()), TanhTransform())
    torch.testing.assert_close(density, known.log_prob(actions).sum(-1), atol=2e-3, rtol=1e-3)


def test_an_episode_of_equal_rewards_is_worth_them() -> None:
    made = trained(learner(), experience(lambda a: np.full(len(a), 0.7)), 800)
    assert value(made, torch.zeros(1, 1)).item() == pytest.approx(0.7, abs=0.03)


def test_after_a_termination_nothing_is_earned() -> None:
    """Every decision ends its episode, so it is worth its own reward alone."""
    ring = Ring(10_000, 1, 1)
    for index in range(50):
        action = np.full((1, 1), index / 25 - 1)
        ring.add(Episode(np.zeros((2, 1)), action, np.ones(1), np.zeros((1, 0)), np.zeros((0, 0)), terminated=True))
    made = trained(learner(discount=0.9), ring, 400)
    assert value(made, torch.zeros(1, 1)).item() == pytest.approx(0.1, abs=0.03)


def test_after_a_termination_rewards_are_zero_wherever_their_range_is() -> None:
    """An episode that ends costs nothing more, where every step costs 1."""
    ring = Ring(10_000, 1, 1)
    for index in range(50):
        action = np.full((1, 1), index / 25 - 1)
        ring.add(Episode(np.zeros((2, 1)), action, -np.ones(1), np.zeros((1, 0)), np.zeros((0, 0)), terminated=True))
    made = trained(learner(discount=0.9, reward_range=(-1.0, 1.0)), ring, 600)
    assert value(made, torch.zeros(1, 1)).item() == pytest.approx(0.9 * 0.5, abs=0.03)


def test_the_end_of_an_episode_is_learned() -> None:
    """Half of the actions end their episode."""
    ring = Ring(10_000, 1, 1)
    for index in range(60):
        action = np.full((1, 1), index / 30 - 1)
        blank = np.zeros((1, 0)), np.zeros((0, 0))
        ring.add(Episode(np.zeros((2, 1)), action, np.ones(1), *blank, terminated=bool(action > 0)))
    made = trained(learner(), ring, 300)
    reward = LearnedReward(made.heads.reward, (0.0, 1.0), terminates=True)
    actions = torch.tensor([[-0.9, -0.5, -0.7], [-0.9, 0.8, -0.7]], dtype=torch.float64)[..., None]
    states, doubt = torch.zeros(2, 4, 1), torch.zeros(2, 3)
    future = Trajectory(states, actions, Signals(), torch.ones(2).bool(), doubt, 0.1)
    ended = reward.ended(future, None)  # type: ignore[arg-type]
    assert ended is not None
    assert ended.tolist() == [[False] * 3, [False, True, True]]
    objective = Objective(((1.0, reward),))
    cost = objective.step_cost(future, None)  # type: ignore[arg-type]
    assert cost[1, 2] == 0
    assert cost[0, 2] == pytest.approx(-1, abs=0.15)


def test_the_policy_finds_the_best_action() -> None:
    """The reward is highest at 0.4, and the entropy's weight falls where little entropy is asked for."""
    made = learner(entropy=2.0)
    trained(made, experience(lambda a: 1 - (a - 0.4) ** 2 / 2), 800)
    assert made.heads.policy.act(torch.zeros(1, 1)).item() == pytest.approx(0.4, abs=0.1)


def test_the_reward_is_learned_of_every_step() -> None:
    made = trained(learner(hold=3), experience(lambda a: 0.5 + 0.4 * a, hold=3), 600)
    actions = torch.linspace(-1, 1, 9)[:, None]
    with torch.no_grad():
        found, _ = made.heads.reward(torch.zeros(9, 1), actions)
    torch.testing.assert_close(found, 0.5 + 0.4 * actions[:, 0], atol=0.05, rtol=0)


def test_a_decision_whose_action_was_changed_teaches_the_critic_nothing() -> None:
    """A third of the rewards are those of decisions that a gate interrupted; the value does not contain them."""
    actions = np.repeat(np.random.default_rng(0).uniform(-1, 1, (300, 1)), 2, 0)
    changed = np.arange(300) % 3 == 0
    actions[1::2][changed] = 0.123
    rewards = np.where(np.repeat(changed, 2), 1.0, 0.2)
    ring = Ring(10_000, 1, 1)
    ring.add(Episode(np.zeros((601, 1)), actions, rewards, np.zeros((600, 0)), np.zeros((0, 0))))
    made = trained(learner(hold=2, discount=0.5), ring, 400)
    assert value(made, torch.zeros(1, 1)).item() == pytest.approx(0.2, abs=0.03)


def test_a_reward_outside_its_range_is_refused() -> None:
    with pytest.raises(TelosError, match=r"reward_range that holds all rewards; it is \[0, 1\]"):
        learner().update(experience(lambda a: 3 * a), 0)


@pytest.mark.parametrize(("period", "hold", "discount"), [(0.01, 4, 0.98), (0.025, 2, 0.99), (0.04, 1, 0.995)])
def test_the_decision_interval_is_the_same_time_for_all_tasks(period: float, hold: int, discount: float) -> None:
    found = ActorCriticConfig().timing(period, 1000)
    assert found == (hold, pytest.approx(discount))


@pytest.mark.parametrize("explores", [True, False])
def test_a_policy_holds_its_actions(explores: bool) -> None:
    policy = GaussianPolicy(1, 2, PolicyParams(width=8))
    initialise(policy, 0)
    actor = PolicyActions(policy, lambda seen: seen, 3, explores)
    actor.begin(5)
    found = np.array([actor.act(Percept(np.array([float(step)]), None)) for step in range(9)])
    for first in (0, 3, 6):
        assert (found[first : first + 3] == found[first]).all()
    assert len(np.unique(found[::3, 0])) == 3
    actor.begin(5)
    assert (actor.act(Percept(np.array([0.0]), None)) == found[0]).all()


def test_random_actions_can_be_held_too() -> None:
    actor = RandomActions(2, hold=4)
    actor.begin(0)
    found = np.array([actor.act(Percept(np.zeros(1), None)) for _ in range(8)])
    assert (found[:4] == found[0]).all()
    assert (found[4] != found[0]).all()


class Line:
    """A model whose state moves by the action."""

    action_size = 1

    def resumable(self) -> bool:
        return True

    def root(self, start: Belief) -> torch.Tensor:
        return torch.zeros(1, 1)

    def branch(self, start: Belief, states: torch.Tensor, actions: torch.Tensor) -> Trajectory:
        path = torch.cat([states[:, None].double(), states[:, None].double() + actions.cumsum(1)], 1)
        number, steps = actions.shape[:2]
        return Trajectory(path, actions, Signals(), torch.ones(number).bool(), torch.zeros(number, steps), 0.1)


def test_the_first_proposal_is_the_policy_in_closed_loop() -> None:
    policy = GaussianPolicy(1, 1, PolicyParams(width=8))
    initialise(policy, 3)
    found = LearnedProposals(policy, Line(), lambda states: states.float(), hold=2, number=5).propose(  # type: ignore[arg-type]
        Belief(None), 5
    )
    assert found.shape == (5, 5, 1)
    state = torch.zeros(1, 1)
    for decision in range(3):
        action = policy.act(state).item()
        assert found[0, 2 * decision : 2 * decision + 2, 0] == pytest.approx(action, abs=1e-6)
        state = state + 2 * action
    assert len(np.unique(found[:, 0])) == 5


def test_what_follows_a_plan_is_worth_the_reward_that_the_critic_expects() -> None:
    critics = Critics(1, 1, CriticParams(bins=11, width=8))
    logits = torch.full((2, 3, 11), -30.0)
    logits[0, :, 7] = logits[1, :, 8] = 30.0  # the members expect 0.4 and 0.6 of the range
    critics.forward = lambda *_: logits  # type: ignore[method-assign]
    critic = LearnedCritic(critics, lambda x: x, lambda _: torch.zeros(3, 1), (-2.0, 8.0), steps=200, doubt=0.5)
    future = Trajectory(torch.zeros(3, 2, 1), torch.zeros(3, 1, 1), Signals(), torch.ones(3), torch.zeros(3, 1), 0.1)
    cost = critic.terminal_cost(future, None)  # type: ignore[arg-type]
    assert cost.tolist() == pytest.approx([-200 * (-2 + 10 * (0.5 - 0.5 * 0.1))] * 3)


@pytest.fixture(scope="module")
def rewarded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished training from rewards; tests must not write to it."""
    path = tmp_path_factory.mktemp("rewarded") / "run"
    to_the_end(begin(recipe.load("rewards", REWARDS), path))
    return path


def test_a_training_from_rewards_reports_returns(rewarded: Path) -> None:
    row = TrainDir.open(rewarded).lines("curve")[-1]
    assert [one["by"] for one in row["returns"]] == ["policy", "planner"]
    assert all(len(one["each"]) == 2 for one in row["returns"])
    assert row["head_updates"] == {"actor_critic": int(REWARDS["frames"] * 0.1)}
    assert set(Checkpoint.read(rewarded).header.parts) == {"jepa", "critic", "policy", "reward"}


def test_heads_of_a_checkpoint_are_those_that_were_trained(rewarded: Path) -> None:
    training = Training(TrainDir.open(rewarded))
    checkpoint = Checkpoint.read(rewarded)
    mine = training.learned(training.model)
    model = model_of(checkpoint)
    theirs = learned(checkpoint.header.parts, modules_of(checkpoint), model)
    belief = Belief(None, np.random.default_rng(0).normal(size=training.networks.inputs.features))
    assert mine.policy is not None
    assert theirs.policy is not None
    assert (mine.policy.propose(belief, 6) == theirs.policy.propose(belief, 6)).all()
    future = model.imagine(belief, torch.zeros(3, 4, 1, dtype=torch.float64), states=True)
    for one, other in ((mine.critic, theirs.critic),):
        assert one is not None
        assert other is not None
        torch.testing.assert_close(one.terminal_cost(future, None), other.terminal_cost(future, None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("part", "field", "wrong"),
    [
        ("critic", "latent", 0),
        ("policy", "params", {"width": 10**9}),
        ("reward", "width", "8"),
        ("critic", "hold", None),
    ],
)
def test_a_checkpoint_whose_heads_do_not_fit_is_refused(rewarded: Path, part: str, field: str, wrong: Any) -> None:
    checkpoint = Checkpoint.read(rewarded)
    parts = json.loads(json.dumps(checkpoint.header.parts))
    parts[part][field] = wrong
    damaged = Checkpoint(checkpoint.header.model_copy(update={"parts": parts}), checkpoint.tensors)
    with pytest.raises(TelosError, match=f"checkpoint: {part}"):
        learned(parts, modules_of(damaged), model_of(checkpoint))


def test_gradients_of_what_was_learned_reach_actions(rewarded: Path) -> None:
    checkpoint = Checkpoint.read(rewarded)
    model, modules = model_of(checkpoint), modules_of(checkpoint)
    modules["critic"].bins.abs_()  # what is clipped to its range has no slope
    modules["reward"].net[-1].weight.mul_(0.01)  # type: ignore[index]
    modules["reward"].net[-1].bias.fill_(0.5)  # type: ignore[index]
    found = learned(checkpoint.header.parts, modules, model)
    actions = torch.zeros(2, 4, 1, dtype=torch.float64, requires_grad=True)
    future = model.differentiate(Belief(None, np.zeros(model.networks.inputs.features)), actions)
    critic, reward = found.critic, found.costs["reward"]
    assert critic is not None
    for cost in (reward.step_cost(future, None), critic.terminal_cost(future, None)):  # type: ignore[arg-type]
        (slope,) = torch.autograd.grad(cost.sum(), actions, retain_graph=True)
        assert torch.isfinite(slope).all()
        assert slope.any()


def test_what_is_doubtful_is_never_worth_less_than_the_lowest_reward() -> None:
    critics = Critics(1, 1, CriticParams(bins=11, width=8))
    logits = torch.full((2, 3, 11), -30.0)
    logits[0, :, 5] = logits[1, :, 6] = 30.0  # the members expect 0 and 0.2
    critics.forward = lambda *_: logits  # type: ignore[method-assign]
    critic = LearnedCritic(critics, lambda x: x, lambda _: torch.zeros(3, 1), (0.0, 1.0), steps=200, doubt=9.0)
    future = Trajectory(torch.zeros(3, 2, 1), torch.zeros(3, 1, 1), Signals(), torch.ones(3), torch.zeros(3, 1), 0.1)
    assert critic.terminal_cost(future, None).tolist() == [0.0] * 3  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"run.planner": "icem"}, "planner"),
        ({"run.planner.params": 3}, "params"),
        ({"run.planner.kind": "icemm"}, "icem"),
        ({"run.planner.params": {"iterations": -4}}, "iterations"),
        ({"actor_critic.interval": 1e308}, "interval"),
        ({"actor_critic.reward_range": [1.0, 0.0]}, "lower end first"),
        ({"run.cost": 3}, "cost"),
        ({"actor_critic": None}, "with actor_critic, and with it alone"),
        ({"evaluate": {"goals": {"within": {"qpos": 0.1}}, "every": 300}}, "with actor_critic, and with it alone"),
        ({"evaluate.goals": {"within": {"qpos": 0.1}}}, "goals or returns, one of them"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_trained(
    tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(TelosError, match=said):
        begin(recipe.load("rewards", {**REWARDS, **given}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_random_collectors_hold_actions_as_the_policy_does(tmp_path: Path) -> None:
    training = begin(recipe.load("rewards", {**REWARDS, "collect": {"kind": "random"}}), tmp_path / "run")
    assert isinstance(training.collector, RandomActions)
    assert training.collector.hold == training.random.hold == 2


def test_a_planner_collects_for_the_learned_reward(tmp_path: Path) -> None:
    given = {**REWARDS, "collect": {"kind": "planner"}, "frames": 60, "evaluate.every": 60}
    training = begin(recipe.load("rewards", {**given, "evaluate.returns.by": ["policy"]}), tmp_path / "run")
    to_the_end(training)
    assert list(training.folder.store.episodes())[-1].actor.startswith("icem")


def test_a_training_from_a_checkpoint_takes_over_its_heads(rewarded: Path, tmp_path: Path) -> None:
    given = {**REWARDS, "start": str(rewarded / "model.safetensors")}
    training = begin(recipe.load("rewards", given), tmp_path / "run")
    made = training.heads["actor_critic"]
    assert isinstance(made, ActorCritic)
    tensors = Checkpoint.read(rewarded).part("critic")
    for heads in (made.heads.critics, made.heads.slow):
        assert all(torch.equal(value, tensors[name]) for name, value in heads.state_dict().items())
