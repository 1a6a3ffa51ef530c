"""What a user can set, one frozen dataclass a command; the command line is made from them.

Each default stands here and nowhere else. Checks that need no file and no device are made at once;
a value that cannot be is a ``UsageError`` (exit code 2). No torch here, so that ``--help`` answers
at once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from challenge.errors import UsageError
from challenge.spec import (
    DATASETS,
    LIMIT_S,
    DatasetName,
    DatasetSpec,
    LabelOrder,
    NetworkName,
    ProtocolName,
    ShrinkFilter,
)

DatasetChoice = Literal["cifar100", "tinyimagenet", "all"]
AugmentPreset = Literal["none", "flip", "upright", "strong", "banko"]
FramingPreset = Literal["whole", "mirror", "tight", "wide"]
FramingChoice = Literal["auto", FramingPreset]
ShrinkChoice = Literal["auto", ShrinkFilter]
ClassOrder = Literal["official", "superclass"]
RunPresetName = Literal[
    "default", "banko", "banko-no-augment", "banko-ordered", "banko-ordered-no-augment"
]
DecoderChoice = Literal["auto", "vae", "taesdxl", "linear", "thumbnail"]
DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
PrecisionName = Literal["float32", "bfloat16"]
DecoderName = Literal["vae", "taesdxl", "linear", "thumbnail"]
WeightsName = Literal["real", "random"]
PresetName = Literal["full-size"]
OffOn = Literal["off", "on"]
ClockName = Literal["process", "generation"]
LimitCovers = Literal["each", "all"]
FeatureName = Literal["convnet", "pixels", "resnet18", "resnet50"]

PUBLIC_MODELS = ("sdxl-turbo", "sd-turbo")  # those that generators/public_configs.py knows
LONGEST_LIMIT_S = 7 * 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class GenerateSettings:
    """Make a submission within the time limit (timed; never downloads)."""

    dataset: DatasetChoice = "all"
    """Data set to make a training set for."""
    model: str = "sdxl-turbo"
    """sdxl-turbo (local hub cache), tiny (embedded, needs nothing), DIRECTORY, FILE.safetensors, a
    hub id (local cache), or images:DIR (deals out real training images: the random-real baseline;
    DIR as evaluate --data).
    """
    limit_s: float = LIMIT_S
    """Seconds from process start to the last byte of the submission."""
    limit_covers: LimitCovers = "each"
    """With --dataset all: each set has the whole limit (the second's starts when the first is
    done), or all share one.
    """
    clock: ClockName = "process"
    """Count from the start of the process, or only from the end of loading and warm-up (as the
    runner-up's script).
    """
    out: Path | None = None
    """Run folder; must be new or empty. Default: submissions/DATE-TIME-MODEL-DATASET."""
    resume: Path | None = None
    """Continue the run in this folder, with its own settings and the seconds that it has left."""
    rounds: int = 1
    """Sets to make, one for each round of the evaluation: folders round-1, round-2, ... with seeds
    seed, seed + 1, ..., each with its own limit.
    """
    ipc: int | Literal["auto"] = "auto"
    """Images per class in the file; auto: as many as the limit allows."""
    preset: RunPresetName = "default"
    """A whole run to compare with: banko is the third-place entry of 2024, banko-ordered the same
    with the labels of CIFAR-100 put right, each also without augmentation. Flags beside it win.
    """
    distinct: tuple[int, ...] = ()
    """Distinct images of each class after which a set is done, variants apart: one number, or one
    for CIFAR-100 and one for Tiny-ImageNet. Default: as many as the limit allows.
    """
    augment: AugmentPreset = "upright"
    """Post-augmentation: none, flip (a mirrored copy), upright (mild zoom, shift, mirror), strong
    (more of it, rotation, saturation), banko (the third-place entry's). Few distinct images get
    variants, many get none.
    """
    prompt_preset: str = "auto"
    """name-only, plain (a noun that says which sense), diverse (what the class is made of, in many
    surroundings), or another template of the prompt book; auto: diverse, but plain for tiny and for
    real images.
    """
    prompts_per_class: int | Literal["auto"] = "auto"
    """Distinct prompts of each class; auto: 200, or what 2 % of the limit suffice to encode."""
    framing: FramingChoice = "auto"
    """Window of a picture that becomes the thumbnail: whole, mirror (half of them mirrored), tight
    (60 to 100 % of the side), wide (75 to 100 %); auto: tight for CIFAR-100, wide for
    Tiny-ImageNet, whole for a model that draws at the data set's own size.
    """
    views: int = 1
    """Windows taken from each picture; more than one count as variants of it."""
    shrink: ShrinkChoice = "auto"
    """Filter of the shrink; auto: bilinear for CIFAR-100, lanczos for Tiny-ImageNet."""
    jpeg: bool = False
    """JPEG round trip for Tiny-ImageNet's images (quality 75, 4:2:0): all real ones had it."""
    match_colour: bool = False
    """Bring saturation and colour balance of the set to the real images' when it is packed."""
    class_order: ClassOrder = "official"
    """superclass: CIFAR-100's classes in the order of the superclasses, which is wrong; for
    comparison with the entry that did it.
    """
    num_inference_steps: int = 1
    """Steps of the model for each image; 2 or 4 give better and fewer images."""
    decoder: DecoderChoice = "auto"
    """What turns latents into pixels: vae (the model's own), taesdxl (local hub cache), linear or
    thumbnail (fitted to the VAE at the start); auto: a fitted one if that pays and it is good.
    """
    batch_size: int | Literal["auto"] = "auto"
    """Images in one call of the model; auto: found while running, or 64 with --ipc N."""
    max_file_gib: float = 16.0
    """Largest size of a submission file in GiB (2**30 bytes), post-augmented variants included."""
    dtype: DtypeName = "auto"
    """Number format of the model; auto: float16 on a GPU, float32 on a CPU."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    seed: int = 0
    """Run seed: same seed, model and plan, same images."""
    prompts_dir: Path | None = None
    """Folder with cifar100.json and tinyimagenet.json instead of the prompt books that come with
    the program.
    """
    label_order: LabelOrder = "sorted"
    """Order of the Tiny-ImageNet classes in the file: sorted wnids, or the raw order of
    wnids.txt.
    """
    cache_dir: Path | None = None
    """Where costs measured on this machine are kept. Default: $CHALLENGE_CACHE_DIR, else
    $XDG_CACHE_HOME/challenge, else ~/.cache/challenge.
    """
    no_prepared: bool = False
    """Ignore what the prepare command left in --cache-dir."""
    dry_run: bool = False
    """Try everything, make no submission, and answer READY or NOT READY with a plan (untimed)."""
    json: bool = False
    """Print one JSON document as the last line on stdout."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be, before anything is loaded."""
        if not 0 < self.limit_s <= LONGEST_LIMIT_S:
            raise UsageError(
                f"--limit-s {self.limit_s:g} is not a time limit; "
                f"give seconds above 0, at most {LONGEST_LIMIT_S:g} (a week)"
            )
        if self.dry_run and self.resume is not None:
            raise UsageError("--dry-run tries a new run; leave --resume away, or --dry-run")
        if not self.max_file_gib > 0:
            raise UsageError(
                f"--max-file-gib {self.max_file_gib:g} is not a size; give GiB above 0"
            )
        _require_count("--rounds", self.rounds)
        if self.rounds > 1 and self.resume is not None:
            raise UsageError("--rounds with --resume: resume one round's folder, such as round-2")
        _require_count("--ipc", self.ipc)
        _require_count("--num-inference-steps", self.num_inference_steps)
        _require_count("--batch-size", self.batch_size)
        _require_count("--prompts-per-class", self.prompts_per_class)
        _require_count("--views", self.views)
        if len(self.distinct) > len(DATASETS) or any(count < 1 for count in self.distinct):
            raise UsageError(
                f"--distinct {' '.join(map(str, self.distinct))}: give one whole number from 1, "
                "or two"
            )

    @property
    def prompt_preset_taken(self) -> str:
        """The template of the prompt book."""
        return taken_prompt_preset(self.prompt_preset, self.model)

    def distinct_ipc(self, dataset: DatasetName) -> int | None:
        """Distinct images of each class to make; None: as many as the limit allows."""
        if self.ipc != "auto" and not self.distinct:
            return self.ipc
        if not self.distinct:
            return None
        return self.distinct[min(list(DATASETS).index(dataset), len(self.distinct) - 1)]

    @property
    def specs(self) -> tuple[DatasetSpec, ...]:
        """The data sets of this run, in the order in which they are made."""
        return selected_specs(self.dataset)


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """Keep what a run needs and can be made before it: weights, prompt embeddings, decoder."""

    dataset: DatasetChoice = "all"
    """Data set whose prompts to encode."""
    model: str = "sdxl-turbo"
    """As for generate; a hub id that is not in the local cache is downloaded."""
    num_inference_steps: int = 1
    """As for generate: a decoder is fitted to what so many steps make."""
    decoder: Literal["auto", "vae", "linear", "thumbnail"] = "auto"
    """The decoder to fit: linear, thumbnail, the first of them that is good (auto), or none
    (vae).
    """
    dtype: DtypeName = "auto"
    """Number format of the model; auto: float16 on a GPU, float32 on a CPU."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; the one that the run will have."""
    prompts_dir: Path | None = None
    """Folder with cifar100.json and tinyimagenet.json, as for generate."""
    prompt_preset: str = "auto"
    """As for generate."""
    prompts_per_class: int = 32
    """Prompts of each class to encode; a run may encode more. 0.3 MB each with SDXL-Turbo."""
    cache_dir: Path | None = None
    """Where it is kept; as for generate."""
    json: bool = False
    """Print one JSON document as the last line on stdout."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be, before anything is loaded."""
        _require_count("--prompts-per-class", self.prompts_per_class)

    @property
    def specs(self) -> tuple[DatasetSpec, ...]:
        """The data sets whose prompts are encoded."""
        return selected_specs(self.dataset)


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
        if self.rounds is not None:
            _require_count("--rounds", self.rounds)
        if self.subset_classes is not None:
            _require_count("--subset-classes", self.subset_classes)
            if self.scores_txt is not None:
                raise UsageError("--scores-txt is of all classes; leave --subset-classes away")
        if self.scores_txt is not None and (len(self.submissions) > 1 or self.dataset != "all"):
            raise UsageError(
                "--scores-txt holds one number, the mean of both sets; give one submission and "
                "--dataset all"
            )


@dataclass(frozen=True, kw_only=True)
class PackageSettings:
    """Write the zip that is handed in, from a finished run."""

    run_dir: Path
    """Run folder with cifar100.pt and tinyimagenet.pt, or with round-1 ... round-N in it."""
    out: Path | None = None
    """The zip, a new file. Default: RUN_DIR.zip beside the folder."""
    json: bool = False
    """Print one JSON document as the last line on stdout."""


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
        if self.per_class is not None:
            _require_count("--per-class", self.per_class)


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
        _require_count("--images-per-class", self.images_per_class)


@dataclass(frozen=True, kw_only=True)
class PromptsSettings:
    """Show what each class is asked for, or check an edited prompt book."""

    name: str | None = None
    """Show this class alone, with its pool and the share of each text: name, label or wnid."""
    check: bool = False
    """Check the books: facts, rules, pools, prompts shared by classes, tokens."""
    dataset: DatasetChoice = "all"
    """Whose prompts."""
    prompts_dir: Path | None = None
    """As for generate."""
    prompt_preset: str = "diverse"
    """name-only, plain, diverse, or another template of the book."""
    prompts_per_class: int = 200
    """Size of the pools, at most."""
    model: str = "sdxl-turbo"
    """Whose tokenizer counts the tokens of --check, if it is on this machine (also tiny)."""
    json: bool = False
    """Print one JSON document as the last line on stdout."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be, before anything is loaded."""
        _require_count("--prompts-per-class", self.prompts_per_class)
        if self.check and self.name is not None:
            raise UsageError("--check looks at all classes; leave --class away, or --check")


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """Measure images per second, beside this device's ceiling and the plain diffusers pipeline.

    What is given several times is measured in all combinations.
    """

    model: str = "sdxl-turbo"
    """As for generate."""
    weights: WeightsName = "real"
    """real, or random: the full-size sdxl-turbo or sd-turbo built from its public config, so that a
    machine can be measured without a download.
    """
    dataset: DatasetName = "cifar100"
    """Whose image size and prompts to use."""
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    """Batch sizes to measure; sizes after one that is out of memory are not tried."""
    resolutions: tuple[int, ...] = ()
    """Sides in pixels of the full image to draw, such as 512 384 256. Default: the model's own."""
    decoders: tuple[DecoderName, ...] = ("vae",)
    """vae (the model's own), taesdxl, linear, thumbnail; all but vae with random weights."""
    compile: tuple[OffOn, ...] = ("off",)
    """off, on or both: the UNet's repeated blocks compiled; the seconds are in the first call."""
    dtypes: tuple[DtypeName, ...] = ("auto",)
    """Number formats of the model; auto: float16 on a GPU, float32 on a CPU."""
    seconds_per_row: float = 3.0
    """Seconds to measure each row for, warm-up apart; at least three batches."""
    profile: bool = False
    """Also watch ten batches of a real run: how much of the time is not UNet and decoder."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    preset: PresetName | None = None
    """full-size: measure all there is within --budget-s, with random weights unless --model is
    tiny, and write it to the folder --out.
    """
    budget_s: float = 600.0
    """Seconds from the start of the process that the preset may take."""
    out: Path | None = None
    """New folder for the preset's results. Default: submissions/DATE-TIME-benchmark."""
    all_gpus: bool = False
    """Measure every GPU of the machine side by side, one process and one row for each."""
    seed: int = 0
    """Seed of the noise."""
    record: Path | None = None
    """Also write the JSON document to this new file."""
    json: bool = False
    """Print one JSON document as the last line on stdout."""

    def __post_init__(self) -> None:
        """Refuse values that cannot be, before anything is loaded."""
        if self.weights == "random" and self.model not in PUBLIC_MODELS:
            raise UsageError(
                f"--weights random is for {' and '.join(PUBLIC_MODELS)}, not for {self.model}; "
                "leave it away, or name one of them"
            )
        for flag, values in (
            ("--batch-sizes", self.batch_sizes),
            ("--decoders", self.decoders),
            ("--dtypes", self.dtypes),
            ("--compile", self.compile),
        ):
            if not values:
                raise UsageError(f"{flag} is empty; give at least one value")
        if not self.budget_s > 0:
            raise UsageError(f"--budget-s {self.budget_s:g} is not a time; give seconds above 0")
        if self.preset and (self.all_gpus or self.record):
            raise UsageError("--preset writes its own files, of one GPU; see --out and --device")
        if self.all_gpus and self.device != "auto":
            raise UsageError(f"--all-gpus with --device {self.device}; leave one of them away")
        for size in self.batch_sizes:
            _require_count("--batch-sizes", size)
        for side in self.resolutions:
            _require_count("--resolutions", side)
        if not self.seconds_per_row > 0:
            raise UsageError(
                f"--seconds-per-row {self.seconds_per_row:g} is not a time; give seconds above 0"
            )

    @property
    def random_weights(self) -> bool:
        """Whether the model is a public one with random weights: a preset's that has a name."""
        return self.weights == "random" or (self.preset is not None and self.model in PUBLIC_MODELS)


def taken_prompt_preset(preset: str, model: str) -> str:
    """What ``auto`` means: the embedded model knows nouns only, real images need no words."""
    if preset != "auto":
        return preset
    return "plain" if model == "tiny" or model.startswith("images:") else "diverse"


def selected_specs(choice: DatasetChoice) -> tuple[DatasetSpec, ...]:
    """The data sets that ``--dataset`` names."""
    return tuple(DATASETS.values()) if choice == "all" else (DATASETS[choice],)


def _require_count(flag: str, value: int | str) -> None:
    """Refuse a count below one; ``auto`` passes."""
    if isinstance(value, int) and value < 1:
        raise UsageError(f"{flag} {value} is not a count; give a whole number from 1, or auto")
