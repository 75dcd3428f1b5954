"""The record of an episode in a run directory: one JSON row, and the arrays of its steps.

Numbers that are not finite are written as the JSON strings "NaN", "Infinity" and "-Infinity". Python's `float` and
JavaScript's `Number` both read them back. They are not written as null, because a margin of -Infinity marks a step
that could not be verified, and null would hide it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np

from agent.config import resolved
from agent.memory.episode import Episode
from agent.rollouts.episode import EpisodeResult
from envs.errors import TelosError

if TYPE_CHECKING:
    from agent.agent import Agent
    from agent.config.config import Config
    from envs.guard.world import GuardedWorld

TIMES = (
    *("plan_ms_median", "plan_ms_p95", "decision_ms_median", "simulator_fraction", "seconds", "real_time"),
    *("steps_sha256", "run_sha256"),
)
"""Fields that depend on the clock, and digests that cover such fields.

All other fields are the same, bit for bit, each time a configuration is run.
"""


OPTIONAL = frozenset({"said_by_agent", "reached", "real_time"})
"""Fields that are absent from JSON where they are empty."""

SAID_BY_AGENT = (
    *("plan_ms_median", "plan_ms_p95", "decision_ms_median", "simulator_fraction", "real_time"),
    *("infeasible_plans", "fallbacks", "model_steps_per_decision", "diverged_candidates", "model_sha256"),
)
"""Fields of a row that rest on what the agent says of itself. The guarded world measures all others."""


@dataclass(frozen=True)
class Row:
    """One finished episode. In JSON, the key of `return_` is "return"."""

    task: str
    planner: str
    world_model: str
    seed: int  # the run's seed, or one of its seeds
    episode: int  # index over all seeds of the run
    reset_seed: int  # of the accepted start; follows from the seed, the episode's index and the rejected starts
    env_frames: int  # environment frames = control steps
    decisions: int
    return_: float  # the environment's own reward, summed
    violation_steps: int  # as the monitor judged them
    min_margin: dict[str, float]  # guardrail -> worst margin of the episode, in its unit
    interventions: int  # decisions whose action the gate replaced
    fallbacks: int  # decisions in which the fallback acted because nothing else was allowed
    infeasible_plans: int  # decisions for which the planner found no plan that keeps every guardrail
    resets_rejected: int  # unsafe starts
    terminated: bool
    privileged: bool  # whether the agent read the simulator's state
    plan_ms_median: float
    plan_ms_p95: float
    decision_ms_median: float  # from percept to action
    model_steps_per_decision: float  # steps simulated or evaluated by the world model; physics steps for a simulator
    gate_steps_per_decision: float  # physics steps simulated by the gate
    simulator_fraction: float  # seconds inside MuJoCo's C code / seconds of planning
    guardrails_sha256: str
    rules_sha256: str  # of guardrails, back-up, and the physics in which the gate tries them
    gate: str  # where the gate tries actions: "simulator"; "none" if it tries none
    model_sha256: str  # of the world model's checkpoint; "" if there is none
    goal: str  # what the user asked the agent for; "" if only the task defines the goal
    diverged: bool  # whether the simulation of the world diverged
    diverged_candidates: int  # imagined futures whose simulation diverged
    seconds: float  # wall-clock time of the episode
    steps_sha256: str = ""  # of the episode's steps; set, like `run_sha256`, when the row enters a run directory
    run_sha256: str = ""  # of the run's manifest
    said_by_agent: list[str] = field(default_factory=list)
    """The fields that rest on what the agent says of itself; empty without an agent, and in older rows."""
    reached: dict[str, float] = field(default_factory=dict)
    """With a goal: `first`, the control steps until it first held (NaN if never), and the `share` of steps in which it
    held, judged on the world's state. Empty, and absent from JSON, without a goal.
    """
    real_time: dict[str, float] = field(default_factory=dict)
    """The fields of `agent.actor.clock.Pace` for a run in real time; otherwise empty, and absent from JSON."""

    def values(self) -> dict[str, Any]:
        """The fields as JSON values, by key."""
        values = _plain({field.name.rstrip("_"): getattr(self, field.name) for field in fields(self)})
        return {name: value for name, value in values.items() if name not in OPTIONAL or value}

    def text(self) -> str:
        """The row as JSON."""
        return to_json(self.values())

    def line(self) -> str:
        """The row as one line of JSON with its digest, so that a row that the disk has corrupted is rejected."""
        text = self.text()
        return f'{text[:-1]}, "sha256": "{_sha256(text)}"}}\n'

    @classmethod
    def parse(cls, line: str | bytes, where: str) -> Row:
        """Read what `Row.line` wrote.

        Raises:
            TelosError: the line is not a row, or its digest does not match.
        """
        data = json_row(line, where)
        if data.pop("sha256", None) != _sha256(to_json(data)):
            raise changed(where)
        return cls.of_values(data, where)

    @classmethod
    def of_values(cls, data: dict[str, Any], where: str) -> Row:
        """Make a row from what `values` returned. Raises TelosError for other keys or other types."""
        wanted = {field.name.rstrip("_"): field.name for field in fields(cls)}
        if data.keys() | OPTIONAL != wanted.keys():
            missing = [name for name in wanted if name not in {*data, *OPTIONAL}]
            raise TelosError(where, f"not an episode's row (without {', '.join(missing[:3]) or 'nothing'})", "a row")
        kinds = get_type_hints(cls)
        given = {name: field for name, field in wanted.items() if name in data}
        return cls(**{field: _as(kinds[field], data[name], f"{where}.{name}") for name, field in given.items()})

    def numbers(self) -> dict[str, float]:
        """All numeric results by name; those in a group are named as `min_margin.NAME`."""
        plain = {
            field.name.rstrip("_"): float(getattr(self, field.name))
            for field in fields(self)
            if field.type in ("int", "float") and field.name not in ("seed", "episode", "reset_seed")
        }
        named = {"min_margin": self.min_margin, "reached": self.reached, "real_time": self.real_time}
        return plain | {f"{where}.{name}": value for where, parts in named.items() for name, value in parts.items()}


@dataclass(frozen=True, eq=False)
class Steps:
    """The control steps of one episode as arrays, T of them."""

    reward: np.ndarray  # (T,)
    margin: np.ndarray  # (T,G), as the monitor judged them, in the order of the guardrails' names
    violated: np.ndarray  # (T,) bool
    plan_cost: np.ndarray  # (T,)
    plan_feasible: np.ndarray  # (T,) bool
    plan_ms: np.ndarray  # (T,)
    decision_ms: np.ndarray  # (T,)
    intervened: np.ndarray  # (T,) bool
    fallback: np.ndarray  # (T,) bool
    action: np.ndarray  # (T,A) in [-1,1], executed
    state: np.ndarray  # (T,S), raw, after each step
    belief: np.ndarray
    """(T+1,S), or only its first row, (1,S), if the rest equals `state`; (1,0) where only features are perceived, and
    (T+1,F) there in older runs. See `believed`."""
    reasons: np.ndarray  # (T,) text, why the gate intervened
    control_period: np.ndarray  # scalar (), s
    observation: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    """At the start and after each step, (T+1,F), or pixels (T+1,height,width,channels) uint8; (0,0) in older runs."""
    params: Mapping[str, np.ndarray] = field(default_factory=lambda: MappingProxyType({}))
    """What the reset chose, as `agent.memory.episode.flat` names it; nothing in older runs."""

    @staticmethod
    def of(result: EpisodeResult, belief: np.ndarray, control_period: float) -> Steps:
        """The steps of a finished episode.

        Args:
            belief: the believed states at the start and after each step, (T+1,S); only the one at the start, (S,),
                for an agent that reads the simulator's state, and nothing, (0,), for one that perceives features alone.
        """

        def column(name: str, dtype: type | None = None) -> np.ndarray:
            return np.array([getattr(step, name) for step in result.steps], dtype=dtype)

        belief, state = np.atleast_2d(belief), np.stack([step.state for step in result.steps])
        if np.array_equal(belief[1:], state):
            belief = belief[:1]  # the agent reads the simulator's state: `state` already holds the rest
        return Steps(
            reward=column("reward", float),
            margin=np.stack([step.margin for step in result.steps]),
            violated=column("violated", bool),
            plan_cost=column("plan_cost", float),
            plan_feasible=column("plan_feasible", bool),
            plan_ms=column("plan_ms", float),
            decision_ms=column("decision_ms", float),
            intervened=column("intervened", bool),
            fallback=column("fallback", bool),
            action=np.stack([step.action for step in result.steps]),
            state=state,
            belief=np.array(belief),
            reasons=column("reason", str),
            control_period=np.array(control_period),
            observation=result.observations,
            params=result.params,
        )

    def episode(self, row: Row) -> Episode:
        """The record of the episode, from which memory and data sets derive."""
        actor = " ".join(filter(None, (row.planner, row.model_sha256)))
        return Episode(
            observations=self.observation,
            actions=self.action,
            rewards=self.reward,
            margins=self.margin,
            states=self.believed if self.belief.shape[1] else np.zeros((0, 0)),
            terminated=row.terminated,
            truncated=not (row.terminated or row.diverged),
            params=self.params,
            goal=row.goal,
            actor=actor,
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name, params as `params/NAME`, as in a run's file; what older runs lack is left out."""
        found = {part.name: np.asarray(getattr(self, part.name)) for part in fields(self) if part.name != "params"}
        if not self.observation.size:
            del found["observation"]
        return found | {f"params/{name}": np.asarray(value) for name, value in sorted(self.params.items())}

    @staticmethod
    def read(arrays: Mapping[str, np.ndarray]) -> Steps:
        """The steps that `arrays` gave. Raises KeyError where one is missing."""
        params = {name.removeprefix("params/"): value for name, value in arrays.items() if name.startswith("params/")}
        own = {name: arrays[name] for name in (*_ARRAYS, "observation") if name in _ARRAYS or name in arrays}
        return Steps(**own, params=MappingProxyType(params))

    def check(self) -> None:
        """Raise ValueError if the arrays do not fit together, or their types or axes are not those of the fields."""
        for name, (kind, axes) in _ARRAYS.items():
            value = getattr(self, name)
            if value.dtype.kind != kind or value.ndim != axes:
                raise ValueError(f"{name} of type {value.dtype} with {value.ndim} axes")
        lengths = {len(getattr(self, name)) for name in _ARRAYS if name not in ("belief", "control_period")}
        if len(lengths) != 1 or lengths == {0} or len(self.belief) not in (1, len(self.reward) + 1):
            raise ValueError("arrays that do not fit together")
        if self.observation.size and len(self.observation) != len(self.reward) + 1:
            raise ValueError("observations that do not fit the steps")
        if not 0 < float(self.control_period) < math.inf:
            raise ValueError(f"a control period of {float(self.control_period)} s")

    @property
    def sha256(self) -> str:
        """The digest of names, types, shapes and contents of all arrays; independent of their memory layout."""
        found = hashlib.sha256()
        for name, value in self.arrays().items():
            found.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
            found.update(np.asarray(value, order="C").tobytes())
        return found.hexdigest()

    @property
    def believed(self) -> np.ndarray:
        """The agent's belief at the start and after each step: states (T+1,S), or else observations (T+1,F)."""
        if not self.belief.shape[1]:
            return self.observation.reshape(len(self.observation), -1)
        return self.belief if len(self.belief) > 1 else np.concatenate([self.belief, self.state])

    @property
    def start(self) -> np.ndarray:
        """The agent's belief at the start, (S,), or (0,) where only features are perceived."""
        return self.belief[0]

    def __len__(self) -> int:
        return len(self.reward)


_ARRAYS = {  # field of `Steps` -> kind of its dtype, number of axes
    **dict.fromkeys(("reward", "plan_cost", "plan_ms", "decision_ms"), ("f", 1)),
    **dict.fromkeys(("violated", "plan_feasible", "intervened", "fallback"), ("b", 1)),
    **dict.fromkeys(("margin", "action", "state", "belief"), ("f", 2)),
    "reasons": ("U", 1),
    "control_period": ("f", 0),
}


def follows(steps: Steps, names: Sequence[str]) -> dict[str, Any]:
    """The fields of a row that follow from its episode's steps.

    Args:
        names: the guardrails, in the order of the columns of `steps.margin`.
    """
    worst = steps.margin.min(0) if steps.margin.shape[1] else np.zeros(0)
    planned = (
        steps.plan_ms[steps.plan_ms > 0] if (steps.plan_ms > 0).any() else steps.plan_ms
    )  # kept plans take no time
    return {
        "env_frames": len(steps),
        "decisions": len(steps),
        "return_": float(sum(steps.reward.tolist())),
        "violation_steps": int(steps.violated.sum()),
        "min_margin": {name: float(margin) for name, margin in zip(names, worst, strict=True)},
        "interventions": int(steps.intervened.sum()),
        "fallbacks": int(steps.fallback.sum()),
        "infeasible_plans": int((~steps.plan_feasible).sum()),
        "plan_ms_median": float(np.median(planned)),
        "plan_ms_p95": float(np.percentile(planned, 95)),
        "decision_ms_median": float(np.median(steps.decision_ms)),
    }


def row_of(config: Config, agent: Agent, world: GuardedWorld, result: EpisodeResult, steps: Steps, index: int) -> Row:
    """The row of a finished episode."""
    rules, gate = world.monitor.guardrails, world.gate
    pace = result.pace  # in real time, one plan may serve several steps, so `plan_ms` would count it several times
    planning = float(steps.plan_ms.sum()) / 1e3 if pace is None else pace.planning
    return Row(
        task=config.task,
        planner=config.planner.kind,
        world_model=config.world_model.kind,
        seed=config.place(index)[0],
        episode=index,
        reset_seed=result.seed,
        resets_rejected=result.resets_rejected,
        terminated=bool(result.terminated),
        privileged=agent.perception.privileged,
        model_steps_per_decision=result.physics_steps / len(steps),
        gate_steps_per_decision=result.gate_steps / len(steps),
        simulator_fraction=result.simulator_seconds / planning if planning > 0 else 0.0,
        guardrails_sha256=rules.digest,
        rules_sha256=resolved.rules_sha256(
            rules.digest, None if gate is None else gate.back_up, () if gate is None else gate.variants
        ),
        gate="simulator" if gate is not None and len(gate.guardrails) else "none",
        model_sha256=getattr(agent.model, "sha256", ""),
        goal=result.goal,
        said_by_agent=[name for name in SAID_BY_AGENT if name != "real_time" or pace is not None],
        reached=_reached(result) if result.goal else {},
        diverged=result.diverged,
        diverged_candidates=result.diverged_candidates,
        seconds=result.seconds,
        real_time={} if pace is None else {name: float(value) for name, value in asdict(pace).items()},
        **follows(steps, rules.names),
    )


def _reached(result: EpisodeResult) -> dict[str, float]:
    held = np.array([step.reached for step in result.steps])
    return {"first": float(held.argmax()) + 1 if held.any() else math.nan, "share": float(held.mean())}


def json_row(line: str | bytes, where: str) -> dict[str, Any]:
    """The JSON object of a line. Raises TelosError if the line is not one."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise TelosError(where, repr(line[:40]), "a row of JSON")
    return data


def changed(where: str) -> TelosError:
    """The error for a row whose checksum does not match."""
    return TelosError(where, "a row that has changed since it was written", "the row as `telos run` wrote it")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON that every parser accepts: numbers that are not finite become strings (see the module's docstring)."""
    return json.dumps(_plain(value), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def number(value: Any) -> float:
    """Read a number as `to_json` wrote it. Raises ValueError for anything else."""
    if isinstance(value, bool) or not (isinstance(value, int | float) or value in ("NaN", "Infinity", "-Infinity")):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def _as(kind: Any, value: Any, where: str) -> Any:
    try:
        if kind is float:
            return number(value)
        if kind == dict[str, float]:
            return {str(key): number(item) for key, item in value.items()}
    except (ValueError, AttributeError, TypeError):
        raise TelosError(where, repr(value), "a number") from None
    if kind == list[str]:
        if type(value) is list and all(type(item) is str for item in value):
            return value
        raise TelosError(where, repr(value), "a list of names")
    if type(value) is not kind:
        raise TelosError(where, repr(value), f"a value of type {kind.__name__}")
    return value
