"""Settings of what looks at a set: check, evaluate, inspect, report; and package."""

from dataclasses import dataclass
from pathlib import Path

from challenge.errors import UsageError
from challenge.settings.choices import (
    DatasetChoice,
    FeatureName,
    PrecisionName,
    require_count,
    require_seed,
)
from challenge.spec import (
    DatasetName,
    LabelOrder,
    NetworkName,
    ProtocolName,
)


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """Say whether a submission is valid, and what is in it."""

    submission: Path
    """A .pt file of ours or of anybody's, or a run folder."""
    dataset: DatasetName | None = None
    """Data set that a .pt file is meant for; default: told from its image size."""
    json: bool = False
    """Print one JSON document as the last line on stdout."""


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Train the challenge's ConvNet on submissions and test it on the real test set (untimed)."""

    submissions: tuple[Path, ...]
    """Run folders (also with round-1 ... round-N in them, a set a round) or .pt files; labels
    beside a file as NAME_labels.pt.
    """
    data: Path = Path("data")
    """Folder with cifar-100-python/ and tiny-imagenet-200/, or the official cifar100_test.pt and
    tinyimagenet_test.pt.
    """
    download: bool = False
    """Fetch the public data sets that --data lacks (checksums are verified)."""
    dataset: DatasetChoice = "all"
    """Which of the files in a run folder to evaluate."""
    protocol: ProtocolName = "official"
    """official (1001 epochs, 3 rounds), short (101 epochs, 3 rounds), quick (400 updates, 1 round;
    not comparable).
    """
    network: NetworkName = "convnet3"
    """convnet3 is the official network, at both image sizes; the others show how a set transfers
    (convnet4, resnet18, resnetap10, all with instance norm).
    """
    rounds: int | None = None
    """Networks to train; default: the protocol's, or one for each round folder."""
    label_order: LabelOrder | None = None
    """Order of the Tiny-ImageNet classes in the files; default: what the sidecar says, else
    sorted.
    """
    subset_classes: int | None = None
    """Train and test on so many classes only, evenly spaced: quick, to rank ideas; not comparable.
    """
    precision: PrecisionName = "float32"
    """Arithmetic on a CPU; bfloat16 is faster where the CPU has AMX."""
    compile: bool = False
    """Compile the training step on a GPU: costs a minute or less once, for long evaluations."""
    compare_plain: bool = False
    """Also time the straightforward loop with the official per-image augmentation, in turns."""
    out: Path | None = None
    """New file for the result; default: evaluation.json in the run folder (or -2, -3)."""
    plots: bool = False
    """Also draw confusion matrix and learning curves as PNG beside the result."""
    scores_txt: Path | None = None
    """Also write the official scores.txt here (one submission with both sets)."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    seed: int = 0
    """Seed of initialisation, shuffling and augmentation."""
    json: bool = False
    """Print one JSON document as the last line on stdout."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be, before anything is loaded."""
        if not self.submissions:
            raise UsageError("no submission given; name a run folder or a .pt file")
        require_seed(self.seed)
        if self.rounds is not None:
            require_count("--rounds", self.rounds)
        if self.subset_classes is not None:
            require_count("--subset-classes", self.subset_classes)
            if self.scores_txt is not None:
                raise UsageError("--scores-txt is of all classes; leave --subset-classes away")
        if self.scores_txt is not None and (len(self.submissions) > 1 or self.dataset != "all"):
            raise UsageError(
                "--scores-txt holds one number, the mean of both sets; give one submission and "
                "--dataset all"
            )


@dataclass(frozen=True, kw_only=True)
class InspectSettings:
    """Measure sets of images: diversity, closeness to real ones, duplicates, colour (untimed)."""

    sets: tuple[Path, ...]
    """Run folders (the distinct images as made) or .pt files (what stands in them)."""
    data: Path = Path("data")
    """Folder with the real training images: cifar-100-python/ and tiny-imagenet-200/."""
    dataset: DatasetChoice = "all"
    """Which of the sets in a run folder to measure."""
    features: FeatureName = "convnet"
    """Where images are compared: convnet (the challenge's network, trained once on half of the
    real training images and kept in the cache: some minutes on a CPU), pixels (after PCA; at
    once), or torchvision's resnet18 or resnet50, if their weights are on disk.
    """
    per_class: int | None = None
    """Images of each class to compare; default: all, as far as there are as many real ones in a
    quarter of the training set.
    """
    cache_dir: Path | None = None
    """Where the network is kept. Default: $CHALLENGE_CACHE_DIR, else $XDG_CACHE_HOME/challenge,
    else ~/.cache/challenge.
    """
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    seed: int = 0
    """Seed of the choice of images, where not all are compared."""
    out: Path | None = None
    """Also write the JSON document to this new file."""
    json: bool = False
    """Print one JSON document as the last line on stdout."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be, before anything is loaded."""
        if not self.sets:
            raise UsageError("no set given; name a run folder or a .pt file")
        require_seed(self.seed)
        if self.per_class is not None:
            require_count("--per-class", self.per_class)


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """Write one HTML page on a run, or on several side by side; it opens offline (untimed)."""

    runs: tuple[Path, ...]
    """Run folders, finished or not; of a folder with round-1 ... round-N in it all rounds."""
    data: Path | None = None
    """Folder as evaluate --data: real training images are put beside the made ones."""
    out: Path | None = None
    """The page. Default: report.html in the first run folder; a page of this command is
    replaced, another file never.
    """
    images_per_class: int = 12
    """Pictures of each class, at most; fewer where the page would grow beyond 20 MB."""
    json: bool = False
    """Print one JSON document as the last line on stdout."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be, before anything is loaded."""
        if not self.runs:
            raise UsageError("no run given; name a run folder")
        require_count("--images-per-class", self.images_per_class)


@dataclass(frozen=True, kw_only=True)
class PackageSettings:
    """Write the zip that is handed in, from a finished run."""

    run_dir: Path
    """Run folder with cifar100.pt and tinyimagenet.pt, or with round-1 ... round-N in it."""
    out: Path | None = None
    """The zip, a new file. Default: RUN_DIR.zip beside the folder."""
    json: bool = False
    """Print one JSON document as the last line on stdout."""
