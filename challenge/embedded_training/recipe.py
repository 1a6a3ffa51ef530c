"""The settings that a folder was begun with, in ``recipe.json``: its stages fit no others."""

import json
from pathlib import Path

from challenge.embedded_training.settings import TrainingSettings
from challenge.errors import OutputError, UsageError, first_line
from challenge.spec import DATASETS

RECIPE_FILE = "recipe.json"
GENERATOR_FILE = "generator.pt"


def require_startable(settings: TrainingSettings) -> None:
    """Refuse a folder that cannot be gone on with, before any image is read; writes nothing.

    Raises:
        UsageError: it was begun with other settings, or has no UNet to export yet.
        OutputError: it is no folder, or the recipe in it is damaged.
    """
    if settings.out.exists() and not settings.out.is_dir():
        raise OutputError(f"{settings.out} is a file, expected a folder; give another --out")
    if settings.export_now:
        _require_exportable(settings.out)
    _require_same_recipe(settings)


def _require_exportable(out: Path) -> None:
    """A process that exports must not make stages which another, that trains, makes as well."""
    if not (out / GENERATOR_FILE).is_file():
        raise UsageError(
            f"there is no {GENERATOR_FILE} in {out}, so no UNet to export; "
            "train first, without --export-now"
        )
    for name in DATASETS:
        file = f"{features_stage(name)}.pt"
        if not (out / file).is_file():
            raise UsageError(
                f"there is no {file} in {out} yet: the UNet has not come to that data set; "
                "train on, without --export-now"
            )


def features_stage(dataset: str) -> str:
    """The stage that trains the feature network of a data set; its file is named after it."""
    return f"features_{dataset}"


def _require_same_recipe(settings: TrainingSettings) -> None:
    """The UNet's steps may be changed."""
    path = settings.out / RECIPE_FILE
    if not path.is_file():
        return
    try:
        kept = dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise OutputError(
            f"{path} is damaged ({first_line(error)}); delete it if the settings are still those "
            "that the folder was begun with, or give another --out"
        ) from error
    for name, value in settings.recipe().items():
        if name != "generator_steps" and kept.get(name) != value:
            flag = name.replace("_", "-")
            raise UsageError(
                f"{settings.out} was begun with --{flag} {kept.get(name)}, found {value}; "
                "give that again, or another --out"
            )


def keep_recipe(settings: TrainingSettings) -> None:
    """Write the settings beside the stages that will be made with them."""
    path = settings.out / RECIPE_FILE
    if not path.is_file():
        path.write_text(json.dumps(settings.recipe(), indent=2) + "\n", "utf-8")
