"""Training and the Gymnasium environment, where their extra is installed."""

from pathlib import Path

import numpy as np
import pytest

from stowplan.errors import UsageError
from stowplan.ir.verify import verify
from stowplan.rl_mapper.network import load_network
from stowplan.rl_mapper.train import TrainOptions, train
from stowplan.rl_mapper.training_graphs import training_game, training_graph


@pytest.mark.parametrize("seed", range(10))
def test_training_graphs_are_valid_and_repeatable(seed: int) -> None:
    graph = training_graph(seed)
    verify(graph)
    assert graph.hash == training_graph(seed).hash


def test_training_without_torch_says_what_to_install(tmp_path: Path) -> None:
    try:
        import torch  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        with pytest.raises(UsageError, match="stowplan\\[train\\]"):
            train(TrainOptions(tmp_path))
    else:
        pytest.skip("torch is installed")


def test_training_resumes_where_it_stopped(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    options = {"games": 2, "evaluations": 20, "epochs": 1}
    train(TrainOptions(tmp_path / "a", rounds=0, **options))  # type: ignore[arg-type]
    resumed = train(TrainOptions(tmp_path / "a", rounds=1, **options))  # type: ignore[arg-type]
    whole = train(TrainOptions(tmp_path / "b", rounds=1, **options))  # type: ignore[arg-type]
    assert len((tmp_path / "a" / "metrics.csv").read_text().splitlines()) == 3
    for left, right in zip(load_network(resumed), load_network(whole), strict=True):
        assert left == pytest.approx(right, abs=1e-5)
    with pytest.raises(UsageError, match="another"):
        train(TrainOptions(tmp_path / "a", seed=9, **options))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_environment_passes_the_conformance_check() -> None:
    pytest.importorskip("gymnasium")
    from gymnasium.utils.env_checker import (  # pyright: ignore[reportMissingImports]
        check_env,
    )

    from stowplan.rl_mapper.environment import MemoryMappingEnv

    check_env(MemoryMappingEnv(), skip_render_check=True)
    env = MemoryMappingEnv(training_game(1))
    rng = np.random.default_rng(0)
    _, info = env.reset(seed=0)
    total, done = 0.0, False
    while not done:
        action = rng.choice(np.flatnonzero(env.action_masks()))
        _, reward, done, _, info = env.step(action)
        assert info["action"] == action
        total += reward
    instance = training_game(1)
    gained = (instance.all_drop_cycles - info["cycles"]) / instance.scale_cycles
    assert total == pytest.approx(gained)
