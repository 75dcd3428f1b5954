"""From a `Config` to a wired agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from agent.actor.actor import Actor, Policy
from agent.agent import Agent
from agent.composition.compose import problem_over
from agent.composition.judge import Judge, judge_of
from agent.composition.problem import ImaginedProblem
from agent.composition.risk import MEAN, WORST, Risk
from agent.config.config import CheckpointConfig, Config, CostConfig, RiskConfig, RuleConfig, SimulatorConfig
from agent.config.plugins import known_planners
from agent.config.resolved import back_up, planned_for, rules_over
from agent.configurator import Configurator, Rule, Settings
from agent.cost.goal import goal_cost
from agent.cost.intrinsic import registry as intrinsic
from agent.cost.objective import Cost, Critic, Objective, TaskCost
from agent.learned import Learned, modules_of
from agent.learned import learned as learned_parts
from agent.memory.memory import Memory
from agent.perception.estimator import StateEstimator
from agent.perception.perception import ObservationStack, Perception, PrivilegedState
from agent.realtime import RealTimeAgent
from envs import registry
from envs.environment import Environment
from envs.errors import GuardrailWeakened, TelosError
from envs.guard.gate import Gate
from envs.guard.monitor import Monitor
from envs.guard.world import GuardedWorld
from envs.guardrails.ruleset import Guardrails
from envs.physics import signals
from envs.physics.batch import PhysicsOptions
from envs.physics.variants import Variant
from envs.picture import View
from envs.requests import Request
from envs.sizes import check_guardrails, check_residuals
from envs.task import Interface, Task
from envs.zones import declared
from planners import registry as planners
from planners.params import Refused
from planners.problem import Budget
from worldmodels import registry as models
from worldmodels.checkpoint import Checkpoint
from worldmodels.ensemble import Ensemble
from worldmodels.model import Plural, WorldModel


def environment(config: Config, render_mode: str | None = "rgb_array", task: Task | None = None) -> Environment:
    """The environment of this run; rendering code is loaded at the first `render`.

    Args:
        task: the config's, where it is loaded already.

    Raises:
        TelosError: a camera that the model lacks.
    """
    view = View(config.video.camera, *config.video.size)
    return Environment(task or registry.load(config.task), Variant(**config.variant.model_dump()), render_mode, view)


def monitor(config: Config, env: Environment) -> Monitor:
    """The independent monitor, with its own copy of the guardrails."""
    return Monitor(env.task, env.interface, rules_over(config, env.task.guardrails()), env.variant)


def gate(config: Config, task: Task, interface: Interface) -> Gate:
    """The gate, which tries actions in the nominal physics and in the variants that are planned for.

    Raises:
        TelosError: a back-up or a guardrail that does not fit the task.
    """
    task = _zoned(config, task)
    rules = rules_over(config, task.guardrails())
    return Gate(task, interface, rules, back_up(config, task), planned_for(config))


def world(config: Config, env: Environment) -> GuardedWorld:
    """The environment behind gate and monitor. Raises TelosError for what does not fit."""
    made = gate(config, env.task, env.interface)
    goal = None if config.goal is None else config.goal.goal
    return GuardedWorld(
        env, monitor(config, env), made, config.perception.kind == "privileged", goal, _zoned(config, env.task)
    )


def _zoned(config: Config, task: Task) -> Task:
    """The task with the zones that the configuration adds to its model."""
    return replace(task, spec=declared(task.spec, config.zones, "zones"))


def objective(config: CostConfig, task: Task, critic: Critic | None = None) -> tuple[tuple[str, ...], Objective]:
    """The names of the cost terms, and the objective that sums them. Raises TelosError for an unknown term."""
    terms: list[tuple[str, float, Cost]] = [("task", config.task, TaskCost(task))]
    terms += [(f"residuals[{i}]", 1.0, residual) for i, residual in enumerate(config.residuals)]
    terms += [(name, getattr(config, name), intrinsic.TABLE.load(name)()) for name in intrinsic.TABLE.built_in]
    terms += [(name, weight, intrinsic.TABLE.load(_others(name))()) for name, weight in config.terms.items()]
    weighed = tuple((weight, cost) for _, weight, cost in terms)
    return tuple(name for name, _, _ in terms), Objective(weighed, critic, config.critic, config.discount)


def _others(name: str) -> str:
    """The name of another package's cost term. Raises TelosError for a built-in one, which has a field of its own."""
    if name in intrinsic.TABLE.built_in:
        raise TelosError("cost.terms", repr(name), f"a term of another package; cost.{name} is a field")
    return name


def agent(
    config: Config,
    task: Task | None = None,
    interface: Interface | None = None,
    critic: Critic | None = None,
    policy: Policy | None = None,
    *,
    model: WorldModel | None = None,
    costs: Mapping[str, tuple[float, Cost]] | None = None,
    judge: Judge | None = None,
    risk: Risk | None = None,
    learned: Learned | None = None,
) -> Agent:
    """Wire the six modules.

    Args:
        task, interface: of an environment that already exists; made from the config where None.
        critic: the terminal cost, for what lies beyond the horizon; zero where None.
        policy: the Mode-1 policy, which proposes candidates to the planner.
        model: a world model that exists already; made from the config where None.
        costs: name -> weight and term, in place of the config's cost terms.
        judge: of the config's guardrails; exact where None.
        risk: over the futures of a `Plural` model; the config's where None.
        learned: critic, policy and costs that were learned with the model; where None and no model is given, those
            of the checkpoint that the config plans with.

    Raises:
        TelosError: something in the config does not fit the task, or the model.
        GuardrailWeakened: the judge is one of other guardrails.
    """
    task = task or registry.load(config.task)
    interface = interface or task.interface()
    task = _zoned(config, task)
    rules = rules_over(config, task.guardrails())
    # Checked before anything is simulated, so that errors name the config field that does not fit the model.
    check_residuals(task.spec(), config.cost.residuals, "cost.residuals")
    check_guardrails(task, rules)
    if isinstance(config.world_model, SimulatorConfig) and config.world_model.disable_contacts:
        _check_contactless(rules)
    names, minimised = objective(config.cost, task, critic)
    if costs is not None:
        names, minimised = tuple(costs), replace(minimised, terms=tuple(costs.values()))
    if model is None:
        wanted = () if config.goal is None else config.goal.goal.requests
        if config.goal is not None:
            check_residuals(task.spec(), [near.residual for near in config.goal.near], "goal.near")
        model = world_model(config, task, interface, (*minimised.requests, *rules.requests, *wanted))
        if learned is None and isinstance(config.world_model, CheckpointConfig):
            learned = learned_of(config.world_model.file, model)
    if config.goal is not None:
        goal_cost(config.goal.goal, model)  # refused here, and not at the first decision
    for name, ours in (("action_size", interface.action_size), ("dt", interface.control_period)):
        if getattr(model, name, ours) != ours:
            raise TelosError(f"world_model.{name}", getattr(model, name), f"{ours}, as the task has it")
    if judge is not None and judge_of(judge).guardrails.digest != rules.digest:
        raise GuardrailWeakened("judge", f"of {judge.guardrails}", f"a judge of the config's {rules}")
    if judge is None and len(rules) and model.starts_from == "observation":
        # Its signals are predictions: judged as if they were exact, a plan could break a rule and look safe.
        allowed = "a judge that was calibrated on it (judge=Widened(…)), or a task without guardrails"
        given = f"{', '.join(rules.names)}, with a world model that predicts its signals"
        raise TelosError("guardrails", given, allowed)
    if learned is not None:
        if learned.costs and costs is None and config.cost.task == 0:  # the learned reward replaces it
            kept = [index for index, name in enumerate(names) if name != "task"]
            names = tuple(names[index] for index in kept)
            minimised = replace(minimised, terms=tuple(minimised.terms[index] for index in kept))
        names = (*names, *learned.costs)
        terms = (*minimised.terms, *((config.cost.learned, cost) for cost in learned.costs.values()))
        minimised = replace(minimised, terms=terms, critic=critic or learned.critic)
        policy = policy or learned.policy
    settings = Settings(
        config.planner.kind,
        MappingProxyType(config.planner.params),
        config.planner.horizon,
        Budget(config.planner.budget.evaluations, config.planner.budget.seconds),
        tuple(weight for weight, _ in minimised.terms),
    )
    risk = _risk(config.risk) if risk is None and isinstance(model, Plural) else risk
    offered = problem_over(model, risk is not None)
    _check_planner(settings.planner, settings.planner_params, "planner.kind", "planner.params", offered)
    for index, rule in enumerate(config.configurator.rules):
        if rule.planner is not None:
            where = f"configurator.rules[{index}]"
            _check_planner(rule.planner, rule.planner_params, f"{where}.planner", f"{where}.planner_params", offered)
    actor = Actor(settings.planner, settings.planner_params, policy)
    return _agent_of(config.real_time)(
        _perception(config, task, interface, model),
        model,
        minimised,
        rules if judge is None else judge,
        actor,
        Memory(config.memory.capacity),
        Configurator(settings, tuple(_rule(rule, i, names) for i, rule in enumerate(config.configurator.rules))),
        risk,
        **({"replan_every": config.planner.replan_every} if config.planner.replan_every > 1 else {}),
    )


def learned_of(file: str, model: WorldModel) -> Learned:
    """What a checkpoint holds besides its world model. Raises TelosError for one whose parts do not fit."""
    checkpoint = Checkpoint.read(Path(file))
    return learned_parts(checkpoint.header.parts, modules_of(checkpoint), model)


def _check_contactless(rules: Guardrails) -> None:
    """Raises TelosError for a guardrail on contacts: with contacts disabled, it would hold in every plan."""
    for rule in rules:
        for request in rule.signals:
            if request.name.partition("/")[0] in signals.OF_CONTACTS:
                allowed = f"false under guardrail {rule.name!r}, which reads {request.name}"
                raise TelosError("world_model.disable_contacts", "true", allowed)


def _agent_of(real_time: float | None) -> Callable[..., Agent]:
    return Agent if real_time is None else partial(RealTimeAgent, factor=real_time)


def world_model(config: Config, task: Task, interface: Interface, requests: tuple[Request, ...] = ()) -> WorldModel:
    """The world model, which records `requests` besides the signals of the task's reward.

    Raises:
        TelosError: an unknown world model, parameters that are not its own, or a variant it does not support.
    """
    chosen = config.world_model
    if isinstance(chosen, SimulatorConfig):
        own = {"options": PhysicsOptions(**chosen.model_dump(exclude={"kind", "variants"}))}
    elif isinstance(chosen, CheckpointConfig):
        own = {"file": chosen.file}
    else:
        own = chosen.params

    def member(**more: Any) -> WorldModel:
        return models.make(chosen.kind, task, interface, requests, config.threads, {**own, **more})

    if not chosen.variants:
        return member()
    members = [member()]
    for index, variant in enumerate(planned_for(config)):
        try:
            members.append(member(variant=variant))
        except TelosError as error:
            if not error.where.startswith("variant."):
                raise
            where = f"world_model.{error.where.replace('variant', f'variants[{index}]', 1)}"
            raise TelosError(where, error.given, error.allowed, error.nearest) from None
    return Ensemble(members)


def _risk(config: RiskConfig | None) -> Risk | None:
    if config is None:
        return None
    if config.alpha is not None:
        return Risk(config.alpha)
    return MEAN if config.kind == "mean" else WORST


def _check_planner(
    name: str, params: Mapping[str, Any], kind_at: str, params_at: str, offered: type[ImaginedProblem]
) -> None:
    """Raises TelosError for an unknown planner or parameter, or where the planner needs more than the model offers."""
    if name not in known_planners():
        raise TelosError.unknown(kind_at, name, known_planners(), "telos list planners")
    try:
        planners.load(name)
    except ValueError as error:
        raise TelosError(kind_at, str(error), "a planner of `telos list planners` that can be loaded") from None
    try:
        planners.make(name, **params)
    except Refused as error:
        where = params_at if error.name is None else f"{params_at}.{error.name}"
        raise TelosError(where, repr(error.given), error.allowed, error.nearest) from None
    except ValueError as error:
        raise TelosError(params_at, str(error), "see planners/ for each planner's parameters") from None
    needs = planners.load(name).needs
    if not issubclass(offered, needs):
        able = [other for other in planners.BUILT_IN if issubclass(offered, planners.load(other).needs)]
        raise TelosError(kind_at, f"{name!r}, which needs a {needs.__name__} problem", f"with this world model, {able}")


def _perception(config: Config, task: Task, interface: Interface, model: WorldModel) -> Perception:
    if config.perception.kind == "privileged":
        return PrivilegedState()
    if config.perception.kind == "stacked":
        if model.starts_from == "state":
            raise TelosError("perception.kind", "'stacked'", "privileged or estimated: the world model needs a state")
        return ObservationStack(config.perception.depth)
    settings = config.perception.model_dump(exclude={"kind"})
    return StateEstimator(task, interface, **settings, threads=config.threads)


def _rule(rule: RuleConfig, index: int, names: tuple[str, ...]) -> Rule:
    weights = {}
    for name, weight in rule.weights.items():
        if name not in names:
            raise TelosError(f"configurator.rules[{index}].weights", repr(name), names)
        weights[names.index(name)] = weight
    values = rule.model_dump(exclude={"weights", "planner_params"})
    return Rule(**values, weights=MappingProxyType(weights), planner_params=MappingProxyType(rule.planner_params))
