"""Training and the Gymnasium environment, where their extra is installed."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stowplan.errors import UsageError
from stowplan.ir.verify import verify
from stowplan.rl_mapper.train import train
from stowplan.rl_mapper.train_run import (
    METRICS,
    Fitted,
    TrainOptions,
    load_state,
    report,
    save_state,
)
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


@pytest.mark.parametrize("dynamics", ("exact", "learned", "pooled"))
def test_training_resumes_where_it_stopped(tmp_path: Path, dynamics: str) -> None:
    pytest.importorskip("torch")

    def run(folder: str, rounds: int, seed: int = 0) -> Path:
        options = TrainOptions(
            tmp_path / folder,
            games=2,
            rounds=rounds,
            evaluations=20,
            epochs=2,
            seed=seed,
            dynamics=dynamics,
            validation=2,
        )
        return train(options)

    run("a", 0)
    resumed, whole = run("a", 2), run("b", 2)
    rows = [read_metrics(tmp_path / folder) for folder in "ab"]
    assert [row["round"] for row in rows[0]] == ["0", "0", "1", "1", "2", "2"]
    for left, right in zip(*rows, strict=True):
        for name, value in left.items():
            if "cpu" not in name:
                assert (value == "") == (right[name] == "")
                assert float(value or 0) == pytest.approx(float(right[name] or 0), abs=1e-4)
    with np.load(resumed) as left, np.load(whole) as right:
        assert left.files == right.files
        for name in left.files:
            assert left[name] == pytest.approx(right[name], abs=1e-5)
    with pytest.raises(UsageError, match="another seed"):
        run("a", 2, seed=9)


def read_metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


def test_an_interrupted_round_leaves_no_rows(tmp_path: Path) -> None:
    fitted = [Fitted(1.0, 0.5, 0.0, 0.9, 2.0), Fitted(0.5, 0.25, 0.0, 0.95, 2.0)]
    shown: list[dict[str, float]] = []
    options = TrainOptions(tmp_path, on_epoch=shown.append)
    for number in (0, 1, 1, 2):
        report(options, number, 100 + len(shown), fitted, {"best_gain": 0.5})
    rows = read_metrics(tmp_path)
    assert tuple(rows[0]) == METRICS
    assert [(row["round"], row["epoch"]) for row in rows] == [
        (str(number), str(epoch)) for number in range(3) for epoch in range(2)
    ]
    assert [row["best_gain"] for row in rows] == ["", "0.5"] * 3
    assert rows[2]["samples"] == "104" and len(shown) == 8
    report(options, 0, 7, fitted, {})
    assert len(read_metrics(tmp_path)) == 2


def test_state_belongs_to_its_options(tmp_path: Path) -> None:
    options = TrainOptions(tmp_path, games=3)
    assert load_state(options) is None
    save_state(options, 4, {"play0": np.arange(5)})
    found = load_state(replace(options, rounds=9))
    assert found is not None and found[0] == 4
    assert (found[1]["play0"] == np.arange(5)).all()
    for other in (replace(options, games=4), replace(options, dynamics="learned")):
        with pytest.raises(UsageError, match="another"):
            load_state(other)
    (tmp_path / "state.npz").write_bytes(b"torn")
    with pytest.raises(UsageError, match="cannot read"):
        load_state(options)


def test_unknown_dynamics_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="dynamics"):
        train(TrainOptions(tmp_path, dynamics="guessed"))


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
