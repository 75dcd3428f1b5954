"""The configuration of a run: closed, frozen models over YAML. One file holds everything."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    create_model,
    field_serializer,
    model_serializer,
    model_validator,
)

from agent.configurator import MAX_EVALUATIONS, MAX_SECONDS
from agent.cost.intrinsic import registry as intrinsic
from envs.backup_config import BackUpConfig
from envs.goal import Goal, Near, parsed
from envs.numbers import Flag, NonNegative, Number, Positive, Scale, Whole
from envs.residuals import Residual
from envs.zones import Zone

MAX_LATENCY = 1_000  # control steps; the environment queues one action for each
SEED = re.compile("0|[1-9][0-9]{0,18}")
MAX_SEEDS = 10_000
Side = Annotated[Whole, Field(ge=16, le=4096, multiple_of=2)]  # pixels of a video frame; H.264 requires an even number
MAX_ITERATIONS = 1_000_000  # of the constraint solver, which counts iterations in a C int


class Closed(BaseModel):
    """A model that refuses unknown keys, and whose values are fixed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class VariantConfig(Closed):
    """How the real physics differ from the model that is used for planning; factors multiply."""

    mass: Positive = 1.0
    friction: Positive = 1.0
    gain: Positive = 1.0
    damping: Positive = 1.0
    latency: Whole = Field(default=0, ge=0, le=MAX_LATENCY, description="control steps")
    observation_noise: NonNegative = 0.0


class PrivilegedConfig(Closed):
    """The agent reads the real simulator state."""

    kind: Literal["privileged"] = "privileged"


class EstimatedConfig(Closed):
    """The agent estimates the simulator state from observations."""

    kind: Literal["estimated"] = "estimated"
    observation_noise: Scale = Field(default=1e-3, description="believed, in each observation's unit")
    process_noise: Scale = Field(default=1e-3, description="believed, per control step, tangent space")
    iterations: Whole = Field(default=3, ge=1, description="Gauss-Newton iterations per update")


class StackedConfig(Closed):
    """The last observations as features, for learned models."""

    kind: Literal["stacked"] = "stacked"
    depth: Whole = Field(default=3, ge=1)


PerceptionConfig = Annotated[PrivilegedConfig | EstimatedConfig | StackedConfig, Field(discriminator="kind")]


def _physical(variant: VariantConfig) -> VariantConfig:
    """Raises ValueError for a variant that equals the nominal model, or that differs in more than a model's physics."""
    if variant == VariantConfig():
        raise ValueError("a variant that differs from the nominal model, which is planned for anyway")
    if variant.latency or variant.observation_noise:
        raise ValueError("mass, friction, gain and damping: latency and observation_noise are not physics of a model")
    return variant


class RiskConfig(Closed):
    """The risk measure over the costs in all futures of the world model, where it has several."""

    kind: Literal["mean", "worst", "cvar"] = Field(default="worst", description="of whole trajectories' costs")
    alpha: Annotated[Positive, Field(le=1)] | None = Field(
        default=None, description="with cvar: the mean over this share of the futures, the worst ones"
    )

    @model_validator(mode="after")
    def _share(self) -> RiskConfig:
        if (self.kind == "cvar") != (self.alpha is not None):
            raise ValueError("alpha with kind: cvar, and with it alone")
        return self


class SimulatorConfig(Closed):
    """MuJoCo itself as the world model; settings that are not given stay as the task has them."""

    kind: Literal["simulator"] = "simulator"
    timestep: Positive | None = Field(default=None, description="s; divides the control period")
    integrator: Literal["Euler", "RK4", "implicit", "implicitfast"] | None = None
    solver: Literal["PGS", "CG", "Newton"] | None = None
    iterations: Whole | None = Field(default=None, ge=1, le=MAX_ITERATIONS)
    noslip_iterations: Whole | None = Field(default=None, ge=0, le=MAX_ITERATIONS, description="0: contacts may creep")
    disable_contacts: Flag = Field(default=False, description="in plans; refused where a guardrail reads contacts")
    variants: tuple[Annotated[VariantConfig, AfterValidator(_physical)], ...] = Field(
        default=(), max_length=64, description="further physics to plan for; guardrails by the worst, costs by the risk"
    )


class CheckpointConfig(Closed):
    """A world model that `telos train` trained."""

    kind: Literal["checkpoint"] = "checkpoint"
    file: str = Field(description="a checkpoint, model.safetensors of a training; its digest is in manifest and rows")

    @property
    def variants(self) -> tuple[VariantConfig, ...]:
        """None: only the simulator's physics can be varied."""
        return ()


class OwnModelConfig(Closed):
    """A world model of another kind, from the registry or another package."""

    kind: str
    params: dict[str, Any] = Field(default_factory=dict, description="the kind's own")

    @property
    def variants(self) -> tuple[VariantConfig, ...]:
        """None: only the simulator's physics can be varied."""
        return ()


def _kind_of_model(value: Any) -> str:
    kind = value.get("kind", "simulator") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return kind if kind in ("simulator", "checkpoint") else "own"


_OF_ROBUST = frozenset({"risk", "alpha", "variants"})  # keys of `world_model.robust` in older files
WorldModelConfig = Annotated[
    Annotated[SimulatorConfig, Tag("simulator")]
    | Annotated[CheckpointConfig, Tag("checkpoint")]
    | Annotated[OwnModelConfig, Tag("own")],
    Discriminator(_kind_of_model),
]


class _CostConfig(Closed):
    """The objective the planner minimises; the return reported is always the environment's own."""

    task: Number = Field(default=1.0, description="weight of minus the task's reward")
    residuals: tuple[Residual, ...] = Field(default=(), description="terms on named signals, each with its weight")
    terms: dict[str, NonNegative] = Field(default_factory=dict, description="terms of other packages, with weights")
    learned: NonNegative = Field(
        default=1.0, description="weight of the learned reward, where the model comes with one"
    )
    critic: NonNegative = Field(default=1.0, description="weight of the critic, where there is one")
    discount: Annotated[Positive, Field(le=1)] = Field(default=1.0, description="of costs, per control step")


if TYPE_CHECKING:  # a type checker cannot see fields that are created from a table
    CostConfig = _CostConfig
else:
    CostConfig = create_model(
        "CostConfig",
        __base__=_CostConfig,
        __module__=__name__,
        __doc__=_CostConfig.__doc__,
        **{
            name: (NonNegative, Field(default=0.0, description=f"weight of {cost.summary}"))
            for name, cost in intrinsic.TABLE.built_in.items()
        },
    )


def _near(value: Any) -> Any:
    """Read a goal that is given as text."""
    return {"near": parsed(value)} if isinstance(value, str) else value


class GoalConfig(Closed):
    """What the agent is asked for beyond the task: signals near their targets."""

    near: tuple[Near, ...] = Field(min_length=1, max_length=64)
    weight: Positive = Field(default=1.0, description="of its cost, whose unit is the distance that is allowed")

    @property
    def goal(self) -> Goal:
        return Goal(self.near, weight=self.weight)


class BudgetConfig(Closed):
    """Candidates per decision, or seconds; exactly one."""

    evaluations: Whole | None = Field(default=None, ge=1, le=MAX_EVALUATIONS)
    seconds: Annotated[Number, Field(gt=0, le=MAX_SECONDS)] | None = None

    @model_validator(mode="after")
    def _one(self) -> BudgetConfig:
        if (self.evaluations is None) == (self.seconds is None):
            raise ValueError("evaluations or seconds, exactly one of them")
        return self


class PlannerConfig(Closed):
    """The planner, its horizon, budget and parameters."""

    kind: str = "icem"
    horizon: Whole = Field(default=40, ge=1, le=10_000, description="control steps")
    replan_every: Whole = Field(default=1, ge=1, le=10_000, description="control steps executed of each plan")
    budget: BudgetConfig = BudgetConfig(evaluations=192)
    params: dict[str, Any] = Field(default_factory=dict, description="the planner's own")


class RuleConfig(Closed):
    """Settings that replace the base ones while a condition on the last plan holds."""

    quantity: Literal["plan_cost", "mean_cost", "plan_margin", "step"]
    above: Number | None = None
    below: Number | None = None
    rises_by: NonNegative | None = Field(default=None, description="fraction of its size since the last decision")
    horizon: Whole | None = Field(default=None, ge=1, le=10_000)
    budget_factor: Annotated[Positive, Field(le=1_000)] = 1.0
    weights: dict[str, Number] = Field(default_factory=dict, description="cost term -> weight")
    planner: str | None = None
    planner_params: dict[str, Any] = Field(default_factory=dict)


class ConfiguratorConfig(Closed):
    """Declared rules, applied in order."""

    rules: tuple[RuleConfig, ...] = ()


class MemoryConfig(Closed):
    """Short-term memory."""

    capacity: Whole = Field(default=10, ge=1, description="episodes")


def listed_seeds(seeds: Any) -> Any:
    """Read seeds given as 7, "0..4", "0,3,7", "0..2,7", or a list. Raises ValueError for other text."""
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        return (seeds,)
    if isinstance(seeds, list | tuple):
        return seeds
    if not isinstance(seeds, str):
        raise ValueError(f"whole numbers such as 0..4 or 0,3,7, at most {MAX_SEEDS:,}")
    found: list[int] = []
    for part in seeds.split(","):
        ends = [int(end) for end in part.strip().split("..") if SEED.fullmatch(end)]
        if len(ends) != part.count("..") + 1 or len(ends) > 2 or not 0 <= ends[-1] - ends[0] < MAX_SEEDS:
            raise ValueError(f"whole numbers such as 0..4 or 0,3,7, at most {MAX_SEEDS:,}")
        found += range(ends[0], ends[-1] + 1)
    return tuple(found)


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Raises ValueError for a seed given twice, or too many."""
    if len(set(seeds)) != len(seeds) or len(seeds) > MAX_SEEDS:
        raise ValueError(f"each seed once, at most {MAX_SEEDS:,}")
    return seeds


def _which(value: Any) -> Any:
    """Read true and false, which older files contain, as first and none."""
    return {True: "first", False: "none"}[value] if isinstance(value, bool) else value


def video_fields(value: Any) -> Any:
    """Expand `video: all` to `video: {which: all}`; other values stay as they are."""
    return {"which": value} if isinstance(value, bool | str) else value


def _video(value: Any) -> Any:
    value = video_fields(value)
    if not isinstance(value, Mapping | VideoConfig):
        raise ValueError("a boolean, first, all, none, or a mapping of which, camera, trace, size")
    return value


def _camera(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise ValueError("a camera's name or index")
    return value


class VideoConfig(Closed):
    """Which episodes are recorded (this needs a working GL library), and what their videos show."""

    which: Annotated[Literal["none", "first", "all"], BeforeValidator(_which)] = Field(
        default="first", description="of the episodes; true is first, false is none"
    )
    camera: Annotated[str | int | None, BeforeValidator(_camera)] = Field(
        default=None, description="the model's, by name or index, or auto; one that sees what moves where None"
    )
    trace: Flag = Field(default=False, description="draw the imagined path of the plan into every frame")
    size: tuple[Side, Side] = Field(default=(640, 480), description="width and height, pixels, even")


Seeds = Annotated[tuple[Annotated[Whole, Field(ge=0)], ...], BeforeValidator(listed_seeds), AfterValidator(_distinct)]


class Config(Closed):
    """Everything a run needs."""

    task: str
    seed: Whole = Field(default=0, ge=0)
    seeds: Seeds = Field(default=(), description="several, in place of seed: 0..4, or 0,3,7, or a list")
    episodes: Whole = Field(default=1, ge=1, le=1_000_000_000, description="of each seed")
    frames: Whole | None = Field(default=None, ge=1, description="control steps per episode; the task's where None")
    variant: VariantConfig = VariantConfig()
    perception: PerceptionConfig = PrivilegedConfig()
    world_model: WorldModelConfig = SimulatorConfig()
    risk: RiskConfig | None = Field(
        default=RiskConfig(), description="null: the nominal future alone counts; not with variants"
    )
    cost: CostConfig = CostConfig()
    goal: Annotated[GoalConfig | None, BeforeValidator(_near)] = Field(
        default=None, description='{near: [{signal, target, within}]}, or as text, "SIGNAL = TARGET ± WITHIN"'
    )
    planner: PlannerConfig = PlannerConfig()
    back_up: BackUpConfig | None = None
    zones: dict[str, Zone] = Field(default_factory=dict, description="added to the model, for zone_distance signals")
    guardrails: tuple[dict[str, Any], ...] = ()
    configurator: ConfiguratorConfig = ConfiguratorConfig()
    memory: MemoryConfig = MemoryConfig()
    threads: Whole | None = Field(default=None, ge=1, description="C threads; all CPUs where None")
    real_time: Annotated[Number, Field(ge=1e-3, le=1e3)] | None = Field(
        default=None, description="simulated seconds per second, while a thread plans; lock-step where None"
    )
    video: Annotated[VideoConfig, BeforeValidator(_video)] = VideoConfig()

    @field_serializer("video")
    def _written(self, video: VideoConfig) -> bool | VideoConfig:
        """Write true or false where that is enough, so that digests of older configurations stay the same."""
        plain = video.which != "all" and video == VideoConfig(which=video.which)
        return video.which == "first" if plain else video

    @property
    def total(self) -> int:
        """Episodes of all seeds."""
        return self.episodes * max(1, len(self.seeds))

    def place(self, episode: int) -> tuple[int, int]:
        """The seed of an episode, and its index under that seed; all randomness of the episode derives from both."""
        at, index = divmod(episode, self.episodes)
        return (self.seeds[at] if self.seeds else self.seed), index

    @model_validator(mode="before")
    @classmethod
    def _moved(cls, values: Any) -> Any:
        """Read what files older than December 2026 have: `world_model.robust`, and the simulator's empty `params`."""
        model = values.get("world_model") if isinstance(values, Mapping) else None
        if not isinstance(model, Mapping):
            return values
        robust = model.get("robust")
        if "robust" in model and (not isinstance(robust, Mapping | None) or set(robust or ()) - _OF_ROBUST):
            return values  # refused below, as an unknown key
        empty = {"params"} if _kind_of_model(model) == "simulator" and model.get("params") == {} else set()
        model = {name: value for name, value in model.items() if name not in {"robust", *empty}}
        if robust is None:
            return {**values, "world_model": model}
        risk = {"kind": robust.get("risk", "worst"), "alpha": robust.get("alpha")}
        return {"risk": risk, **values, "world_model": {"variants": robust.get("variants", ()), **model}}

    @model_validator(mode="after")
    def _one_way(self) -> Config:
        if self.risk is None and self.world_model.variants:
            raise ValueError("a risk with world_model.variants, whose margins would not count in plans without one")
        if self.planner.replan_every > self.planner.horizon:
            raise ValueError(f"planner.replan_every up to planner.horizon, {self.planner.horizon}")
        if self.real_time is not None and self.planner.replan_every > 1:
            raise ValueError("planner.replan_every 1 in real time, where the planner searches all the time")
        if self.seeds and self.seed:
            raise ValueError("seed or seeds, one of them")
        return self

    @model_serializer(mode="wrap")
    def _plain(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write either `seed` or `seeds`, whichever is used."""
        values = write(self)
        del values["seed" if self.seeds else "seeds"]
        return values
