"""Whole runs that a researcher compares with, as changes of the default settings.

A flag that is given beside ``--preset`` wins over it. Nothing in a preset makes the program slower
on purpose: what an entry did on the way (a VAE in float32, an image at a time through PIL) is told
here, and imitated only where it changes the images.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from challenge.settings import GenerateSettings, RunPresetName


@dataclass(frozen=True)
class Preset:
    """``changes`` of the default settings; ``source`` says whose run it is and what is left out."""

    changes: Mapping[str, Any]
    source: str


BANKO = {
    "prompt_preset": "banko",
    "distinct": (20, 10),
    "batch_size": 1,
    "framing": "whole",
    "shrink": "bicubic",
    "augment": "banko",
    "class_order": "superclass",
}
ORDERED = {**BANKO, "class_order": "official"}
PRESETS: dict[RunPresetName, Preset] = {
    "default": Preset({}, "this program's own; each default follows a measurement (README)"),
    "banko": Preset(
        BANKO,
        "Guang000/BANKO @bd796b2, arXiv 2408.08610, third place: bare names, CIFAR-100's in "
        "superclass order and so under wrong labels, Tiny-ImageNet's without blanks; 20 and 10 "
        "images a class, one a call, Pillow's bicubic shrink; four copies of each by its "
        "albumentations, 100 and 50 images a class in the file. Left out: the order within a class "
        "(base, copies, base, ...), the float32 VAE, and that it has no seed and no clock. "
        "Its order of Tiny-ImageNet's classes is not documented: sorted wnids",
    ),
    "banko-no-augment": Preset(
        {**BANKO, "augment": "none"},
        "banko without the four copies, as in the ablation of arXiv 2408.08610",
    ),
    "banko-ordered": Preset(ORDERED, "banko with CIFAR-100's classes under their own labels"),
    "banko-ordered-no-augment": Preset(
        {**ORDERED, "augment": "none"}, "banko-ordered without the four copies"
    ),
}


def with_preset(settings: GenerateSettings) -> GenerateSettings:
    """The default settings as the preset of ``settings`` changes them: flags go on top of these."""
    return replace(GenerateSettings(), preset=settings.preset, **PRESETS[settings.preset].changes)


def changes_of_preset(settings: GenerateSettings) -> dict[str, dict[str, Any]]:
    """What flags have changed of the preset, by the setting's name: its value and the run's."""
    preset = PRESETS[settings.preset].changes
    found = {name: getattr(settings, name) for name in preset}
    return {
        name: {"preset": preset[name], "run": found[name]}
        for name in preset
        if found[name] != preset[name]
    }


def changed_preset_text(settings: GenerateSettings) -> str | None:
    """A sentence that tells of them; None where the preset is what was run."""
    changes = changes_of_preset(settings)
    if not changes:
        return None
    flags = ", ".join(
        f"--{name.replace('_', '-')} {_as_typed(values['run'])} (not {_as_typed(values['preset'])})"
        for name, values in changes.items()
    )
    return f"preset {settings.preset} with {flags}: name it so beside its results"


def _as_typed(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
