"""What ``pretend_gpu`` refuses, as CUDA does, and a whole run on it."""

from pathlib import Path

import pytest
import torch
from conftest import CliRunner
from diffusers import EulerAncestralDiscreteScheduler
from pipelines import IMAGE_SIZE, PROMPTS, TURBO_SCHEDULE, small_pipeline
from pretend_gpu import pretend_gpu
from torch import nn

from challenge.check import load_submission
from challenge.generators.loading import load_generator

GPU = torch.device("cuda", 0)


def test_numbers_are_computed_and_gradients_flow_over_both_devices() -> None:
    torch.manual_seed(0)
    layer, images = nn.Linear(3, 2), torch.randn(4, 3, requires_grad=True)
    loss = layer(images).square().sum()
    (expected,) = torch.autograd.grad(loss, images)
    number = loss.item()
    with pretend_gpu():
        there = layer.to(GPU)(images.to(GPU))
        assert there.device == GPU
        loss = there.square().sum()
        assert loss.item() == pytest.approx(number)
        loss.backward()
        assert layer.weight.grad is not None
        assert layer.weight.grad.is_cuda
    assert images.grad is not None
    assert not images.grad.is_cuda
    assert torch.allclose(images.grad, expected)


def test_devices_cannot_be_mixed_but_for_indices_and_single_numbers() -> None:
    with pretend_gpu():
        there = torch.arange(6.0, device=GPU).view(2, 3)
        with pytest.raises(RuntimeError, match=r"add: tensors of shape \(2, 3\) are on the CPU"):
            there + torch.ones(2, 3)
        with pytest.raises(RuntimeError, match="are on the CPU"):
            there.index_select(0, torch.tensor([1]))
        assert there[torch.tensor([1])].tolist() == [[3, 4, 5]]
        assert (there * torch.tensor(2.0)).sum().item() == 30
        assert (there.cpu() + torch.ones(2, 3)).sum().item() == 21


def test_random_numbers_need_a_generator_of_the_gpu() -> None:
    with pretend_gpu():
        with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator"):
            torch.randn(3, device=GPU, generator=torch.Generator())
        with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator"):
            torch.zeros(3, device=GPU).normal_(generator=torch.Generator())
        drawn = torch.randn(3, device=GPU, generator=torch.Generator(GPU).manual_seed(0))
        assert drawn.is_cuda


def test_numpy_reads_no_memory_of_a_gpu() -> None:
    with pretend_gpu(), pytest.raises(TypeError, match="can't convert cuda:0"):
        torch.zeros(3, device=GPU).numpy()


def test_nothing_is_left_of_it() -> None:
    before = torch.cuda.is_available()
    with pretend_gpu():
        assert torch.cuda.is_available()
    assert torch.cuda.is_available() == before
    assert type(torch.Generator()) is torch.Generator


def test_a_run_on_a_gpu_makes_the_images_that_the_cpu_makes(
    gpu: torch.device, run_cli: CliRunner, tiny_run: Path, tmp_path: Path
) -> None:
    code, _, told = run_cli(
        *("generate", "--model", "tiny", "--dataset", "cifar100", "--ipc", "2"),
        *("--augment", "none", "--limit-s", "120", "--device", str(gpu), "--dtype", "float32"),
        *("--out", tmp_path / "run"),
    )
    assert code == 0, told
    ours, theirs = (load_submission(run / "cifar100.pt") for run in (tmp_path / "run", tiny_run))
    assert torch.allclose(ours, theirs, atol=0.05)  # a level is 0.015


def test_a_pipeline_folder_is_read_onto_a_gpu(gpu: torch.device, tmp_path: Path) -> None:
    small_pipeline(EulerAncestralDiscreteScheduler(**TURBO_SCHEDULE)).save_pretrained(tmp_path)
    pictures = []
    for device in (gpu, torch.device("cpu")):
        generator = load_generator(str(tmp_path), device=device, dtype=torch.float32)
        generator.encode_prompts(PROMPTS)
        made = generator.generate(PROMPTS[:2], [1, 2], IMAGE_SIZE)
        assert made.device.type == device.type
        pictures.append(made.cpu())
    assert torch.allclose(pictures[0], pictures[1], atol=0.01)
