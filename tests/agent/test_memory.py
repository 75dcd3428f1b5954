"""Short-term memory: windows, recall, capacity, and files that are consistent or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from agent.memory.episode import ARRAYS, Episode
from agent.memory.memory import Memory
from agent.perception.perception import ObservationStack
from envs.errors import TelosError
from envs.percept import Percept

S, F, A, G = 3, 4, 2, 1


def remembered(lengths: list[int], capacity: int = 10, seed: int = 0, guardrails: int = G) -> Memory:
    rng = np.random.default_rng(seed)
    memory = Memory(capacity)
    for length in lengths:
        memory.begin(rng.normal(size=F), rng.normal(size=S), {"model/size": rng.normal(size=2)}, "there", "icem")
        for t in range(length):
            step = (rng.uniform(-1, 1, A), rng.normal(), rng.normal(size=guardrails))
            memory.add(*step, rng.normal(size=F), rng.normal(size=S), terminated=t == length - 1)
    memory.close()
    return memory


def same(one: Episode, other: Episode) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in ARRAYS]
    pairs += [(value, other.params[name]) for name, value in one.params.items()]
    said = [
        (one.terminated, one.truncated, one.goal, one.actor),
        (other.terminated, other.truncated, other.goal, other.actor),
    ]
    return said[0] == said[1] and all(
        a.tobytes() == b.tobytes() and a.shape == b.shape and a.dtype == b.dtype for a, b in pairs
    )


def test_an_episode_is_what_was_added() -> None:
    memory = Memory()
    memory.begin(np.array([7.0]), np.array([0.0, 0.5]), {"model/size": np.ones(1)}, "there", "icem")
    memory.add(np.array([0.1]), 2.0, np.array([0.3]), np.array([8.0]), np.array([1.0, 1.5]))
    memory.add(np.array([0.2]), 3.0, np.array([0.4]), np.array([9.0]), np.array([2.0, 2.5]), truncated=True)
    assert memory.episodes == []  # the episode is not closed yet
    memory.close()
    (episode,) = memory.episodes
    assert len(episode) == 2
    assert_array_equal(episode.states, [[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]])
    assert_array_equal(episode.actions, [[0.1], [0.2]])
    assert_array_equal(episode.rewards, [2.0, 3.0])
    assert_array_equal(episode.margins, [[0.3], [0.4]])
    assert_array_equal(episode.observations, [[7.0], [8.0], [9.0]])
    assert (episode.terminated, episode.truncated, episode.goal, episode.actor) == (False, True, "there", "icem")
    assert episode.params == {"model/size": np.ones(1)}


def test_pixels_stay_bytes_and_stacks_are_rebuilt_from_single_frames(tmp_path: Path) -> None:
    """Each frame is kept once; a stack is what perception saw at the time."""
    rng, memory, perception = np.random.default_rng(0), Memory(), ObservationStack(3)
    frames = [rng.integers(0, 256, (4, 5, 3), dtype=np.uint8) for _ in range(6)]
    seen = [perception.reset(Percept(frames[0], None)).features]
    memory.begin(frames[0], None)
    for frame in frames[1:]:
        memory.add(np.zeros(A), 0.0, np.zeros(G), frame, None)
        seen.append(perception.update(Percept(frame, None), np.zeros(A)).features)
    memory.close()
    memory.save(tmp_path / "m")
    (episode,) = Memory.load(tmp_path / "m").episodes
    assert episode.observations.dtype == np.uint8
    assert episode.observations.shape == (6, 4, 5, 3)
    assert_array_equal(episode.stacked(3), np.stack(seen))
    assert episode.states.size == 0
    assert episode.believed.shape == (6, 60)


def test_stacks_of_vectors_are_rebuilt() -> None:
    memory, perception = remembered([4]), ObservationStack(2)
    (episode,) = memory.episodes
    seen = [perception.reset(Percept(episode.observations[0], None)).features]
    seen += [perception.update(Percept(row, None), np.zeros(A)).features for row in episode.observations[1:]]
    assert_array_equal(episode.stacked(2), np.stack(seen))


def test_what_was_added_is_copied() -> None:
    memory, state, action, margin = Memory(), np.zeros(2), np.zeros(1), np.zeros(1)
    memory.begin(state, state)
    memory.add(action, 0.0, margin, state, state)
    for array in (state, action, margin):
        array += 9.0
    memory.close()
    assert not memory.episodes[0].states.any()
    assert not memory.episodes[0].actions.any()
    assert not memory.episodes[0].margins.any()


def test_an_episode_without_steps_is_none() -> None:
    memory = Memory()
    memory.begin(np.zeros(F), np.zeros(S))
    memory.close()
    memory.close()
    assert memory.episodes == []


def test_begin_closes_what_is_under_way() -> None:
    memory = remembered([2])
    memory.begin(np.zeros(F), np.zeros(S))
    memory.add(np.zeros(A), 0.0, np.zeros(G), np.zeros(F), np.ones(S))
    memory.begin(np.zeros(F), np.ones(S))
    assert [len(episode) for episode in memory.episodes] == [2, 1]


@settings(max_examples=30)
@given(st.lists(st.integers(1, 6), max_size=8), st.integers(1, 5))
def test_only_the_last_episodes_are_kept(lengths: list[int], capacity: int) -> None:
    memory = remembered(lengths, capacity)
    assert [len(episode) for episode in memory.episodes] == lengths[-capacity:]
    everything = remembered(lengths, 100)
    for kept, one in zip(memory.episodes, everything.episodes[-capacity:], strict=True):
        assert same(kept, one)


def test_capacity_must_be_positive() -> None:
    with pytest.raises(TelosError, match="episodes >= 1"):
        Memory(0)


@settings(max_examples=50)
@given(st.lists(st.integers(1, 7), max_size=5), st.integers(1, 8), st.integers(1, 4))
def test_windows_are_all_stretches_that_fit(lengths: list[int], length: int, stride: int) -> None:
    memory = remembered(lengths)
    windows = memory.windows(length, stride)
    expected = [(i, t) for i, n in enumerate(lengths) for t in range(0, n, stride) if t + length <= n]
    assert [(window.episode, window.step) for window in windows] == expected
    for window in windows:
        episode, steps = memory.episodes[window.episode], slice(window.step, window.step + length)
        assert window.states.shape == (length + 1, S)
        assert_array_equal(window.states[:-1], episode.states[steps])
        assert_array_equal(window.states[-1], episode.states[window.step + length])
        assert_array_equal(window.actions, episode.actions[steps])
        assert_array_equal(window.rewards, episode.rewards[steps])
        assert_array_equal(window.observations[:-1], episode.observations[steps])
        assert_array_equal(window.margins, episode.margins[steps])


@settings(max_examples=50)
@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=5),
    st.integers(1, 40),
    st.integers(0, 1000),
    st.booleans(),
)
def test_recall_is_the_nearest_neighbour(lengths: list[int], k: int, seed: int, scaled: bool) -> None:
    memory = remembered(lengths, seed=seed)
    query = np.random.default_rng(seed + 1).normal(size=S)
    scale = np.array([0.1, 1.0, 10.0]) if scaled else None
    pairs = [(i, t) for i, n in enumerate(lengths) for t in range(n)]
    states = np.array([memory.episodes[i].states[t] for i, t in pairs])
    unit = states.std(0) if scale is None else scale
    unit = np.where(unit > 0, unit, 1.0)
    distance = [float(np.sqrt((((row - query) / unit) ** 2).sum())) for row in states]
    found = memory.recall(query, k, scale)
    assert len(found) == min(k, len(pairs))
    got = [distance[pairs.index((window.episode, window.step))] for window in found]
    np.testing.assert_allclose(got, sorted(distance)[:k], rtol=1e-9)
    assert all(len(window.actions) == 1 for window in found)


def test_recall_of_nothing_is_nothing() -> None:
    assert Memory().recall(np.zeros(S)) == []


def test_a_dimension_that_never_changes_does_not_divide_by_zero() -> None:
    memory = Memory()
    memory.begin(np.zeros(F), np.array([1.0, 0.0]))
    for t in range(3):
        memory.add(np.zeros(A), 0.0, np.zeros(G), np.zeros(F), np.array([1.0, t + 1.0]))
    memory.close()
    assert memory.recall(np.array([1.0, 1.1]))[0].step == 1


# --- files -------------------------------------------------------------------------------------------


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 6), max_size=5), st.integers(1, 6), st.integers(0, 3), st.integers(0, 1000))
def test_a_file_holds_every_bit(tmp_path: Path, lengths: list[int], capacity: int, guardrails: int, seed: int) -> None:
    memory = remembered(lengths, capacity, seed, guardrails)
    path = tmp_path / "memory.safetensors"
    memory.save(path)
    loaded = Memory.load(path)
    assert loaded.capacity == capacity
    assert len(loaded.episodes) == len(memory.episodes)
    assert all(same(a, b) for a, b in zip(loaded.episodes, memory.episodes, strict=True))
    assert list(tmp_path.iterdir()) == [path]  # nothing half-written is left behind


def test_special_numbers_survive(tmp_path: Path) -> None:
    memory = Memory()
    memory.begin(np.zeros(1), np.array([np.nan, np.inf, -0.0]))
    last = np.array([1e308, -1e308, 0.1 + 0.2])
    memory.add(np.array([5e-324, 1.0]), float("-inf"), np.array([np.nan]), np.array([np.nan]), last)
    memory.close()
    memory.save(tmp_path / "m")
    assert same(Memory.load(tmp_path / "m").episodes[0], memory.episodes[0])


def test_a_loaded_memory_goes_on(tmp_path: Path) -> None:
    remembered([2, 3], 2).save(tmp_path / "m")
    memory = Memory.load(tmp_path / "m")
    memory.begin(np.zeros(F), np.zeros(S))
    memory.add(np.zeros(A), 0.0, np.zeros(G), np.zeros(F), np.zeros(S))
    memory.close()
    assert [len(episode) for episode in memory.episodes] == [3, 1]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("memory") / "m"
    remembered([4, 2]).save(path)
    return path.read_bytes()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_short_is_refused(tmp_path: Path, saved: bytes, share: float) -> None:
    path = tmp_path / "cut"
    path.write_bytes(saved[: int(share * len(saved))])
    with pytest.raises(TelosError, match="unreadable"):
        Memory.load(path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_damaged_file_is_read_or_refused_never_worse(tmp_path: Path, saved: bytes, share: float, value: int) -> None:
    damaged = bytearray(saved)
    damaged[int(share * len(saved))] = value
    path = tmp_path / "damaged"
    path.write_bytes(bytes(damaged))
    try:
        memory = Memory.load(path)
    except TelosError:
        return
    for episode in memory.episodes:  # accepted files are consistent
        assert len(episode.states) == len(episode) + 1
        assert len(episode.rewards) == len(episode.margins) == len(episode)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_other_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(TelosError, match="a file written by telos"):
        Memory.load(path)


def test_a_missing_file_a_folder_and_a_foreign_file_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    foreign = tmp_path / "foreign"
    save_file({"weights": np.zeros(3)}, foreign)
    for path in (tmp_path / "missing", tmp_path, foreign):
        with pytest.raises(TelosError, match=str(path.name)):
            Memory.load(path)


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("states", np.zeros((2, S))),  # one short
        ("observations", np.zeros((2, F))),
        ("observations", np.zeros((3, F), np.int64)),
        ("observations", np.zeros((3, 4, 5), np.uint8)),  # pixels have three axes
        ("rewards", np.zeros(3)),
        ("rewards", np.zeros((2, 1))),
        ("margins", np.zeros((1, G))),
        ("actions", np.zeros((2, A), np.int64)),
        ("states", np.zeros(3)),
    ],
)
def test_a_file_whose_parts_do_not_fit_together_is_refused(tmp_path: Path, part: str, values: np.ndarray) -> None:
    from safetensors.numpy import save_file

    parts = {"states": np.zeros((3, S)), "actions": np.zeros((2, A)), "rewards": np.zeros(2)}
    parts |= {"margins": np.zeros((2, G)), "observations": np.zeros((3, F))}
    about = {"capacity": "3", "episodes": '[{"params": []}]'}
    save_file({f"0/{name}": array for name, array in parts.items()}, tmp_path / "good", about)
    assert len(Memory.load(tmp_path / "good").episodes) == 1
    save_file({f"0/{name}": array for name, array in (parts | {part: values}).items()}, tmp_path / "bad", about)
    with pytest.raises(TelosError, match="unreadable"):
        Memory.load(tmp_path / "bad")


@pytest.mark.parametrize(
    "about",
    [
        {},
        {"capacity": "3"},
        {"capacity": "x", "episodes": "[]"},
        {"capacity": "0", "episodes": "[]"},
        {"capacity": "3", "episodes": "2"},
        {"capacity": "3", "episodes": "[2]"},
        {"capacity": "3", "episodes": '[{"params": ["model/size"]}]'},
    ],
)
def test_a_file_whose_header_is_wrong_is_refused(tmp_path: Path, about: dict[str, str]) -> None:
    from safetensors.numpy import save_file

    parts = {"states": np.zeros((3, S)), "actions": np.zeros((2, A)), "costs": np.zeros(2), "margins": np.zeros((2, G))}
    save_file({f"0/{name}": array for name, array in parts.items()}, tmp_path / "bad", about)
    with pytest.raises(TelosError):
        Memory.load(tmp_path / "bad")


def test_a_step_before_any_beginning_is_refused() -> None:
    with pytest.raises(TelosError, match="begin"):
        Memory().add(np.zeros(A), 0.0, np.zeros(G), np.zeros(F), np.zeros(S))
