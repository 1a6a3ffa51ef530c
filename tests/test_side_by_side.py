import pytest
import torch
from torch import Tensor

from challenge.evaluation.networks import new_network
from challenge.evaluation.side_by_side import RoundsSideBySide, rounds_at_once
from challenge.evaluation.training import ChunkedRound, RoundRng, Schedule, TrainingSet
from challenge.spec import DatasetSpec, NetworkName

CPU = torch.device("cpu")
TOY = DatasetSpec("cifar100", "noise", 4, 16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
ROUNDS = range(3)
LABELS = torch.arange(4).repeat_interleave(10)


def rngs() -> list[RoundRng]:
    return [RoundRng.of(0, TOY, round_index, CPU) for round_index in ROUNDS]


@pytest.mark.parametrize(
    ("name", "compiler"), [("convnet3", None), ("resnetap10", None), ("convnet3", "aot_eager")]
)
def test_rounds_side_by_side_are_the_rounds_one_after_the_other(
    name: NetworkName, compiler: str | None
) -> None:
    rng = torch.Generator().manual_seed(1)
    train = TrainingSet.of(torch.randn(12, 3, 16, 16, generator=rng), TOY, CPU)
    test_images = torch.randn(50, 3, 16, 16, generator=rng)
    schedule = Schedule(steps=3, drop_after=2)
    alone_losses: list[Tensor] = []
    alone_predictions: list[Tensor] = []
    for rng_ in rngs():
        chunked = ChunkedRound(new_network(name, TOY, rng_.network_seed, CPU), rng_)
        alone_losses.append(torch.cat(list(chunked.train(train, schedule))))
        alone_predictions += chunked.predict(test_images)

    networks = [new_network(name, TOY, rng_.network_seed, CPU) for rng_ in rngs()]
    together = RoundsSideBySide(networks, rngs(), compiler)
    losses = torch.stack(list(together.train(train, schedule)), dim=1)

    torch.testing.assert_close(losses, torch.stack(alone_losses), atol=1e-5, rtol=1e-5)
    predictions = together.predict(test_images)
    assert [each.tolist() for each in predictions] == [each.tolist() for each in alone_predictions]
    assert len({tuple(each.tolist()) for each in predictions}) == 3  # the rounds do differ


def test_as_many_rounds_as_the_memory_holds_and_always_one() -> None:
    gib = 2**30
    assert rounds_at_once(3, image_size=32, batch_size=256, free_bytes=80 * gib) == 3
    # 256 x 32 x 32 pixels x 4608 bytes: 1.125 GiB a round
    assert rounds_at_once(3, image_size=32, batch_size=256, free_bytes=int(2.4 * gib)) == 2
    assert rounds_at_once(3, image_size=64, batch_size=256, free_bytes=gib) == 1


def test_rounds_train_side_by_side_on_a_gpu(gpu: torch.device) -> None:
    predictions, losses = rounds_on(gpu, steps=2)
    assert losses.shape == (3, 2)
    assert bool(losses.isfinite().all())
    assert [len(each) for each in predictions] == [40, 40, 40]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_rounds_on_a_gpu_learn_side_by_side() -> None:
    predictions, losses = rounds_on(torch.device("cuda"), steps=200)
    assert bool((losses[:, -20:].mean(dim=1) < 0.5 * losses[:, 0]).all())
    for predicted in predictions:
        assert float((predicted == LABELS).double().mean()) > 0.9


def rounds_on(device: torch.device, steps: int) -> tuple[list[Tensor], Tensor]:
    """What three rounds on images told by their red predict for them, and their losses."""
    images = torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images[:, 0] += LABELS[:, None, None]
    train = TrainingSet.of(images, TOY, device)
    on_device = [RoundRng.of(0, TOY, index, device) for index in ROUNDS]
    networks = [new_network("convnet3", TOY, rng.network_seed, device) for rng in on_device]
    together = RoundsSideBySide(networks, on_device)
    schedule = Schedule(steps, max(1, steps // 2))
    losses = torch.stack(list(together.train(train, schedule)), dim=1).cpu()
    return together.predict(images), losses
