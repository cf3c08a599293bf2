"""``Watch`` in Lightning, in Hugging Face's ``Trainer``, and in two processes."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import digits_data
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from optvis import Class, Film, View, Watch

Calls = list[tuple[int, list[str]]]


def recorded(**options: Any) -> tuple[Watch, Calls]:
    calls: Calls = []
    layer = options.pop("layer", "features/3")
    views = options.pop("views", [*digits_data.views(layer), ("film", Film(Class("", 7), 12, 2)), failing])
    return Watch(views, to=lambda shown, step: calls.append((step, list(shown))), **options), calls


def failing(network: nn.Module, context: Any) -> None:
    torch.rand(3)
    raise RuntimeError("this view is broken")


ALL = ["seven", "collage", "attribute", "film"]


def lightning_run(folder: Path, callbacks: list[Any], steps: int, **options: Any) -> dict[str, Any]:
    pl = pytest.importorskip("lightning.pytorch")

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = digits_data.DigitNetwork()
            self.network.features.register_forward_hook(lambda module, inputs, output: output)

        def forward(self, x: Any) -> Any:
            return self.network(x)

        def training_step(self, batch: Any, index: int) -> Any:
            loss = cross_entropy(self.network(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("validation", cross_entropy(self.network(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 1e-2)

    digits_data.seed_all()
    module = Module()
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=callbacks,
        num_sanity_val_steps=1,
        **options,
    )
    validation = DataLoader(TensorDataset(torch.rand(8, 1, 8, 8), torch.arange(8)), 4)
    trainer.fit(module, DataLoader(digits_data.Digits(), 32, shuffle=True), validation)
    assert trainer.global_step == steps
    return digits_data.left_by(module, trainer.optimizers[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("part", [None, "network"])
def test_lightning_trains_the_same_to_the_bit(tmp_path, part):
    watch, calls = recorded(every=50, layer="features/3" if part else "network/features/3")
    with pytest.warns(UserWarning, match="view 'failing' failed"):
        left = lightning_run(tmp_path, [watch.lightning(part)], 200)
    assert left == lightning_run(tmp_path, [], 200)
    assert calls == [(step, ALL) for step in (50, 100, 150, 200)]
    assert 0 < watch.share < 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_lightning_draws_after_epochs_validations_and_whole_steps(tmp_path):
    view = [View("attribute", layer="network/features/3")]
    watch, calls = recorded(views=view, every=1, unit="epochs")
    lightning_run(tmp_path, [watch.lightning()], 6, limit_train_batches=3)
    assert calls == [(0, ["attribute"]), (1, ["attribute"])]

    found: list[Any] = []
    look = ("look", lambda network, context: found.append(context.images) or Image.new("L", (2, 2)))
    watch, calls = recorded(views=[look], every=4, mode="eval")
    lightning_run(tmp_path, [watch.lightning()], 9, limit_train_batches=3)
    assert [step for step, _ in calls] == [3, 9], "not in the check before training, and at least 4 steps apart"
    assert found[0].shape == (8, 1, 8, 8)

    watch, calls = recorded(views=view, every=1)
    lightning_run(tmp_path, [watch.lightning()], 3, accumulate_grad_batches=2)
    assert [step for step, _ in calls if step] == [1, 2, 3]


def hugging_face_run(folder: Path, callbacks: list[Any], steps: int, **options: Any) -> dict[str, Any]:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    digits_data.seed_all()
    network = digits_data.DigitNetwork()
    arguments = transformers.TrainingArguments(
        str(folder),
        max_steps=steps,
        per_device_train_batch_size=32,
        learning_rate=1e-2,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        logging_strategy="no",
        **options,
    )
    data = digits_data.Digits("pixel_values")
    trainer = transformers.Trainer(network, arguments, train_dataset=data, eval_dataset=[data[i] for i in range(8)])
    for callback in callbacks:
        trainer.add_callback(callback)
    trainer.train()
    assert trainer.state.global_step == steps
    return {**digits_data.left_by(network, trainer.optimizer.optimizer), "own": data.own.random()}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_hugging_face_trains_the_same_to_the_bit(tmp_path):
    watch, calls = recorded(every=50)
    with pytest.warns(UserWarning, match="view 'failing' failed"):
        left = hugging_face_run(tmp_path, [watch.huggingface()], 200)
    assert left == hugging_face_run(tmp_path, [], 200)
    assert calls == [(step, ALL) for step in (50, 100, 150, 200)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_hugging_face_draws_after_epochs_and_evaluations(tmp_path):
    view = [View("attribute", layer="features/3")]
    watch, calls = recorded(views=view, every=1, unit="epochs")
    hugging_face_run(tmp_path, [watch.huggingface()], 114)  # 57 steps an epoch
    assert [number for number, _ in calls] == [1, 2]

    watch, calls = recorded(views=view, every=1, mode="eval")
    hugging_face_run(tmp_path, [watch.huggingface()], 6, eval_strategy="steps", eval_steps=3)
    assert [number for number, _ in calls] == [3, 6]


@pytest.mark.parametrize(("name", "extra"), [("lightning", "lightning"), ("huggingface", "hf")])
def test_a_missing_library_is_named_with_its_extra(monkeypatch, name, extra):
    for module in ("lightning.pytorch", "lightning", "pytorch_lightning", "transformers"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'optvis\[{extra}\]'"):
        getattr(Watch(["attribute"], to=[]), name)()


def rank(number: int, folder: str) -> None:
    """One of two processes of a distributed training, which is run without and with ``Watch``."""
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(f"{folder}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=number, world_size=2)
    views = [View("attribute", layer="features/3"), ("broken", failing)]
    watch = Watch(views, 10, digits_data.Digits(), f"{folder}/pictures")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        left = [distributed_run(number, after) for after in (lambda *_: None, watch.step)]
        watch.close()
    torch.save([*left, watch.share], f"{folder}/{number}.pt")
    torch.distributed.destroy_process_group()


def distributed_run(number: int, after: Any) -> dict[str, Any]:
    digits_data.seed_all()
    network = nn.parallel.DistributedDataParallel(digits_data.DigitNetwork())
    digits_data.seed_all(number)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    data = digits_data.Digits()
    loader = DataLoader(data, 16, sampler=torch.utils.data.DistributedSampler(data, 2, number))
    for step, (images, labels) in zip(range(31), loader, strict=False):
        optimiser.zero_grad()
        cross_entropy(network(images), labels).backward()
        optimiser.step()
        after(network, step)
    return {**digits_data.left_by(network, optimiser), "own": data.own.random()}


@pytest.mark.slow
def test_two_processes_train_the_same_and_one_draws(tmp_path):
    torch.multiprocessing.spawn(rank, (str(tmp_path),), nprocs=2)
    (alone, watched, share), (other, watched_other, no_share) = (
        torch.load(tmp_path / f"{number}.pt", weights_only=False) for number in (0, 1)
    )
    assert alone == watched
    assert other == watched_other
    assert alone["gradients"] == other["gradients"], "the processes are one training"
    assert share > 0
    assert no_share == 0
    pictures = sorted(path.name for path in (tmp_path / "pictures").rglob("*.png"))
    assert pictures == ["00000000.png", "00000010.png", "00000020.png", "00000030.png"]
