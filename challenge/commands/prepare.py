"""The ``prepare`` command: what a run would otherwise make or fetch inside its limit (untimed).

python run_challenge.py prepare --model tiny
python run_challenge.py prepare --model sdxl-turbo --device cuda --json
python run_challenge.py prepare --model dmd2 --revision be22767697a1f3ca656b73c776e15fa335c86c6c
"""

import time
from dataclasses import asdict
from pathlib import Path

from challenge.calibration import prepared_dir
from challenge.console import make_table, results, show_note, write_document
from challenge.environment import device_title, resolve_device, resolve_dtype
from challenge.errors import OutputError, UsageError
from challenge.generators.hub import (
    NOTHING_RECORDED,
    Commits,
    record_commits,
    recorded_commits,
)
from challenge.generators.weights import IMAGES_PREFIX, fetch_weights
from challenge.prompts import find_prompts_dir, load_prompt_book
from challenge.records import SCHEMA_VERSION
from challenge.settings import PrepareSettings, taken_prompt_preset


def prepare_command(settings: PrepareSettings) -> int:
    """Run the command; returns the exit code."""
    if settings.model.startswith(IMAGES_PREFIX):
        raise UsageError(f"--model {settings.model}: real images need no preparation")
    folder = prepared_dir(settings.cache_dir)
    prompts_dir = find_prompts_dir(settings.prompts_dir)
    preset = taken_prompt_preset(settings.prompt_preset, settings.model)
    books = {
        spec: load_prompt_book(spec, prompts_dir, "sorted", preset, settings.prompts_per_class)
        for spec in settings.specs
    }
    commits = NOTHING_RECORDED
    if settings.model != "tiny":
        commits = _fetch(settings, folder)
    from challenge.generators.loading import load_generator
    from challenge.generators.quantized import check_quantize
    from challenge.prepare import prepare

    device = resolve_device(settings.device)
    dtype = resolve_dtype(settings.dtype, device)
    check_quantize(settings.quantize, device, dtype)
    show_note(f"device {device} ({device_title(device)}), {str(dtype).removeprefix('torch.')}")
    generator = load_generator(
        settings.model,
        device=device,
        dtype=dtype,
        options=settings.model_options,
        recorded=commits,
    )
    generator.num_inference_steps = settings.num_inference_steps
    try:
        made = prepare(settings, books, generator, folder, time.perf_counter)
    except OSError as error:
        raise _unwritable(folder, error) from error
    if settings.json:
        entries = [asdict(each) | {"path": each.path and str(each.path)} for each in made]
        description = asdict(generator.description)
        write_document(
            {"schema_version": SCHEMA_VERSION, "generator": description, "prepared": entries}
        )
        return 0
    rows = [
        (each.what, each.remark, f"{each.seconds:.1f}", f"{each.bytes / 2**20:.1f}")
        for each in made
    ]
    results().print(make_table(("kept", "", "seconds", "MiB"), rows, text_columns=(0, 1)))
    show_note(f"in {folder}; generate uses it, --no-prepared does not")
    return 0


def _fetch(settings: PrepareSettings, folder: Path) -> Commits:
    """Have the model's files here, and the commits recorded that a run will take; gives these."""
    weights = fetch_weights(
        settings.model, show_note, settings.model_options, recorded_commits(folder)
    )
    for hub_id, commit in weights.commits.items():
        show_note(f"{hub_id} at {commit}")
    try:
        record_commits(folder, weights.commits)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return weights.commits


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{folder} cannot be written ({error.strerror or error}); choose another --cache-dir"
    )
