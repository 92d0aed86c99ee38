"""The learned dynamics model: inference is the plain formula and what was trained, search works."""

import numpy as np
import pytest
from tests.strategies import random_graph, small_target

from stowplan.errors import UsageError
from stowplan.rl_mapper import network_kernels as encoders
from stowplan.rl_mapper import network_model_kernels as layers
from stowplan.rl_mapper.game import Game, build_instance
from stowplan.rl_mapper.network import WEIGHTS, Observer, write_layers
from stowplan.rl_mapper.network_model import (
    MODEL_WEIGHTS,
    LatentPosition,
    load_model,
    play_by_model,
    random_model,
)
from stowplan.rl_mapper.search import GumbelSearch, SearchOptions
from stowplan.rl_mapper.training_graphs import training_game


def seen_at_random(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, encoders.OBSERVATION)).astype(np.float32)


def infer(
    model: layers.Model, seen: np.ndarray, actions: list[int]
) -> tuple[list[np.ndarray], list[float]]:
    """Outputs of the prediction along ``actions``, and the rewards in units."""
    latent = np.zeros(layers.LATENT, dtype=np.float32)
    layers.represent(model, seen, latent)
    outputs, rewards = [], []
    for action in [*actions, -1]:
        out = np.zeros(4, dtype=np.float32)
        layers.predict(model, latent, out)
        outputs.append(out)
        if action >= 0:
            after = np.zeros_like(latent)
            rewards.append(layers.advance(model, latent, action, after) / layers.REWARD_UNIT)
            latent = after
    return outputs, rewards


def test_numba_inference_is_the_plain_formula() -> None:
    model = random_model(3)
    seen = seen_at_random(1)[0]
    actions = [2, 0, 1, 1, 0]
    outputs, rewards = infer(model, seen, actions)

    def dense(x: np.ndarray, layer: np.ndarray) -> np.ndarray:
        return np.asarray(x @ layer[:-1] + layer[-1])

    def scaled(x: np.ndarray) -> np.ndarray:
        return np.asarray((x - x.min()) / (x.max() - x.min() + 1e-5))

    end = encoders.PROFILE + encoders.AHEAD * encoders.PER_DECISION
    profile = np.maximum(dense(seen[: encoders.PROFILE], model.profile), 0)
    tokens = seen[encoders.PROFILE : end].reshape(encoders.AHEAD, encoders.PER_DECISION)
    codes = np.maximum(dense(tokens, model.token), 0).reshape(-1)
    x = np.concatenate([profile, np.maximum(dense(codes, model.sequence), 0), seen[end:]])
    latent = scaled(dense(np.maximum(dense(x, model.first), 0), model.second))
    for n, out in enumerate(outputs):
        expected = dense(np.maximum(dense(latent, model.head), 0), model.out)
        assert out == pytest.approx(expected, abs=1e-4)
        if n < len(actions):
            joined = np.concatenate([latent, np.eye(3)[actions[n]]])
            mixed = np.maximum(dense(joined, model.mix), 0)
            assert rewards[n] == pytest.approx(dense(mixed, model.reward)[0], abs=1e-4)
            latent = scaled(latent + dense(mixed, model.change))


def test_inference_is_what_torch_trains() -> None:
    torch = pytest.importorskip("torch")
    from stowplan.rl_mapper import learn_model
    from stowplan.rl_mapper.learn import tensors

    model = random_model(4)
    seen = seen_at_random(6)
    actions = np.array([0, 1, 2, 2, 1, 0])
    with torch.no_grad():
        weights = {name: tensor.cpu() for name, tensor in tensors(model._asdict()).items()}
        latent = learn_model.represent(weights, torch.as_tensor(seen))
        first = learn_model.predict(weights, latent).numpy()
        after, rewards = learn_model.advance(weights, latent, torch.as_tensor(actions))
        second = learn_model.predict(weights, after).numpy()
    for n in range(len(seen)):
        outputs, rewarded = infer(model, seen[n], [int(actions[n])])
        assert outputs[0] == pytest.approx(first[n], abs=1e-4)
        assert outputs[1] == pytest.approx(second[n], abs=1e-4)
        assert rewarded[0] == pytest.approx(float(rewards[n]), abs=1e-4)


def test_search_in_the_model_leaves_the_game_alone() -> None:
    observer = Observer(training_game(0))
    position = LatentPosition(observer, random_model(1))
    search = GumbelSearch(position, SearchOptions(16, noise=1.0, value_scale=0.1), seed=3)
    for _ in range(20):
        mask = position.look()
        before = observer.game.cursor, observer.game.cycles
        action, policy = search.choose()
        assert (observer.game.cursor, observer.game.cycles) == before
        assert mask[action] and (policy[~mask] == 0).all()
        assert policy.sum() == pytest.approx(1.0)
        observer.game.play(action)


@pytest.mark.parametrize("simulations", (0, 1, 6))
@pytest.mark.parametrize("hidden_only", (False, True))
def test_plays_by_the_model_are_complete(simulations: int, hidden_only: bool) -> None:
    for seed in range(4):
        target = small_target(120, alignment_bytes=4, direct_operands=True)
        instance = build_instance(random_graph(seed, 20), target, hidden_only=hidden_only)
        found = play_by_model(Observer(instance), random_model(seed), SearchOptions(simulations))
        assert len(found.wishes) == instance.decisions and found.evaluations == 1
        if not hidden_only:
            game = Game(instance)
            game.follow(found.wishes)
            assert game.cycles == found.cycles


def test_every_decision_is_noted() -> None:
    instance = training_game(1)
    noted: dict[int, np.ndarray] = {}
    options = SearchOptions(simulations=3)
    play_by_model(Observer(instance), random_model(0), options, noted=noted.__setitem__)
    assert sorted(noted) == list(range(instance.decisions))


def test_shipped_model_plays_better_than_chance() -> None:
    """Mean over training games, by its policy alone and with search."""
    for simulations in (0, 4):
        options = SearchOptions(simulations)
        gains = []
        for seed in range(3):
            observer = Observer(training_game(seed))
            trained = play_by_model(observer, load_model(), options).cycles
            chance = play_by_model(observer, random_model(seed), options).cycles
            gains.append((chance - trained) / observer.game.instance.scale_cycles)
        assert np.mean(gains) > 0.05


def test_weights_survive_their_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    model = random_model(5)
    write_layers(tmp_path / "m.npz", model._asdict())
    loaded = load_model(tmp_path / "m.npz")
    assert all((a == b).all() for a, b in zip(model, loaded, strict=True))
    with pytest.raises(UsageError, match="train"):
        write_layers(tmp_path / "n.npz", {"profile": model.profile})
        load_model(tmp_path / "n.npz")
    size = MODEL_WEIGHTS.stat().st_size + WEIGHTS.stat().st_size
    assert size <= 5_000_000
