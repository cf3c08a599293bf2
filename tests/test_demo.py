"""The bundled network: its pictures, its files, how it is trained."""

from pathlib import Path
from threading import Thread

import pytest
import torch
from safetensors import safe_open

import optvis.demo
from optvis.demo import COLOURS, PATTERNS, DemoNetwork, JudgeNetwork, demo_network, judge_network, make_pictures
from optvis.demo.muon import orthogonal
from optvis.demo.patterns import hsv_to_rgb
from optvis.demo.train import accuracy, attack, disturb, main, normalise, train

FOLDER = Path(optvis.demo.__file__).parent
LOADERS = {"demo": demo_network, "judge": judge_network}


def test_pictures_are_repeatable_and_in_range() -> None:
    images, pattern, colour = make_pictures(200, seed=3)
    assert images.shape == (200, 3, 64, 64) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1
    assert set(pattern.tolist()) == set(range(len(PATTERNS)))
    assert set(colour.tolist()) == set(range(len(COLOURS)))
    again = make_pictures(200, generator=torch.Generator().manual_seed(3))
    assert all(torch.equal(a, b) for a, b in zip((images, pattern, colour), again, strict=True))
    assert not torch.equal(images, make_pictures(200, seed=4)[0])


def test_pictures_leave_the_global_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    make_pictures(30)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", LOADERS)
def test_loading_a_network_leaves_the_global_random_numbers_alone(name: str) -> None:
    """Not put back, but never drawn: another thread draws all the while."""
    torch.manual_seed(0)
    expected, drawn = torch.rand(20_000), []
    torch.manual_seed(0)
    thread = Thread(target=lambda: drawn.extend(torch.rand(1) for _ in range(20_000)))
    thread.start()
    for _ in range(20):
        LOADERS[name]()
    thread.join()
    assert torch.equal(torch.cat(drawn), expected)


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.filterwarnings("ignore:.*no-op")
def test_a_loaded_network_is_complete(name: str) -> None:
    """Where it is built and what type it has are the user's."""
    network = LOADERS[name]()
    state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    assert all(value.device.type == "cpu" and torch.isfinite(value).all() for value in state.values())
    assert all(value.requires_grad for value in network.parameters())
    with torch.device("meta"):
        assert next(LOADERS[name]().parameters()).is_meta


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_can_be_asked_for(name: str) -> None:
    images, pattern, colour = make_pictures(40, size=56, pattern=name, colour="blue", seed=1)
    assert images.shape == (40, 3, 56, 56)
    assert (pattern == PATTERNS.index(name)).all() and (colour == COLOURS.index("blue")).all()
    network = demo_network()
    seen = network(normalise(network, images))
    assert (seen["pattern"].argmax(1) == pattern).float().mean() > 0.9
    assert (seen["colour"].argmax(1) == colour).float().mean() > 0.9


@pytest.mark.parametrize("name", COLOURS)
def test_a_colour_can_be_asked_for(name: str) -> None:
    images, _, colour = make_pictures(8, colour=name, seed=2)
    assert (colour == COLOURS.index(name)).all()
    vivid = images.amax(1) - images.amin(1)
    if name == "white":
        assert vivid.mean() < 0.3 and (images.amin(1).flatten(1).amax(1) > 0.6).all()
    else:
        assert (vivid.flatten(1).amax(1) > 0.5).all()


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(ValueError, match="no pattern 'ringz': there are stripes"):
        make_pictures(1, pattern="ringz")
    with pytest.raises(ValueError, match="no colour 'pink'"):
        make_pictures(1, colour="pink")


def test_hsv_to_rgb() -> None:
    hue = torch.tensor([0.0, 1 / 6, 1 / 3, 2 / 3])
    rgb = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]])
    torch.testing.assert_close(hsv_to_rgb(hue, torch.ones(4), torch.ones(4)), rgb)


@pytest.mark.parametrize("name", LOADERS)
def test_shipped_network(name: str) -> None:
    network = LOADERS[name]()
    assert not network.training
    assert all(p.dtype == torch.float32 for p in network.parameters())
    assert 200_000 < sum(p.numel() for p in network.parameters()) < 1_000_000
    assert network.output_names == {"pattern": list(PATTERNS), "colour": list(COLOURS)}
    assert network.input_size == (3, 64, 64)
    assert isinstance(network.pattern, torch.nn.Linear) and isinstance(network.colour, torch.nn.Linear)
    share = accuracy(network, count=1200)
    assert share["pattern"] > 0.99 and share["colour"] > 0.99


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("size", [32, 45, 64, 100])
def test_any_size_goes_in(name: str, size: int) -> None:
    out = LOADERS[name]()(torch.zeros(2, 3, size, size + 3))
    assert {k: tuple(v.shape) for k, v in out.items()} == {"pattern": (2, len(PATTERNS)), "colour": (2, len(COLOURS))}


def test_shipped_files_are_small_and_say_what_they_are() -> None:
    assert sum((FOLDER / f"{name}.safetensors").stat().st_size for name in LOADERS) < 2_000_000
    for name in LOADERS:
        with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
            told = file.metadata()
        assert told["pattern"].split(",") == list(PATTERNS) and told["colour"].split(",") == list(COLOURS)
        assert int(told["seed"]) >= 0


def test_the_networks_are_of_different_make() -> None:
    kinds = [
        {type(m) for m in network().modules() if not list(m.children())} for network in (DemoNetwork, JudgeNetwork)
    ]
    assert torch.nn.ReLU in kinds[0] and torch.nn.ReLU not in kinds[1]
    assert isinstance(DemoNetwork().features, torch.nn.Sequential)


def test_disturbed_pictures_stay_pictures() -> None:
    generator = torch.Generator().manual_seed(0)
    images, pattern, colour = make_pictures(64, size=48, generator=generator)
    changed, same, some = disturb(images, pattern, colour, generator)
    assert changed.shape == images.shape and changed.min() >= 0 and changed.max() <= 1
    assert torch.equal(same, pattern)
    assert ((some == colour) | (some == -100)).all() and 0 < (some == -100).sum() < 40


def test_an_attack_goes_uphill_and_not_far() -> None:
    network = demo_network()
    images, pattern, colour = make_pictures(32, seed=5)
    moved = attack(network, images, pattern, colour, 4.0, torch.Generator().manual_seed(0))
    assert (moved - images).flatten(1).norm(dim=1).max() <= 4.0 + 1e-4

    def loss(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(network(normalise(network, x))["pattern"], pattern)

    assert loss(moved) > loss(images)
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("shape", [(8, 20), (20, 8)])
def test_orthogonal_evens_out_singular_values(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.linspace(1, 3, shape[1]))
    values = torch.linalg.svdvals(orthogonal(matrix))
    assert values.min() > 0.5 and values.max() < 1.5


def test_training_lowers_the_loss_and_is_repeatable() -> None:
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        network = DemoNetwork()
        runs.append(train(network, 12, seed=7, batch=12, progress=False))
        assert not network.training
    assert runs[0] == runs[1]
    assert sum(runs[0][-3:]) < sum(runs[0][:3])


@pytest.mark.slow
def test_the_command_writes_a_file_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "judge.safetensors"
    main(["--network", "judge", "--seed", "5", "--steps", "1", "--out", str(out)])
    assert "pattern" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == [out.name]
    with safe_open(out, "pt") as file:
        assert file.metadata()["seed"] == "5"
        assert set(file.keys()) == set(JudgeNetwork().state_dict())
