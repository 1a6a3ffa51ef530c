import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from challenge.evaluation import training
from challenge.evaluation.convnet import ConvNet
from challenge.evaluation.training import (
    ChunkedRound,
    RoundRng,
    Schedule,
    TrainingSet,
    chunk_size,
    new_optimizer,
    shuffled_batches,
)
from challenge.spec import CIFAR100, PROTOCOLS, DatasetSpec

TOY = DatasetSpec("cifar100", "stripes", 2, 8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
CPU = torch.device("cpu")


def toy_rng(seed: int = 0) -> RoundRng:
    return RoundRng.of(seed, TOY, 0, CPU)


@pytest.fixture
def toy() -> TrainingSet:
    rng = torch.Generator().manual_seed(1)
    return TrainingSet.of(torch.randn(20, 3, 8, 8, generator=rng), TOY, CPU)


@pytest.mark.parametrize(
    ("name", "images", "steps", "drop_after"),
    [
        # epochs 0..1000 of 1000 images are 4 batches each; the rate drops after epoch 501
        ("official", 1000, 1001 * 4, 502 * 4),
        ("official", 2000, 1001 * 8, 502 * 8),
        ("official", 256, 1001, 502),
        ("official", 257, 1001 * 2, 502 * 2),
        ("short", 1000, 101 * 4, 52 * 4),
        ("quick", 1000, 400, 200),
        ("quick", 60_000, 400, 200),
    ],
)
def test_schedule_has_the_official_number_of_steps(
    name: str, images: int, steps: int, drop_after: int
) -> None:
    protocols = {str(key): value for key, value in PROTOCOLS.items()}
    assert Schedule.of(protocols[name], images) == Schedule(steps, drop_after)


def test_labels_follow_from_the_place_in_the_file() -> None:
    train = TrainingSet.of(torch.zeros(300, 3, 32, 32), CIFAR100, CPU)
    assert train.labels.tolist() == [label for label in range(100) for _ in range(3)]


def test_given_labels_go_before_the_place() -> None:
    labels = torch.tensor([5, 5, 7])
    train = TrainingSet.of(torch.zeros(3, 3, 32, 32), CIFAR100, CPU, labels)
    assert train.labels.tolist() == [5, 5, 7]


def test_an_epoch_shows_each_image_once_and_keeps_its_small_last_batch() -> None:
    batches = shuffled_batches(600, torch.Generator().manual_seed(0))
    first, second = ([next(batches) for _ in range(3)] for _ in range(2))
    assert [len(batch) for batch in first] == [256, 256, 88]
    assert sorted(torch.cat(first).tolist()) == list(range(600))
    assert sorted(torch.cat(second).tolist()) == list(range(600))
    assert not torch.equal(torch.cat(first), torch.cat(second))


def test_the_learning_rate_drops_to_a_tenth_with_the_momentum_lost(
    toy: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, bool]] = []

    def note(self: ChunkedRound, optimizer: torch.optim.SGD, *rest: object) -> Tensor:
        seen.append((optimizer.param_groups[0]["lr"], bool(optimizer.state)))
        return step(self, optimizer, *rest)  # type: ignore[arg-type]

    step = ChunkedRound.step
    monkeypatch.setattr(ChunkedRound, "step", note)
    assert len(list(ChunkedRound(ConvNet(2, 8), toy_rng()).train(toy, Schedule(5, 3)))) == 5
    rates, momenta = zip(*seen, strict=True)
    assert rates == pytest.approx((0.01, 0.01, 0.01, 0.001, 0.001))
    assert momenta == (False, True, True, False, True)  # whether there is some


def test_the_optimizer_has_the_official_settings() -> None:
    (group,) = new_optimizer(ConvNet(2, 8).parameters(), dropped=False).param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.01, 0.9, 5e-4)
    assert not group["nesterov"]
    assert len(group["params"]) == 14  # norms and biases decay too


@pytest.mark.parametrize("threads", [1, 3])
def test_a_step_in_chunks_is_the_step_of_the_plain_loop(threads: int) -> None:
    torch.manual_seed(2)  # with some seeds an activation is within rounding of zero: its ReLU flips
    layers: list[nn.Module] = []
    for channels in (3, 128, 128):
        layers += [nn.Conv2d(channels, 128, 3, padding=1), nn.GroupNorm(128, 128)]
        layers += [nn.ReLU(), nn.AvgPool2d(2)]
    plain = nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 100))
    ours = ConvNet(num_classes=100, image_size=32)
    ours.load_state_dict(dict(zip(ours.state_dict(), plain.state_dict().values(), strict=True)))
    images, labels = torch.randn(37, 3, 32, 32), torch.randint(100, (37,))
    assert 37 % chunk_size(images)  # the last chunk is a small one

    loss = F.cross_entropy(plain(images), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD(plain.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4).step()
    chunked = ChunkedRound(ours, toy_rng(), threads=threads)
    with chunked.pool() as pool:
        optimizer = new_optimizer(ours.parameters(), dropped=False)
        our_loss = chunked.step(optimizer, images, labels, pool)

    assert float(our_loss) == pytest.approx(float(loss.detach()), abs=1e-5)
    for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


def test_the_number_of_threads_changes_nothing(toy: TrainingSet) -> None:
    weights = []
    for threads in (1, 2):
        torch.manual_seed(0)
        chunked = ChunkedRound(ConvNet(2, 8), toy_rng(), threads=threads)
        for _ in chunked.train(toy, Schedule(3, 2)):
            pass
        weights.append(chunked.network.state_dict()["features.0.weight"])
    assert torch.equal(*weights)


def test_bfloat16_rounds_the_arithmetic_and_keeps_the_weights_in_float32(
    toy: TrainingSet,
) -> None:
    losses = {}
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        chunked = ChunkedRound(ConvNet(2, 8), toy_rng(), dtype)
        losses[dtype] = torch.cat(list(chunked.train(toy, Schedule(3, 2))))
        assert {each.dtype for each in chunked.network.parameters()} == {torch.float32}
    difference = (losses[torch.float32] - losses[torch.bfloat16]).abs()
    assert 0 < float(difference.max()) < 0.02


def test_predictions_are_the_largest_logits_and_do_not_depend_on_the_chunk() -> None:
    torch.manual_seed(0)
    network = ConvNet(num_classes=100, image_size=32)
    images = torch.randn(19, 3, 32, 32)
    with torch.no_grad():
        expected = network(images).argmax(dim=1)
    (predicted,) = ChunkedRound(network, toy_rng()).predict(images)
    assert torch.equal(predicted, expected)
    assert chunk_size(images) < 19


def test_the_numbers_of_a_round_depend_on_seed_and_round_alone() -> None:
    def draws(seed: int, round_index: int) -> tuple[int, float, list[int]]:
        torch.manual_seed(seed + round_index + 1)  # torch's own rng must not count
        random.seed(round_index)
        rng = RoundRng.of(seed, TOY, round_index, CPU)
        order = next(shuffled_batches(20, rng.tensors)).tolist()
        return rng.network_seed, rng.strategies.random(), order

    assert draws(0, 0) == draws(0, 0)
    for other in (draws(0, 1), draws(1, 0)):
        assert all(a != b for a, b in zip(draws(0, 0), other, strict=True))


def test_batches_are_augmented_images_with_their_labels(
    toy: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "augment_batch", lambda images, rng, strategies: images + 100)
    places = replace(toy, labels=torch.arange(20))
    images, labels = next(toy_rng().batches(places))
    assert torch.equal(images, toy.images[labels] + 100)
    assert sorted(labels.tolist()) == list(range(20))
