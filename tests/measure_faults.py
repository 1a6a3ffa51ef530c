"""Measure sets of known faults made from real images, and write a record.

python -m measure_faults DATA RECORD.json [--features pixels]     (in tests/)
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from fault_sets import FAULTS, Fault, as_set, duplicates, wrong_labels

from challenge.calibration import cache_dir
from challenge.commands.inspect_screen import ROWS
from challenge.environment import describe_machine
from challenge.measures.features import feature_space
from challenge.measures.measure import measure_set
from challenge.measures.real_parts import RealParts
from challenge.records import SCHEMA_VERSION, write_json
from challenge.settings import FeatureName
from challenge.spec import DATASETS, DatasetName
from challenge.train_images import TrainImages

DOSES = (
    Fault("wrong labels in 30 %", wrong_labels(0.3), FAULTS[1].seen_by),
    Fault("50 % duplicates", duplicates(0.5), FAULTS[4].seen_by),
)
CPU = torch.device("cpu")


def measure_faults(
    data: Path, dataset: DatasetName, features: FeatureName, wanted: list[str]
) -> dict[str, Any]:
    spec = DATASETS[dataset]
    parts = RealParts(spec, TrainImages.below(spec, data))
    space = feature_space(features, parts, cache_dir(None), CPU, lambda step, steps: None)
    per_class = parts.smallest_quarter
    real = torch.stack([parts.baseline(index, per_class) for index in range(spec.num_classes)])
    faults = [fault for fault in (*FAULTS, *DOSES) if not wanted or fault.name in wanted]
    rows = {}
    for fault in faults:
        made = as_set(fault.name, fault.make(real), spec)
        found = measure_set(made, parts, space, CPU, lambda done, of: None)
        rows[fault.name] = {place: rounded(found[place]["made"]) for place in PLACES}
        rows["none"] = {place: rounded(found[place]["real"]) for place in PLACES}
        print(fault.name, [each for each in claims(fault, rows) if not each["seen"]])  # noqa: T201
    return {
        "schema_version": SCHEMA_VERSION,
        "what": "inspect's measures of sets of known faults made from real training images",
        "dataset": dataset,
        "images": per_class * spec.num_classes,
        "features": space.title,
        "claims": {fault.name: claims(fault, rows) for fault in faults},
        "measures": rows,
        "machine": describe_machine(CPU),
    }


def claims(fault: Fault, rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Each measure that claims to see the fault, and whether it does."""
    found = []
    for place, measure, direction in fault.seen_by:
        made, none = rows[fault.name][place][measure], rows["none"][place][measure]
        if made is None:  # this space knows no classes
            continue
        seen = made < none if direction == "falls" else made > none
        found.append({"of": place, "measure": measure, "expected": direction, "seen": seen})
    return found


PLACES = ("overall", "classes_mean")


def rounded(measures: dict[str, float | None]) -> dict[str, float | None]:
    names = [name for name, _, _ in ROWS]
    return {name: value and round(value, 5) for name, value in measures.items() if name in names}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("record", type=Path)
    parser.add_argument("--dataset", default="cifar100", choices=list(DATASETS))
    parser.add_argument("--features", default="convnet", choices=["convnet", "pixels"])
    parser.add_argument("--faults", nargs="*", default=[], metavar="NAME", help="only these")
    given = parser.parse_args()
    found = measure_faults(given.data, given.dataset, given.features, given.faults)
    write_json(given.record, found)
