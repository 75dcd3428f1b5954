"""The agent: one control step is perceive → configure → plan → gate → (step) → remember."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.actor.actor import Actor
from agent.actor.clock import Pace
from agent.composition.compose import composer
from agent.composition.problem import ImaginedProblem, insist_every_step
from agent.composition.risk import Risk
from agent.configurator import Configurator
from agent.cost.objective import Objective
from agent.memory.memory import Memory
from agent.perception.perception import Perception
from envs.errors import TelosError
from envs.guard.gate import Executed, Gate, Verdict
from envs.guardrails.ruleset import Guardrails, digest_of
from envs.percept import Percept
from envs.task import Snapshot, TaskParams
from envs.trajectory import Trajectory
from planners.problem import Plan
from worldmodels.belief import Belief
from worldmodels.ensemble import Ensemble
from worldmodels.model import WorldModel


@dataclass(frozen=True)
class Decision:
    """One action, with the plan, problem and timing behind it."""

    executed: Executed
    plan: Plan[Trajectory]
    problem: ImaginedProblem
    planner: str
    fallback: bool  # whether the gate refused the action, or the plan is the fallback and infeasible
    seconds: float  # wall clock from percept to action
    plan_seconds: float  # the part of it spent planning; in real time, the duration of the background search
    age: float = 0.0  # s of simulated time since the plan's start state; 0 except in real time
    notice: str = ""  # a warning to show the user at once


class Agent:
    """The six modules, wired together. Build an agent with `agent.build`; `act` returns its actions."""

    def __init__(
        self,
        perception: Perception,
        model: WorldModel,
        objective: Objective,
        guardrails: Guardrails,
        actor: Actor,
        gate: Gate,
        memory: Memory,
        configurator: Configurator,
        risk: Risk | None = None,
    ) -> None:
        """
        Args:
            risk: the risk measure over the costs in the members of an `Ensemble`; the mean where None.

        Raises:
            TelosError: the world model skips control steps, or a risk is given and the model is no `Ensemble`.
            GuardrailTampered: `guardrails` is no `Guardrails` set, or it was changed.
        """
        insist_every_step(model)
        if risk is not None and not isinstance(model, Ensemble):
            raise TelosError("Agent: risk", f"with a {type(model).__name__}", "an Ensemble as the world model")
        self.perception = perception
        self.model = model
        self.objective = objective
        self.guardrails = guardrails
        self.digest = digest_of(guardrails)
        self.actor = actor
        self.gate = gate
        self.memory = memory
        self.configurator = configurator
        self.risk = risk
        self.decision: Decision | None = None
        self._belief: Belief | None = None
        self._verdict: Verdict | None = None
        self._pending: tuple[np.ndarray, float, np.ndarray] | None = None  # the last step, until its end state is known
        self._step = 0
        self._begun = False

    def reset(self, seed: int = 0) -> None:
        """Begin an episode; the next `act` must get its first percept."""
        self.memory.close()
        self.configurator.reset()
        self.actor.reset(seed)
        self._belief = self._verdict = self._pending = self.decision = None
        self.gate.reset()
        self._step = 0
        self._begun = True

    def act(self, observation: Any, snapshot: Snapshot | None = None, params: TaskParams | None = None) -> np.ndarray:
        """The action (A,) in [-1,1] for this percept.

        Args:
            observation: the environment's observation.
            snapshot: `Environment.snapshot()`, for an agent whose perception is privileged.
            params: the task's instruction (`envs.percept.instruction`), for any other agent.

        Raises:
            GuardrailTampered: the guardrails are not those the agent was built with.
            ValueError: perception needs a snapshot or an instruction that was not given.
        """
        if not self._begun:
            raise TelosError("Agent.act", "before reset", "agent.reset(seed) at the beginning of every episode")
        clock = time.perf_counter()
        # Call the class's own method: a look-alike object could bring its own `verify`.
        Guardrails.verify(self.guardrails, self.digest)
        belief = self._perceive(Percept(observation, snapshot, params))
        if belief.snapshot is None:
            raise TelosError("perception.kind", "features alone", "privileged or estimated: a plan starts from a state")
        notice = self._warning(belief.snapshot) if self._step == 0 else ""
        settings = self.configurator.settings
        if (settings.planner, settings.planner_params) != (self.actor.planner_name, self.actor.planner_params):
            self.actor.switch(settings.planner, settings.planner_params)
        problem = composer(self.model, self.risk)(
            self.model,
            self.objective.reweighted(settings.weights),
            self.guardrails,
            belief.snapshot,
            settings.horizon,
            self.actor.proposals(belief, self._known(belief.snapshot), settings.horizon),
            self.digest,
        )
        begun = time.perf_counter()
        plan = self.actor.plan(problem, settings.budget)
        planned = time.perf_counter() - begun
        executed = self._gate(belief.snapshot, plan)
        self.actor.advance(1)
        self.configurator.observe(plan, self._step)
        self._step += 1
        # A published fallback counts only where no plan was feasible, not where it is simply the best plan.
        fallback = executed.intervened or (plan.statistics.source == "fallback" and not plan.feasible)
        seconds = time.perf_counter() - clock
        self.decision = Decision(executed, plan, problem, settings.planner, fallback, seconds, planned, notice=notice)
        return executed.action

    def remember(self, cost: float, margin: np.ndarray, state: np.ndarray | None = None) -> None:
        """Store the outcome of the last action: cost, judged margins (G,), and the state (S,) after it.

        Pass no state to an agent that is not privileged: it stores its next belief instead.
        """
        assert self.decision is not None
        self._pending = (self.decision.executed.action, cost, margin)
        if state is not None:
            self._remember(state)

    def finish(self, observation: Any, params: TaskParams | None = None) -> None:
        """End the episode with the observation that the last action led to."""
        if self._pending is not None:
            self._perceive(Percept(observation, None, params))
        self.memory.close()

    @property
    def pace(self) -> Pace | None:
        """Timing statistics of the episode in real time; None in lock-step."""
        return None

    def close(self) -> None:
        """Stop background planning; in lock-step there is none."""

    def _perceive(self, percept: Percept) -> Belief:
        if self._belief is None or self.decision is None:
            belief = self.perception.reset(percept)
            self.memory.begin(_state(belief))
        else:
            belief = self.perception.update(percept, self.decision.executed.action)
            self._remember(_state(belief))
        self._belief = belief
        return belief

    def _remember(self, state: np.ndarray) -> None:
        if self._pending is not None:
            self.memory.add(*self._pending, state)
            self._pending = None

    def _known(self, start: Snapshot) -> dict[str, np.ndarray]:
        """Action sequences (T,A) that every planner must consider.

        `fallback` is the back-up's stop from the gate's last passed check or, without one, the fallback's action, held.
        `hold` keeps servos in place. It is added where a back-up is declared; without one, the fallback does the same.
        """
        if self._verdict is not None and self._verdict.passed and len(self._verdict.back_up):
            known = {"fallback": self._verdict.back_up}
        else:
            known = {"fallback": self.gate.fallback(start)[None]}
        held = self.gate.hold(start) if self.gate.back_up is not None else None
        return known if held is None else {**known, "hold": held[None]}

    def _warning(self, start: Snapshot) -> str:
        """A warning where the declared back-up cannot stop safely from an episode's start; "" where it can."""
        verdict = self.gate.try_stop(start)
        if verdict.passed:
            return ""
        assert self.gate.back_up is not None
        return f"the back-up ({self.gate.back_up.law}) cannot stop safely from this start: {verdict.reason}"

    def _gate(self, start: Snapshot, plan: Plan[Trajectory]) -> Executed:
        action = plan.actions[0].numpy()
        self._verdict = self.gate.check(start, action[None])
        if self._verdict.passed:
            return Executed(action.copy(), False, "")
        return Executed(self.gate.fallback(start), True, self._verdict.reason)


def _state(belief: Belief) -> np.ndarray:
    """What memory stores of a belief: the state, or the features where there is none."""
    return belief.features if belief.snapshot is None else belief.snapshot.state
