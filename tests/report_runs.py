"""A run folder as ``generate`` leaves it, made by hand: CIFAR-100, three images of each class."""

import json
from pathlib import Path
from typing import Any

import torch

from challenge.journal import JournalBatch, JournalWriter
from challenge.spec import CIFAR100


def write_run(folder: Path, **settings: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_images(folder)
    events: list[dict[str, Any]] = [
        {"event": "DatasetStarted", "t_s": 4.0, "start_s": 0.0, "deadline_s": 20.0},
        *(
            {"event": "BatchFinished", "t_s": 4.0 + number, "seconds": 1.0, "size": 50,
             "rejected": 0, "made": 50 * number, "memory_gib": 1.0 + number / 10}
            for number in range(1, 7)
        ),
        {"event": "FileWritten", "t_s": 7.5, "seconds": 0.5, "final": False},
        {"event": "FileWritten", "t_s": 12.0, "seconds": 1.5, "final": True},
        {"event": "DatasetFinished", "t_s": 12.0, "elapsed_s": 12.0},
    ]  # fmt: skip
    lines = [json.dumps({"dataset": "cifar100", **event}) for event in events]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "cifar100.pt").write_bytes(b"file")  # nobody looks into it: there is the journal
    (folder / "run.json").write_text(json.dumps(record(folder, settings)))
    return folder


def write_images(folder: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (300, 3, 32, 32), generator=rng).to(torch.uint8)
    images[299] = images[0]  # a near-duplicate in another class
    places = [(index // 3, index % 3, 0) for index in range(300)]
    with JournalWriter(folder / "cifar100.journal", {}, CIFAR100.image_shape) as writer:
        writer.append(JournalBatch(places, images))


def record(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "verdict": "VALID",
        "run_dir": str(folder),
        "limit_s": 20.0,
        "elapsed_s": 12.0,
        "phases_s": {"start_up": 1.0, "import": 2.0, "load": 1.0},
        "problems": [],
        "warnings": ["<b>watch</b> this"],
        "datasets": {
            "cifar100": {
                "generated": 300,
                "ipc": 3,
                "images_per_s": 42.5,
                "phases_s": {},
                "bytes": 4,
            }
        },
        "settings": {"model": "tiny", "limit_covers": "each", **settings},
        "generator": {"model": "tiny", "dtype": "float32", "device": "cpu"},
        "prompts": {"cifar100": {"path": "cifar100.json", "sha256": "another"}},
        "machine": {"cpu": "a processor", "packages": {"torch": "2.15"}},
        "plan": {
            "shared_s": {"load": 1.5},
            "datasets": [{"dataset": "cifar100", "phases_s": {"generate": 7.0, "write": 2.0}}],
        },
        "plan_vs_actual": {
            "phases_s": {"load": {"planned_s": 1.5, "actual_s": 1.0}},
            "datasets": {"cifar100": {"phases_s": {"state": {"planned_s": None, "actual_s": 2.0}}}},
        },
    }


def write_evaluation(folder: Path, **more: Any) -> None:
    """One in which class 1 is always taken for class 2, the others are told right half the time."""
    confusion = torch.eye(100, dtype=torch.int64) * 5 + torch.eye(100).roll(5, 1).long() * 5
    confusion[1] = 0
    confusion[1, 2] = 10
    found = {
        "accuracy_mean": 0.5, "accuracy_std": 0.01, "accuracies": [0.49, 0.51],
        "label_order": "sorted", "test_set": "somewhere", "warnings": [],
        "accuracy_by_class": [
            {"label": label, "class": str(label), "accuracy": 0.0 if label == 1 else 0.5}
            for label in range(100)
        ],
        "confusion": [" ".join(map(str, row)) for row in confusion.tolist()],
        **more,
    }  # fmt: skip
    document = {
        "protocol": "quick",
        "network": "convnet3",
        "comparable": False,
        "submissions": [{"path": folder.name, "datasets": {"cifar100": found}}],
    }
    (folder / "evaluation.json").write_text(json.dumps(document))
