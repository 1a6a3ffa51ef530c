"""Settings of what makes a set: ``generate``, ``prepare`` and ``prompts``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from challenge.errors import UsageError
from challenge.settings.choices import (
    LONGEST_LIMIT_S,
    AugmentPreset,
    AutoOffOn,
    ClassOrder,
    ClockName,
    DatasetChoice,
    DecoderChoice,
    DtypeName,
    FramingChoice,
    LimitCovers,
    ModelOptions,
    PredictionType,
    QuantizeName,
    RunPresetName,
    ShrinkChoice,
    StepCount,
    require_count,
    require_count_or_auto,
    require_model_options,
    require_seed,
    selected_specs,
    taken_prompt_preset,
)
from challenge.spec import (
    DATASETS,
    LIMIT_S,
    DatasetName,
    DatasetSpec,
    LabelOrder,
)


@dataclass(frozen=True, kw_only=True)
class GenerateSettings:
    """Make a submission within the time limit (timed; never downloads)."""

    dataset: DatasetChoice = "all"
    """Data set to make a training set for."""
    model: str = "sdxl-turbo"
    """sdxl-turbo, sd-turbo, sdxl-lightning, hyper-sdxl, dmd2 or a hub id (local hub cache), tiny
    (embedded, needs nothing), DIRECTORY, FILE.safetensors, or images:DIR (deals out real training
    images: the random-real baseline; DIR as evaluate --data).
    """
    revision: str | None = None
    """Commit, tag or branch of the model's hub repository. Default: the one that prepare recorded,
    else a known one, else main.
    """
    unet: str | None = None
    """Another UNet on the model as its base: FILE.safetensors, FILE.bin, ORG/NAME/FILE or
    ORG/NAME/FILE@REVISION in the local hub cache, with diffusers' names of tensors.
    """
    timestep: int | None = None
    """Take the only step at this timestep, as diffusers' LCMScheduler does (Hyper-SD: 800, DMD2:
    399). Default: the model's own, and with --unet the noisiest.
    """
    prediction_type: PredictionType | None = None
    """What the UNet predicts. Default: what the model's noise scheduler says."""
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
    num_inference_steps: StepCount = 1
    """Steps of the model for each image; 2 or 4 give better and fewer images."""
    decoder: DecoderChoice = "auto"
    """What turns latents into pixels: vae (the model's own), taesdxl (local hub cache), linear or
    thumbnail (fitted to the VAE at the start); auto: a fitted one if that pays and it is good.
    """
    compile: AutoOffOn = "auto"
    """The UNet's repeated blocks compiled, once the batch size is found and a first file stands;
    auto: if that pays by what prepare --compile, or an earlier run, measured here.
    """
    batch_size: int | Literal["auto"] = "auto"
    """Images in one call of the model; auto: found while running, or 64 with --ipc N."""
    max_file_gib: float = 16.0
    """Largest size of a submission file in GiB (2**30 bytes), post-augmented variants included."""
    dtype: DtypeName = "auto"
    """Number format of the model; auto: float16 on a GPU, float32 on a CPU."""
    quantize: QuantizeName = "none"
    """Linear layers of the UNet in eight bits, by torchao: fp8 (multiplied in eight bits; a GPU of
    compute capability 8.9, --dtype bfloat16, and slow without --compile on), fp8-weights or
    int8-weights (less memory, not faster). The damage is told and stands in run.json.
    """
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
        if self.quantize != "none" and self.model.startswith("images:"):
            raise UsageError(f"--quantize: {self.model} has no UNet; leave --quantize away")
        if self.compile == "on" and self.model.startswith("images:"):
            raise UsageError(f"--compile on: {self.model} has no UNet; leave --compile away")
        if self.compile == "on" and self.ipc != "auto":
            raise UsageError(
                f"--compile on with --ipc {self.ipc}: the same plan is to give the same file, and "
                "when compiled code takes over depends on the machine; leave one of them away"
            )
        if not self.max_file_gib > 0:
            raise UsageError(
                f"--max-file-gib {self.max_file_gib:g} is not a size; give GiB above 0"
            )
        require_count("--rounds", self.rounds)
        if self.rounds > 1 and self.resume is not None:
            raise UsageError("--rounds with --resume: resume one round's folder, such as round-2")
        require_count_or_auto("--ipc", self.ipc)
        require_model_options(self.model, self.model_options, self.num_inference_steps)
        require_count_or_auto("--batch-size", self.batch_size)
        require_count_or_auto("--prompts-per-class", self.prompts_per_class)
        require_count("--views", self.views)
        require_seed(self.seed)
        if len(self.distinct) > len(DATASETS) or any(count < 1 for count in self.distinct):
            raise UsageError(
                f"--distinct {' '.join(map(str, self.distinct))}: give one whole number from 1, "
                "or two"
            )

    @property
    def model_options(self) -> ModelOptions:
        """What is asked of the model beside its name."""
        return ModelOptions(self.revision, self.unet, self.timestep, self.prediction_type)

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
    """As for generate; what is not in the local hub cache is downloaded."""
    revision: str | None = None
    """Commit, tag or branch to download; its commit is recorded, and generate takes that one.
    Default: the one recorded before, else a known one, else main.
    """
    unet: str | None = None
    """As for generate."""
    timestep: int | None = None
    """As for generate."""
    prediction_type: PredictionType | None = None
    """As for generate."""
    num_inference_steps: StepCount = 1
    """As for generate: a decoder is fitted to what so many steps make."""
    decoder: Literal["auto", "vae", "linear", "thumbnail"] = "auto"
    """The decoder to fit: linear, thumbnail, the first of them that is good (auto), or none
    (vae).
    """
    compile: bool = False
    """Also compile the UNet's blocks for the batch size that is best here, keep the code, and
    measure what that wins; a run decides by it.
    """
    batch_size: int | Literal["auto"] = "auto"
    """With --compile: the batch size; auto: found as a run finds it."""
    dtype: DtypeName = "auto"
    """Number format of the model; auto: float16 on a GPU, float32 on a CPU."""
    quantize: QuantizeName = "none"
    """As for generate; it tells the damage, and matters to --compile alone."""
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
        require_count("--prompts-per-class", self.prompts_per_class)
        require_model_options(self.model, self.model_options, self.num_inference_steps)
        require_count_or_auto("--batch-size", self.batch_size)
        if self.batch_size != "auto" and not self.compile:
            raise UsageError("--batch-size is what --compile compiles for; give both, or neither")

    @property
    def model_options(self) -> ModelOptions:
        """What is asked of the model beside its name."""
        return ModelOptions(self.revision, self.unet, self.timestep, self.prediction_type)

    @property
    def specs(self) -> tuple[DatasetSpec, ...]:
        """The data sets whose prompts are encoded."""
        return selected_specs(self.dataset)


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
        require_count("--prompts-per-class", self.prompts_per_class)
        if self.check and self.name is not None:
            raise UsageError("--check looks at all classes; leave --class away, or --check")
