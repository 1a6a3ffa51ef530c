"""What ``generate`` and its dry run do alike before the first image."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from challenge.budget import PhaseTimer
from challenge.calibration import CalibrationFile, cache_dir, calibration_key, prepared_dir
from challenge.class_names import superclass_order
from challenge.clock import RunClock
from challenge.environment import device_title, package_versions, resolve_device, resolve_dtype
from challenge.events import Emit, Notice
from challenge.guard.handle import Guard
from challenge.prompts import (
    PROMPTS_PER_CLASS,
    PromptBook,
    find_prompts_dir,
    load_prompt_book,
    planned_size,
)
from challenge.read_ahead import read_ahead
from challenge.settings import GenerateSettings
from challenge.spec import CIFAR100, DatasetSpec
from challenge.stop import StopRequest

if TYPE_CHECKING:
    from challenge.generators.base import ImageGenerator
    from challenge.generators.hub import Commits
    from challenge.generators.weights import Weights
    from challenge.run_parts import RunParts

Books = Mapping[DatasetSpec, PromptBook]


@dataclass(frozen=True)
class Session:
    """What there is of a run before torch is imported; ``spent_s`` is of earlier processes."""

    settings: GenerateSettings
    run_dir: Path
    clock: RunClock
    timer: PhaseTimer
    emit: Emit
    stop: StopRequest
    guard: Guard
    spent_s: float = 0.0


def load_books(settings: GenerateSettings) -> dict[DatasetSpec, PromptBook]:
    """The prompt books of the run's data sets, in order; ``PromptError`` when one is not right."""
    folder = find_prompts_dir(settings.prompts_dir)
    preset, per_class = settings.prompt_preset_taken, settings.prompts_per_class
    books = {
        spec: load_prompt_book(
            spec,
            folder,
            settings.label_order,
            preset,
            PROMPTS_PER_CLASS if per_class == "auto" else per_class,
        )
        for spec in settings.specs
    }
    if settings.class_order == "superclass" and CIFAR100 in books:
        books[CIFAR100] = books[CIFAR100].in_order(superclass_order())
    return books


def require_model(settings: GenerateSettings) -> None:
    """Begin to read the model's files, before torch is imported.

    Raises ``WeightsError`` at once for a model that is not there.
    """
    from challenge.kept_files import files_of_a_run

    weights = weights_of(settings)
    if weights is not None:
        read_ahead(files_of_a_run(settings, weights, _prepared_dir(settings)))


def weights_of(settings: GenerateSettings) -> "Weights | None":
    """The files of the run's model; None for the embedded one and for real images.

    Raises ``WeightsError`` when they are not there.
    """
    from challenge.generators.weights import IMAGES_PREFIX, find_weights

    if settings.model == "tiny" or settings.model.startswith(IMAGES_PREFIX):
        return None
    return find_weights(settings.model, settings.model_options, recorded_for(settings))


def recorded_for(settings: GenerateSettings) -> "Commits":
    """The commits of hub repositories that ``prepare`` recorded, unless they are to be ignored."""
    from challenge.generators.hub import recorded_commits

    return recorded_commits(_prepared_dir(settings))


def _prepared_dir(settings: GenerateSettings) -> Path | None:
    """Where ``prepare`` kept things; None if they are to be ignored."""
    return None if settings.no_prepared else prepared_dir(settings.cache_dir)


def default_run_dir(settings: GenerateSettings) -> Path:
    """A new folder under submissions/, named for the moment, the model and the data set."""
    moment = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    return Path("submissions") / f"{moment}-{Path(settings.model).stem}-{settings.dataset}"


def open_run(session: Session) -> tuple["RunParts", str, Callable[[], "ImageGenerator"]]:
    """Import torch and find the device: parts of a run, name of its dtype, how to load its model.

    Raises ``DeviceError`` for a device that is not there, ``JournalError`` when what an earlier
    process left cannot be read.
    """
    session.timer.begin("import")
    from challenge.generators.loading import open_generator
    from challenge.generators.quantized import check_quantize
    from challenge.run_parts import RunParts
    from challenge.run_state import RunState

    settings = session.settings
    device = resolve_device(settings.device)
    dtype = resolve_dtype(settings.dtype, device)
    check_quantize(settings.quantize, device, dtype)
    dtype_name = str(dtype).removeprefix("torch.")
    session.emit(Notice(f"device {device} ({device_title(device)}), {dtype_name}"))

    def load() -> "ImageGenerator":
        return open_generator(
            settings.model,
            device=device,
            dtype=dtype,
            books=tuple(load_books(settings).values()),
            run_seed=settings.seed,
            num_inference_steps=settings.num_inference_steps,
            options=settings.model_options,
            recorded=recorded_for(settings),
        )

    parts = RunParts(
        device=device,
        run_dir=session.run_dir,
        run_seed=settings.seed,
        clock=session.clock,
        timer=session.timer,
        emit=session.emit,
        stop=session.stop,
        guard=session.guard,
        state=RunState.load(session.run_dir, session.spent_s),
        prepared_dir=_prepared_dir(settings),
    )
    return parts, dtype_name, load


def open_calibration(settings: GenerateSettings, parts: "RunParts", dtype: str) -> CalibrationFile:
    """What this machine remembers of runs like this one."""
    prompts = f"{settings.prompt_preset_taken} {planned_size(settings)}"
    key = calibration_key(settings, device_title(parts.device), dtype, prompts, parts.run_dir)
    return CalibrationFile(cache_dir(settings.cache_dir), key, package_versions())
