import json
from pathlib import Path

import pytest
import torch
from conftest import CliRunner
from test_evaluate_command import short_protocol, write_submission, write_test_set

from challenge.class_names import OFFICIAL_CLASSES, class_order
from challenge.evaluation.outcome import ORDERS
from challenge.evaluation.protocol import Job
from challenge.evaluation.subset import evenly_spaced, only_classes
from challenge.spec import CIFAR100, TINYIMAGENET, LabelOrder

__all__ = ["short_protocol"]  # a fixture


def test_classes_are_as_far_apart_as_they_can_be() -> None:
    assert evenly_spaced(100, 4) == (0, 25, 50, 75)
    assert evenly_spaced(10, 3) == (0, 3, 6)
    assert evenly_spaced(3, 3) == (0, 1, 2)


def test_only_images_of_the_chosen_classes_stay_with_their_new_labels() -> None:
    images = torch.arange(6.0)[:, None, None, None].expand(6, 3, 2, 2)
    kept, labels = only_classes(images, torch.tensor([5, 0, 2, 5, 3, 0]), (0, 5))
    assert kept[:, 0, 0, 0].tolist() == [0, 1, 3, 5]
    assert labels.tolist() == [1, 0, 1, 0]


@pytest.mark.usefixtures("short_protocol")
@pytest.mark.parametrize("order", ORDERS)
def test_train_and_test_hold_the_same_classes_in_any_label_order(
    run_cli: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: LabelOrder
) -> None:
    jobs: list[Job] = []

    def note_job(job: Job, _: object) -> None:
        jobs.append(job)
        raise RuntimeError("seen enough")

    monkeypatch.setattr("challenge.evaluation.outcome.evaluate_set", note_job)
    path = write_submission(tmp_path / "run", TINYIMAGENET)
    shown = torch.tensor(class_order("tinyimagenet", order)) - 100.0  # an image shows its class
    torch.save(shown[:, None, None, None].expand(-1, *TINYIMAGENET.image_shape).clone(), path)
    write_test_set(tmp_path, TINYIMAGENET)
    with pytest.raises(RuntimeError, match="seen enough"):
        run_cli(
            "evaluate", path, "--data", tmp_path, "--protocol", "quick",
            "--subset-classes", "4", "--label-order", order,
        )  # fmt: skip
    (job,) = jobs
    classes = [int(image[0, 0, 0]) + 100 for image in job.train.images]
    assert dict(zip(job.train.labels.tolist(), classes, strict=True)) == {
        0: 0,
        1: 50,
        2: 100,
        3: 150,
    }
    assert (job.spec.num_classes, len(job.test_images)) == (4, 4)


@pytest.mark.usefixtures("short_protocol")
def test_a_subset_is_told_not_to_be_comparable_and_its_classes_are_named(
    run_cli: CliRunner, tmp_path: Path
) -> None:
    path = write_submission(tmp_path / "run", CIFAR100)
    write_test_set(tmp_path, CIFAR100)
    code, out, errors = run_cli(
        "evaluate",
        path,
        "--data",
        tmp_path,
        "--protocol",
        "quick",
        "--subset-classes",
        "5",
        "--json",
    )
    document = json.loads(out.splitlines()[-1])
    found = document["submissions"][0]["datasets"]["cifar100"]
    assert (code, document["comparable"], document["subset_classes"]) == (0, False, 5)
    assert found["images"] == 5
    assert found["chance"] == 0.2
    names = [OFFICIAL_CLASSES["cifar100"][place].name for place in (0, 20, 40, 60, 80)]
    assert [each["class"] for each in found["accuracy_by_class"]] == names
    assert "5 classes only" in errors


@pytest.mark.usefixtures("short_protocol")
def test_only_classes_of_the_subset_count_as_images_a_class(
    run_cli: CliRunner, tmp_path: Path
) -> None:
    path = write_submission(tmp_path / "run", CIFAR100, ipc=2)
    labels = torch.arange(200) // 2
    labels[-2:] = 0  # none of the last class
    torch.save(labels, tmp_path / "run" / "cifar100_labels.pt")
    write_test_set(tmp_path, CIFAR100)
    flags = ("--protocol", "quick", "--subset-classes", "2", "--json")
    _, out, errors = run_cli("evaluate", path, "--data", tmp_path, *flags)
    found = json.loads(out.splitlines()[-1])["submissions"][0]["datasets"]["cifar100"]
    assert (found["images"], found["ipc"]) == (6, 2)
    assert "6 images, 2 to 4 a class" in errors


@pytest.mark.usefixtures("short_protocol")
@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--subset-classes", "0"], 2, "--subset-classes 0 is not a count"),
        (["--subset-classes", "101"], 2, "--subset-classes 101: CIFAR-100 has 100 classes"),
        (["--subset-classes", "5", "--scores-txt", "s.txt"], 2, "leave --subset-classes away"),
    ],
)
def test_a_subset_that_cannot_be_is_refused(
    run_cli: CliRunner, tmp_path: Path, flags: list[str], code: int, message: str
) -> None:
    path = write_submission(tmp_path / "run", CIFAR100)
    write_test_set(tmp_path, CIFAR100)
    found, _, errors = run_cli("evaluate", path, "--data", tmp_path, "--protocol", "quick", *flags)
    assert found == code
    assert message in errors
