"""The agent: one control step is perceive → configure → plan → act, and then remember what became of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from agent.actor.actor import Actor, fitted, later
from agent.actor.clock import Pace
from agent.composition.compose import composer
from agent.composition.judge import Judge, judge_of
from agent.composition.problem import ImaginedProblem, insist_every_step
from agent.composition.risk import Risk
from agent.configurator import Configurator
from agent.cost.goal import ObservationCost, goal_cost
from agent.cost.objective import Aimable, Cost, Objective, TaskCost
from agent.memory.episode import flat
from agent.memory.memory import Memory
from agent.perception.perception import Perception
from envs.errors import TelosError
from envs.goal import Goal, Near, goal_of
from envs.guard.world import Judged
from envs.guardrails.ruleset import Guardrails, digest_of
from envs.percept import Percept, features
from envs.trajectory import Trajectory
from planners.problem import Plan
from worldmodels.belief import Belief
from worldmodels.model import Plural, WorldModel
from worldmodels.registry import insist_whole


@dataclass(frozen=True)
class Decision:
    """The action that an agent chose, with the plan, problem and timing behind it."""

    action: np.ndarray  # (A,) in [-1,1]; the guarded world decides whether it is executed
    plan: Plan[Trajectory]
    problem: ImaginedProblem
    planner: str
    seconds: float  # wall clock from percept to action
    plan_seconds: float  # the part of it spent planning; in real time, the duration of the background search
    age: float = 0.0  # s of simulated time since the plan's start state

    @property
    def fallback(self) -> bool:
        """Whether the fallback was published because no plan was feasible, not because it is simply the best plan."""
        return self.plan.statistics.source == "fallback" and not self.plan.feasible


class Agent:
    """The six modules, wired together. Build an agent with `agent.build`; `act` returns its decisions."""

    def __init__(
        self,
        perception: Perception,
        model: WorldModel,
        objective: Objective,
        judge: Judge | Guardrails,
        actor: Actor,
        memory: Memory,
        configurator: Configurator,
        risk: Risk | None = None,
        replan_every: int = 1,
    ) -> None:
        """
        Args:
            judge: computes margins; guardrails alone are judged by the model's own signals (`Exact`).
            risk: the risk measure over the costs in the futures of a `Plural` model; its nominal future alone counts
                where None.
            replan_every: control steps that are executed of each plan; after one that the gate refused, the agent plans
                anew.

        Raises:
            TelosError: the world model skips control steps, starts from a state that perception does not give, or
                misses a signal that a cost or guardrail reads; or a risk is given and the model has one future.
            GuardrailTampered: guardrails are no `Guardrails` set, or were changed.
        """
        insist_whole(model)
        insist_every_step(model)
        if risk is not None and not isinstance(model, Plural):
            raise TelosError("Agent: risk", f"with a {type(model).__name__}", "an Ensemble as the world model")
        if model.starts_from == "state" and not perception.gives_state:
            allowed = "privileged or estimated: this world model starts from a state"
            raise TelosError("perception.kind", type(perception).__name__, allowed)
        self.perception = perception
        self.model = model
        self.objective = objective
        self.judge = judge_of(judge)
        self._digest = digest_of(self.judge.guardrails)  # kept apart from the judge, which could be replaced
        self.actor = actor
        self.memory = memory
        self.configurator = configurator
        self._insist_on_signals()
        self.risk = risk
        self._compose = composer(model, risk)
        self.replan_every = replan_every
        self._goal: Goal | None = None
        self._goal_cost: tuple[Goal, Cost] | None = None
        self._plan: Plan[Trajectory] | None = None  # the one that is being executed
        self._age = 0  # control steps executed of it
        self._plan_goal: Goal | None = None  # for which it was made
        self._belief: Belief | None = None
        self._acted: np.ndarray | None = None  # the last action, as it was executed
        self._last: Judged | None = None  # the last step's outcome
        self._stored = True  # whether memory has it; it waits for the belief after it
        self._step = 0
        self._seed = 0
        self._begun = False

    @property
    def guardrails(self) -> Guardrails:
        return self.judge.guardrails

    @property
    def goal(self) -> Goal | None:
        """What a person asks this agent for, in place of a goal in its percepts; it can be set at any time.

        Setting it raises TelosError for a goal that the world model cannot serve.
        """
        return self._goal

    @goal.setter
    def goal(self, given: Goal | Near | str | None) -> None:
        goal = goal_of(given)
        if goal is not None:
            self._goal_cost = goal, goal_cost(goal, self.model)
        self._goal = goal
        self._plan = None

    def reset(self, seed: int = 0) -> None:
        """Begin an episode; the next `act` must get its first percept."""
        self.memory.close()
        self.configurator.reset()
        self.actor.reset(seed)
        self._belief = self._acted = self._last = self._plan = None
        self._stored = True
        self._step = 0
        self._seed = seed
        self._begun = True

    def act(self, percept: Percept) -> Decision:
        """The decision for this percept; its action goes to `GuardedWorld.step`.

        Raises:
            GuardrailTampered: the guardrails are not those the agent was built with.
            ValueError: perception needs a snapshot or an instruction that was not given.
        """
        if not self._begun:
            raise TelosError("Agent.act", "before reset", "agent.reset(seed) at the beginning of every episode")
        clock = time.perf_counter()
        Guardrails.verify(judge_of(self.judge).guardrails, self._digest)
        belief = self._perceive(percept)
        settings = self.configurator.settings
        if (settings.planner, settings.planner_params) != (self.actor.planner_name, self.actor.planner_params):
            self.actor.switch(settings.planner, settings.planner_params)
        kept = self._plan is not None and self._plan_goal is belief.goal
        anew = not kept or self._age >= min(self.replan_every, settings.horizon)
        known, horizon = self._known(percept), settings.horizon
        problem = self._compose(
            self.model,
            self._aimed(belief.goal, self.objective.reweighted(settings.weights)),
            self.judge,
            belief,
            horizon,
            self.actor.proposals(belief, known, horizon) if anew else fitted(known, horizon),
            self._drawn(),
        )
        begun = time.perf_counter()
        if self._plan is None or anew:
            self._plan, self._age, self._plan_goal = self.actor.plan(problem, settings.budget), 0, belief.goal
        plan = later(self._plan, self._age)
        planned = time.perf_counter() - begun if anew else 0.0
        action = self._acted = plan.actions[0].numpy().copy()
        self.actor.advance(1)
        if anew:
            self.configurator.observe(plan, self._step)
        age = self._age * self.model.dt
        self._step += 1
        self._age += 1
        return Decision(action, plan, problem, settings.planner, time.perf_counter() - clock, planned, age)

    def remember(self, judged: Judged) -> None:
        """Take note of what became of the last action; memory stores it with the next belief."""
        if self._acted is None:
            raise TelosError("Agent.remember", "before act", "the outcome of the last decision's action")
        self._acted, self._last, self._stored = judged.executed.action, judged, False
        if judged.executed.intervened:
            self._plan = None

    def finish(self, percept: Percept) -> None:
        """End the episode with the percept that the last action led to."""
        if not self._stored:
            self._perceive(percept)
        last = self._last
        self.memory.close(truncated=last is not None and not (last.terminated or last.divergence))

    @property
    def pace(self) -> Pace | None:
        """Timing statistics of the episode in real time; None in lock-step."""
        return None

    def close(self) -> None:
        """Stop background planning; in lock-step there is none."""

    def _perceive(self, percept: Percept) -> Belief:
        seen = features(percept.observation)
        if self._belief is None or self._acted is None:
            belief = self.perception.reset(percept)
            goal = self.goal or percept.goal
            asked = "" if goal is None else goal.text()
            self.memory.begin(seen, _state(belief), flat(belief.params), asked, self.actor.planner_name)
        else:
            belief = self.perception.update(percept, self._acted)
            judged = self._last
            if judged is not None and not self._stored:
                self.memory.add(
                    judged.executed.action,
                    judged.reward,
                    judged.margin,
                    seen,
                    _state(belief),
                    judged.terminated,
                    judged.truncated,
                )
                self._stored = True
        self._belief = replace(belief, goal=self.goal or percept.goal)
        return self._belief

    def _aimed(self, goal: Goal | None, objective: Objective) -> Objective:
        """The objective with the cost of the goal, which is composed once for each goal."""
        if goal is None:
            return objective
        if self._goal_cost is None or self._goal_cost[0] is not goal:
            self._goal_cost = goal, goal_cost(goal, self.model)
        cost, critic = self._goal_cost[1], objective.critic
        if isinstance(cost, ObservationCost) and isinstance(critic, Aimable):
            critic = critic.towards(cost.wanted, goal.weight)
        return replace(objective, terms=(*objective.terms, (goal.weight, cost)), critic=critic)

    def _drawn(self) -> int:
        """The seed of this decision's draws, apart from the planner's."""
        return int(np.random.SeedSequence([self._seed, self._step], spawn_key=(1,)).generate_state(1)[0])

    def _known(self, percept: Percept) -> dict[str, np.ndarray]:
        """The action sequences that every planner must consider; where nothing is proposed, to do nothing."""
        return dict(percept.proposals) or {"fallback": np.zeros((1, self.model.action_size))}

    def _insist_on_signals(self) -> None:
        """Raises TelosError where the model does not predict a signal that a cost or guardrail reads."""
        wanted = {request: f"guardrail {rule.name!r}" for rule in self.guardrails for request in rule.signals}
        raised = {index for rule in self.configurator.rules for index in rule.weights}
        for index, (weight, term) in enumerate(self.objective.terms):
            ends = isinstance(term, TaskCost) and term.task.termination is not None
            if weight != 0 or index in raised or ends:
                wanted |= dict.fromkeys(term.requests, "the cost")
        wanted |= dict.fromkeys(() if self.objective.critic is None else self.objective.critic.requests, "the critic")
        for request, reader in wanted.items():
            if request not in self.model.signals:
                given = f"no signal {request.name!r} at {request.at!r}, which {reader} reads"
                names = sorted({found.name for found in self.model.signals})
                raise TelosError("world_model", given, f"a model that predicts it; this one has {names or 'none'}")


def _state(belief: Belief) -> np.ndarray | None:
    return None if belief.snapshot is None else belief.snapshot.state
