import torch

from challenge.transfer import Arriving, to_device

NUMBERS = torch.arange(12.0).view(3, 4)


def test_what_is_on_the_cpu_has_arrived_already() -> None:
    flags = torch.tensor([True, False])
    numbers, arrived = Arriving([NUMBERS, flags]).wait()
    assert numbers is NUMBERS
    assert arrived is flags
    assert to_device(NUMBERS, torch.device("cpu")) is NUMBERS


def test_what_is_on_a_gpu_arrives_as_it_was_when_the_copy_was_asked_for(gpu: torch.device) -> None:
    there = to_device(NUMBERS, gpu)
    assert there.is_cuda
    arriving = Arriving([there])
    there.zero_()
    (numbers,) = arriving.wait()
    assert numbers.is_pinned()
    assert torch.equal(numbers, NUMBERS)
