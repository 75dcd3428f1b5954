"""The store on disk: what is written is read, a kill costs the shard under way, and foreign files are refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.memory import shard
from agent.memory.about import About
from agent.memory.episode import ARRAYS, Episode
from agent.memory.ring import Ring
from agent.memory.store import Store
from envs.errors import TelosError
from envs.files import locked

ABOUT = About(task="a task", features=(3,), action_size=2, control_period=0.02)


def episode(steps: int = 4, seed: int = 0, **more: object) -> Episode:
    rng = np.random.default_rng(seed)
    made = Episode(
        observations=rng.normal(size=(steps + 1, 3)),
        actions=rng.uniform(-1, 1, (steps, 2)),
        rewards=rng.normal(size=steps),
        margins=rng.normal(size=(steps, 1)),
        states=rng.normal(size=(steps + 1, 5)),
        truncated=True,
        params=MappingProxyType({"model/geom_pos": rng.normal(size=(2, 3))}),
        actor="random",
        seed=seed,
    )
    return replace(made, **more)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store", ABOUT)


def same(one: Episode, other: Episode) -> bool:
    arrays = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ARRAYS)
    kinds = all(getattr(one, name).dtype == getattr(other, name).dtype for name in ARRAYS)
    params = all(np.array_equal(one.params[name], other.params[name]) for name in one.params)
    said = all(getattr(one, name) == getattr(other, name) for name in shard.SAID)
    return arrays and kinds and params and said and one.params.keys() == other.params.keys()


def test_what_is_written_is_read(store: Store) -> None:
    written = [episode(steps, steps) for steps in (1, 4, 7)]
    store.append(written[:2])
    store.append(written[2:])
    again = Store.open(store.path)
    assert (len(again), again.frames) == (3, 12)
    assert all(map(same, again.episodes(), written))
    assert [len(found) for found in again.episodes(1)] == [4, 7]
    assert again.sha256 == store.sha256


def test_pixels_keep_their_type_and_take_little_room(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store", ABOUT.model_copy(update={"features": (8, 8, 3)}))
    plain = np.zeros((101, 8, 8, 3), np.uint8)
    store.append([episode(100, observations=plain, states=np.zeros((0, 0)))])
    (found,) = store.episodes()
    assert found.observations.dtype == np.uint8
    assert (store.path / "shards" / "000000.h5").stat().st_size < plain.nbytes


@pytest.mark.parametrize("damage", ["missing", "torn", "behind"])
def test_an_index_can_be_rebuilt(store: Store, damage: str) -> None:
    store.append([episode()])
    index = store.path / "index.json"
    before = index.read_bytes()
    store.append([episode(5, 1)])
    if damage == "missing":
        index.unlink()
    else:
        index.write_bytes(before if damage == "behind" else index.read_bytes()[:20])
    again = Store.open(store.path)
    assert again.shards == store.shards
    assert again.frames == 9


def test_a_changed_shard_is_not_read(store: Store) -> None:
    store.append([episode()])
    file = store.path / "shards" / "000000.h5"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(TelosError, match="a changed file"):
        list(Store.open(store.path).episodes())


def test_a_shard_cut_short_is_refused_in_one_line(store: Store) -> None:
    store.append([episode()])
    file = store.path / "shards" / "000000.h5"
    file.write_bytes(file.read_bytes()[:-100])
    (store.path / "index.json").unlink()
    with pytest.raises(TelosError, match="an unreadable shard"):
        Store.open(store.path)


def test_one_writer_at_a_time(store: Store) -> None:
    with locked(store.path, "a store"), pytest.raises(TelosError, match="another process is writing"):  # noqa: SIM117
        with locked(store.path, "a store"):
            pass


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from agent.memory.store import Store
from tests.agent.test_store import episode
store = Store.open(Path(sys.argv[1]))
with store.locked():
    for index in range(10_000):
        store.append([episode(50, index)])
        print(index, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_it_finished(store: Store) -> None:
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", WRITER, str(store.path), root]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        told = -1
        for told in map(int, process.stdout):
            if told == 5:
                break
        time.sleep(0.01 * (os.getpid() % 5))
        process.send_signal(signal.SIGKILL)
        rest = [int(line) for line in process.stdout.read().split() if line.isdigit()]
    finished = max([told, *rest]) + 1
    again = Store.open(store.path)
    assert finished <= len(again) <= finished + 1
    assert all(same(found, episode(50, index)) for index, found in enumerate(again.episodes()))
    again.swept()
    assert not list(store.path.glob("**/.*.part"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"observations": np.zeros((5, 4))}, "observations"),
        ({"actions": np.zeros((4, 3))}, "actions"),
        ({"rewards": np.zeros(3)}, "fit together"),
    ],
)
def test_an_episode_that_does_not_fit_is_refused(store: Store, wrong: dict[str, object], said: str) -> None:
    with pytest.raises(TelosError, match=said):
        store.append([episode(**wrong)])
    assert len(store) == 0


def _linked(file: h5py.File) -> None:
    del file["rewards"]
    file["rewards"] = h5py.ExternalLink("/etc/passwd", "x")


def _soft(file: h5py.File) -> None:
    del file["rewards"]
    file["rewards"] = h5py.SoftLink("/actions")


def _external(file: h5py.File) -> None:
    del file["rewards"]
    file.create_dataset("rewards", (4,), "f8", external=[("/etc/passwd", 0, 32)])


def _huge(file: h5py.File) -> None:
    del file["rewards"]
    file.create_dataset("rewards", (2**40,), "f8", chunks=(1024,), compression="gzip")


def _foreign(file: h5py.File) -> None:
    del file["rewards"]
    file.create_dataset("rewards", data=np.zeros(4), chunks=(4,), scaleoffset=2)


def _objects(file: h5py.File) -> None:
    del file["rewards"]
    file.create_dataset("rewards", data=["a"] * 4)


def _odd_lengths(file: h5py.File) -> None:
    file["lengths"][...] = 3


def _another(file: h5py.File) -> None:
    file["more"] = np.zeros(3)


def _named_twice(file: h5py.File) -> None:
    """One array under many names would be read many times."""
    file["param:model:geom_pos2"] = file["param:model:geom_pos"]


def _few_params(file: h5py.File) -> None:
    del file["param:model:geom_pos"]
    file["param:model:geom_pos"] = np.zeros((0, 2, 3))


def _odd_header(file: h5py.File) -> None:
    said = json.loads(str(file.attrs["episodes"]))
    file.attrs["episodes"] = json.dumps([{**one, "seed": "x"} for one in said])


@pytest.mark.parametrize(
    "spoil",
    [
        _linked,
        _soft,
        _external,
        _huge,
        _foreign,
        _objects,
        _odd_lengths,
        _another,
        _named_twice,
        _few_params,
        _odd_header,
    ],
)
def test_foreign_files_are_refused_before_anything_is_read(store: Store, spoil: object) -> None:
    store.append([episode()])
    path = store.path / "shards" / "000000.h5"
    with h5py.File(path, "r+") as file:
        spoil(file)  # type: ignore[operator]
    (store.path / "index.json").unlink()
    with pytest.raises(TelosError, match="an unreadable shard"):
        Store.open(store.path)


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "not JSON"), ("[]", "not an object"), ('{"version": 99}', "99"), ('{"version": 1}', "task")],
)
def test_a_wrong_store_file_is_refused(store: Store, text: str, said: str) -> None:
    (store.path / "store.json").write_text(text)
    with pytest.raises(TelosError, match=said):
        Store.open(store.path)


def test_a_missing_shard_is_not_written_over(store: Store) -> None:
    for index in range(3):
        store.append([episode(3, index)])
    (store.path / "shards" / "000001.h5").unlink()
    again = Store.open(store.path)
    again.append([episode(5, 9)])
    assert [found.seed for found in Store.open(store.path).episodes()] == [0, 2, 9]


def test_an_index_that_lies_about_lengths_is_noticed(store: Store) -> None:
    store.append([episode()])
    index = store.path / "index.json"
    said = json.loads(index.read_text())
    said["000000.h5"]["lengths"] = [3]
    index.write_text(json.dumps(said))
    with pytest.raises(TelosError, match="other lengths"):
        list(Store.open(store.path).episodes())


def test_nothing_is_cut_that_cannot_be_cut(store: Store) -> None:
    store.append([episode(3, 0), episode(3, 1)])
    store.append([episode(3, 2)])
    with pytest.raises(TelosError, match="in shards that do not end there"):
        store.cut(1)
    assert len(Store.open(store.path)) == 3


def test_what_came_after_a_checkpoint_can_be_cut(store: Store) -> None:
    for index in range(4):
        store.append([episode(index + 1, index)])
    store.cut(2)
    assert [len(found) for found in Store.open(store.path).episodes()] == [1, 2]
    with pytest.raises(TelosError, match="2 episodes, in shards"):
        store.cut(3)
    assert len(json.loads((store.path / "index.json").read_text())) == 2


# --- the ring ---------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=12),
    st.integers(1, 5),
    st.integers(9, 40),
)
def test_windows_stay_inside_their_episodes(lengths: list[tuple[int, bool]], length: int, capacity: int) -> None:
    """Observations, actions and rewards name their episode and step, so a window that mixes two would show."""
    ring = Ring(capacity, 3, 2)
    for number, (steps, ended) in enumerate(lengths):
        at = np.arange(steps + 1.0)
        told = np.stack([np.full(steps + 1, float(number)), at, at], 1)
        made = episode(steps, observations=told, actions=told[:-1, :2] / 100, rewards=at[:-1], terminated=ended)
        ring.add(replace(made, truncated=not ended))
    starts = ring.starts(length)
    if not len(starts):
        with pytest.raises(TelosError, match="a shorter window"):
            ring.sample(np.random.default_rng(0), 1, length)
        return
    found = ring.windows(starts, length)
    seen = found.observations
    assert (seen[..., 0] == seen[:, :1, 0]).all(), "one episode"
    steps = np.array([lengths[int(number)][0] for number in seen[:, 0, 0]])
    wanted = np.minimum(seen[:, :1, 1].numpy() + np.arange(length + 1), steps[:, None])
    np.testing.assert_array_equal(seen[..., 1], wanted)
    inside = seen[:, :1, 1].numpy() + np.arange(length) < steps[:, None]
    np.testing.assert_array_equal(found.inside.bool(), inside)
    np.testing.assert_allclose(found.rewards, np.where(inside, seen[:, :-1, 1].numpy(), 0))
    np.testing.assert_allclose(100 * found.actions[..., 1], np.where(inside, seen[:, :-1, 1].numpy(), 0), atol=1e-5)
    ended = np.array([lengths[int(number)][1] for number in seen[:, 0, 0]])
    last = seen[:, :1, 1].numpy() + np.arange(1, length + 1) == steps[:, None]
    np.testing.assert_array_equal(found.terminated, last & ended[:, None])
    assert ring.steps <= capacity


def test_the_newest_episodes_stay() -> None:
    ring = Ring(20, 3, 2)  # has room for three of them, each with one observation more than steps
    for number in range(7):
        ring.add(episode(6, observations=np.full((7, 3), float(number))))
    found = ring.windows(ring.starts(1), 1)
    assert set(found.observations[:, 0, 0].tolist()) == {4.0, 5.0, 6.0}


def test_priorities_are_probabilities() -> None:
    ring = Ring(100, 3, 2)
    ring.add(episode(50))
    weight = np.zeros(50)
    weight[[7, 30]] = 1, 3
    found = ring.sample(np.random.default_rng(0), 4000, 1, weight).steps.numpy()
    assert set(found) == {7, 30}
    assert abs((found == 30).mean() - 0.75) < 0.03


def test_a_ring_that_is_too_small_says_so() -> None:
    with pytest.raises(TelosError, match="at least the 6 steps"):
        Ring(5, 3, 2).add(episode(6))
