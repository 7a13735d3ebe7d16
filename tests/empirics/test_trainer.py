"""Training as people do it: transformers' Trainer and accelerate on adapted models, and the scripts in docs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("transformers")
import accelerate
import accelerate_process
import sharded_process
import torch
import transformers
from host_checks import IDS
from safetensors.torch import load_file
from torch import Tensor, nn
from trainer_process import train

from empirics.hosts.loading import as_transformers
from empirics.hosts.tiny import host_model
from empirics.methods import SDT, Combined, Handle, InitialState, LoRA, Prompt, apply, load, select
from empirics.methods.scores import score
from empirics.models import MambaConfig, MambaLM

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning"), pytest.mark.filterwarnings("ignore::UserWarning")]
ROWS = [{"input_ids": row, "labels": row} for row in IDS.repeat(4, 1)]


def everything(model: nn.Module) -> Combined:
    sdt = SDT(select(score("random", model), 0.5, 0.5))
    return Combined(parts=(sdt, LoRA(("in_proj", "out_proj"), rank=2), InitialState(conv=True)))


def trained(
    folder: Path, steps: int = 4, name: str = "MambaForCausalLM", config: Any = None, **options: Any
) -> tuple[Handle, list[float]]:
    """A handle after ``steps`` of Trainer, and the losses."""
    resume = options.pop("resume", None)
    model = host_model(name)
    handle = apply(model, config or everything(model))
    arguments = transformers.TrainingArguments(
        str(folder), max_steps=steps, per_device_train_batch_size=2, learning_rate=1e-2, report_to=[], save_steps=2,
        logging_steps=1, use_cpu=True, disable_tqdm=True, lr_scheduler_type="constant", **options,
    )  # fmt: skip
    trainer = transformers.Trainer(model, arguments, train_dataset=ROWS)
    trainer.train(resume_from_checkpoint=resume)
    return handle, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def same(a: Handle, b: Handle) -> bool:
    return all(torch.equal(value, b.values()[name]) for name, value in a.values().items())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Handle, list[float]]:
    return trained(tmp_path_factory.mktemp("plain"))


def moved(handle: Handle) -> bool:
    """Whether every tensor is elsewhere than at its start."""
    fresh = host_model("MambaForCausalLM")
    start = apply(fresh, everything(fresh)).values()
    return all(not torch.equal(value, start[name]) for name, value in handle.values().items())


def test_trainer_trains_what_the_handle_trains(plain: tuple[Handle, list[float]], tmp_path: Path) -> None:
    handle, losses = plain
    assert moved(handle) and len(losses) == 4
    base = dict(host_model("MambaForCausalLM").named_parameters())
    handle_copy, _ = trained(tmp_path)  # the same again
    assert same(handle, handle_copy)
    handle_copy.remove()
    assert all(torch.equal(p, base[n]) for n, p in handle_copy.model.named_parameters())


def test_a_resumed_training_is_the_uninterrupted_one(plain: tuple[Handle, list[float]], tmp_path: Path) -> None:
    trained(tmp_path, 2)
    resumed, losses = trained(tmp_path, 4, resume=True)
    assert same(resumed, plain[0]) and losses == plain[1]
    assert not same(trained(tmp_path / "short", 2)[0], plain[0])


def test_checkpointing_activations_changes_nothing(plain: tuple[Handle, list[float]], tmp_path: Path) -> None:
    assert same(trained(tmp_path, gradient_checkpointing=True)[0], plain[0])


@pytest.mark.parametrize(
    "options",
    [{"bf16": True}, {"gradient_accumulation_steps": 2}, {"torch_compile": True, "torch_compile_backend": "eager"}],
    ids=["bf16", "accumulation", "compile"],
)
def test_other_ways_of_training(options: dict[str, Any], plain: tuple[Handle, list[float]], tmp_path: Path) -> None:
    handle, losses = trained(tmp_path, 2, **options)
    assert moved(handle)
    assert losses[0] == pytest.approx(plain[1][0], rel=5e-2)


@pytest.mark.parametrize("name", ["Mamba2ForCausalLM", "BambaForCausalLM"])
def test_prompts_and_hybrids(name: str, tmp_path: Path) -> None:
    """Trainer keeps the columns that the forward pass names: a wrapped one names the same."""
    handle, losses = trained(tmp_path, 4, name, Prompt(tokens=2), save_strategy="no")
    assert len(losses) == 4 and handle.n_trainable == 2 * handle.model.config.hidden_size
    start = apply(host_model(name), Prompt(tokens=2)).values()
    assert not torch.equal(handle.values()["prompt_tokens.prompt"], start["prompt_tokens.prompt"])


def test_accelerate_prepares_saves_and_restores(tmp_path: Path) -> None:
    def fresh() -> tuple[Any, Any, Any, Handle]:
        accelerate.state.AcceleratorState._reset_state(True)
        machine = accelerate.Accelerator(cpu=True)
        model = host_model("Mamba2ForCausalLM")
        handle = apply(model, Combined(parts=(LoRA(("out_proj",), rank=2), InitialState())))
        return machine, *machine.prepare(model, torch.optim.AdamW(handle.trainable().values(), lr=1e-2)), handle

    def step(machine: Any, model: nn.Module, optimiser: Any) -> Tensor:
        optimiser.zero_grad()
        loss = model(IDS, labels=IDS).loss
        machine.backward(loss)
        optimiser.step()
        return loss.detach()

    machine, model, optimiser, handle = fresh()
    step(machine, model, optimiser)
    machine.save_state(str(tmp_path))
    expected = step(machine, model, optimiser)
    machine, model, optimiser, again = fresh()
    assert not same(handle, again)
    machine.load_state(str(tmp_path))
    assert torch.equal(step(machine, model, optimiser), expected) and same(handle, again)


def environment() -> dict[str, str]:
    """This process's, with the same places to import from: some of sys.path may have come from no variable."""
    places = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1", "NCCL_NVLS_ENABLE": "0"}  # tiny sums need no multicast


def two_processes(name: str, *arguments: object) -> None:
    """Run a script of this folder under torchrun."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launcher, str(Path(__file__).with_name(name)), *map(str, arguments)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.slow
def test_a_sharded_model_trains_as_a_whole_one(tmp_path: Path) -> None:
    """fully_shard replaces the parameters: the handle trains, sets and saves those that are there."""
    two_processes("sharded_process.py", tmp_path)
    alone, half = sharded_process.adapted(), sharded_process.adapted()
    sharded_process.train(alone, sharded_process.IDS)
    sharded_process.train(half, sharded_process.IDS[:2])
    model = host_model("MambaForCausalLM")
    found = load(model, tmp_path / "0").values()
    assert all(torch.equal(load_file(tmp_path / "1" / "adapter.safetensors")[n], v) for n, v in found.items())
    assert all(torch.allclose(v, found[n], atol=2e-6) for n, v in alone.values().items())
    assert any(not torch.allclose(v, found[n], atol=1e-4) for n, v in half.values().items())


DEVICES = [
    pytest.param("cpu", marks=pytest.mark.slow),
    pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")]),
]


def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest difference of any value."""
    return max(float((value.cpu() - b[name].cpu()).abs().max()) for name, value in a.items())


def agree(out: Path, device: str, alone: dict[str, Tensor], half: dict[str, Tensor]) -> None:
    """Two processes end equal, and where one process ends with all rows, not with half of them; -rP shows the distances."""
    near, far = {"cpu": (2e-6, 1e-4), "cuda": (5e-4, 2e-2)}[device]
    first, second = (load_file(out / f"{rank}.safetensors") for rank in (0, 1))
    assert distance(first, second) == 0 and first.keys() == alone.keys()
    to_alone, to_half = distance(first, alone), distance(first, half)
    print(f"{device}: {to_alone:.1e} from one process with all rows, {to_half:.1e} from one with half of them")
    assert to_alone < near and to_half > far


@pytest.mark.parametrize("device", DEVICES)
def test_two_processes_train_as_one(device: str, tmp_path: Path) -> None:
    """Trainer under torchrun: batches of two in two processes give the values of batches of four in one."""
    two_processes("trainer_process.py", tmp_path, device)
    agree(tmp_path, device, train(tmp_path, 4), train(tmp_path, 2))  # on the CPU: one process would take both GPUs


@pytest.mark.parametrize(
    ("device", "how"),
    [
        pytest.param(*d.values, how, marks=d.marks)
        for d in DEVICES
        for how in ("ddp", "fsdp")
        if (*d.values, how) != ("cpu", "fsdp")
    ],
)
def test_two_processes_of_accelerate_train_as_one(device: str, how: str, tmp_path: Path) -> None:
    """accelerate shards on accelerators only; a sharded model on the CPU is tested above."""
    two_processes("accelerate_process.py", tmp_path, how, device)
    alone, half = (accelerate_process.train(accelerate_process.adapted(device), accelerate_process.IDS[:n]) for n in (4, 2))
    agree(tmp_path, device, alone, half)


def script(name: str, *arguments: object) -> str:
    command = [sys.executable, str(ROOT / "docs" / "scripts" / name), *map(str, arguments)]
    done = subprocess.run(command, env=environment(), cwd=arguments[0], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip().splitlines()[-1]


def small() -> MambaLM:
    torch.manual_seed(0)
    return MambaLM(MambaConfig(32, 2, 64, {"layer": "Mamba1", "d_state": 8}))


@pytest.mark.slow
def test_the_script_for_transformers(tmp_path: Path) -> None:
    as_transformers(small()).save_pretrained(str(tmp_path))
    first, second = (script("transformers_trainer.py", tmp_path, tmp_path / "adapter") for _ in range(2))
    assert first == second and first.startswith("[[")


@pytest.mark.gpu
def test_the_script_for_mamba_ssm(tmp_path: Path) -> None:
    pytest.importorskip("mamba_ssm")
    import json

    model = small()
    fields = {k: v for k, v in model.config.to_dict().items() if k != "norm_epsilon"}
    (tmp_path / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")  # the only file that mamba-ssm reads
    first, second = (script("mamba_ssm_loop.py", tmp_path, tmp_path / "adapter") for _ in range(2))
    assert first == second and first.startswith("[[")
