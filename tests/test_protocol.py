import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from challenge.evaluation import protocol
from challenge.evaluation.convnet import ConvNet
from challenge.evaluation.protocol import (
    Progress,
    Schedule,
    TrainingSet,
    accuracies,
    chunk_size,
    evaluate_set,
    forecast,
    mean_and_std,
    new_network,
    new_optimizer,
    predict,
    shuffled_batches,
    train_step,
    train_steps,
)
from challenge.spec import CIFAR100, PROTOCOLS, DatasetSpec, Protocol

# Two classes of 8x8 images, stripes upright and lying: learned in a few steps.
TOY = DatasetSpec("cifar100", "stripes", 2, 8, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def stripes(per_class: int, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    images = 0.5 * torch.randn(2 * per_class, 3, 8, 8, generator=rng)
    images[:per_class, :, :, ::4] += 4
    images[per_class:, :, ::4] += 4
    return images


@pytest.fixture
def toy() -> TrainingSet:
    return TrainingSet.of(stripes(10, seed=1), TOY, torch.device("cpu"))


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
    train = TrainingSet.of(torch.zeros(300, 3, 32, 32), CIFAR100, torch.device("cpu"))
    assert train.labels.tolist() == [label for label in range(100) for _ in range(3)]


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

    def note(network: ConvNet, optimizer: torch.optim.SGD, *batch: Tensor) -> float:
        seen.append((optimizer.param_groups[0]["lr"], bool(optimizer.state)))
        return train_step(network, optimizer, *batch)

    monkeypatch.setattr(protocol, "train_step", note)
    rng = torch.Generator().manual_seed(0)
    network = new_network(TOY, rng, torch.device("cpu"))
    assert list(train_steps(network, toy, Schedule(5, 3), rng)) == [1, 2, 3, 4, 5]
    rates, momenta = zip(*seen, strict=True)
    assert rates == pytest.approx((0.01, 0.01, 0.01, 0.001, 0.001))
    assert momenta == (False, True, True, False, True)  # whether there is some


def test_the_optimizer_has_the_official_settings() -> None:
    (group,) = new_optimizer(ConvNet(2, 8), 0.01).param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.01, 0.9, 5e-4)
    assert not group["nesterov"]
    assert len(group["params"]) == 14  # norms and biases decay too


def test_a_step_in_chunks_is_the_step_of_the_plain_loop() -> None:
    torch.manual_seed(0)
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
    our_loss = train_step(ours, new_optimizer(ours, 0.01), images, labels)

    assert our_loss == pytest.approx(float(loss.detach()), abs=1e-5)
    for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


def test_predictions_are_the_largest_logits_and_do_not_depend_on_the_chunk() -> None:
    torch.manual_seed(0)
    network = ConvNet(num_classes=100, image_size=32)
    images = torch.randn(19, 3, 32, 32)
    with torch.no_grad():
        expected = network(images).argmax(dim=1)
    assert torch.equal(predict(network, images), expected)
    assert chunk_size(images) < 19


def test_it_learns_what_can_be_learned(toy: TrainingSet) -> None:
    test_images = stripes(20, seed=2)
    labels = torch.arange(2).repeat_interleave(20)
    steps = Protocol("quick", rounds=1, updates=40)
    result = evaluate_set(
        toy, test_images, TOY, steps, rounds=1, seed=0, tell=lambda progress: None
    )
    assert accuracies(result.predictions, labels) == [1.0]
    assert accuracies(result.predictions, 1 - labels) == [0.0]
    assert result.seconds > 0


def test_a_round_depends_on_seed_and_round_alone(toy: TrainingSet) -> None:
    test_images = torch.randn(200, 3, 8, 8, generator=torch.Generator().manual_seed(3))

    def predictions(seed: int, rounds: int) -> list[list[int]]:
        torch.manual_seed(rounds)  # torch's own rng must not count
        steps = Protocol("quick", rounds=2, updates=2)
        result = evaluate_set(
            toy, test_images, TOY, steps, rounds=rounds, seed=seed, tell=lambda progress: None
        )
        return [predicted.tolist() for predicted in result.predictions]

    first, second = predictions(seed=0, rounds=2)
    assert predictions(seed=0, rounds=1) == [first]
    assert first != second
    assert predictions(seed=1, rounds=1) != [first]


def test_tells_every_step_of_every_round(toy: TrainingSet) -> None:
    told: list[Progress] = []
    steps = Protocol("quick", rounds=2, updates=3)
    evaluate_set(toy, stripes(2, seed=2), TOY, steps, rounds=2, seed=0, tell=told.append)
    expected = [Progress(place, 2, step, 3) for place in (0, 1) for step in (1, 2, 3)]
    assert told == expected


def test_forecast_is_rounds_times_training_and_testing(
    toy: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0

    def step(*arguments: object) -> float:
        nonlocal now_s
        now_s += 5.0 if now_s == 0 else 0.25  # the first one is a warm-up
        return 0.0

    def test(network: ConvNet, images: Tensor) -> Tensor:
        nonlocal now_s
        now_s += 0.01 * len(images)
        return torch.zeros(len(images), dtype=torch.int64)

    monkeypatch.setattr(protocol, "train_step", step)
    monkeypatch.setattr(protocol, "predict", test)
    monkeypatch.setattr("time.perf_counter", lambda: now_s)
    expected = forecast(toy, torch.zeros(1000, 3, 8, 8), TOY, PROTOCOLS["quick"], rounds=2)
    assert expected.step_s == pytest.approx(0.25)
    assert expected.test_s == pytest.approx(10.0)
    assert expected.seconds == pytest.approx(2 * (400 * 0.25 + 10.0))


def test_mean_and_std_have_one_degree_of_freedom_less() -> None:
    mean, std = mean_and_std([0.1, 0.2, 0.4])
    assert mean == pytest.approx(0.7 / 3)
    assert std == pytest.approx(0.1527525)  # sqrt((0.1333^2 + 0.0333^2 + 0.1667^2) / 2)
    assert mean_and_std([0.25]) == (0.25, None)
