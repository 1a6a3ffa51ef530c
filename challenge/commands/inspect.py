"""The ``inspect`` command: measures of sets, each beside the same figure of real images.

python run_challenge.py inspect submissions/NAME --data DIR
python run_challenge.py inspect ours theirs/cifar100.pt --data DIR --features pixels --json
"""

from typing import TYPE_CHECKING, Any

from challenge.calibration import cache_dir
from challenge.clock import RunClock
from challenge.commands.inspect_screen import show_measures
from challenge.console import StepView, write_document
from challenge.errors import OutputError
from challenge.records import SCHEMA_VERSION, explaining_os_errors, require_writable, write_json
from challenge.settings import InspectSettings, selected_specs

if TYPE_CHECKING:
    from challenge.measures.image_sets import ImageSet


def inspect(settings: InspectSettings, clock: RunClock) -> int:
    """Run the command; returns the exit code.

    Raises ``DataError`` where there are no real training images, ``SubmissionError`` or
    ``JournalError`` for a set that cannot be read, ``OutputError`` for a place that cannot be
    written.
    """
    if settings.out is not None:
        if settings.out.exists():
            raise OutputError(f"{settings.out} is there already; give a new file")
        with explaining_os_errors(settings.out.parent):
            settings.out.parent.mkdir(parents=True, exist_ok=True)
            require_writable(settings.out.parent)
    with StepView(clock) as view:
        document = _document(settings, view)
    if settings.out is not None:
        with explaining_os_errors(settings.out):
            write_json(settings.out, document)
    if settings.json:
        write_document(document)
    else:
        for measured in document["sets"]:
            show_measures(measured)
    return 0


def _document(settings: InspectSettings, view: StepView) -> dict[str, Any]:
    view.say("importing torch")
    from challenge.environment import describe_machine, resolve_device
    from challenge.measures.image_sets import image_sets

    device = resolve_device(settings.device)
    specs = selected_specs(settings.dataset)
    found = [made for path in settings.sets for made in image_sets(path, specs)]
    return {
        "schema_version": SCHEMA_VERSION,
        "sets": _measure_all(settings, found, view),
        "machine": describe_machine(device),
    }


def _measure_all(
    settings: InspectSettings, found: "list[ImageSet]", view: StepView
) -> list[dict[str, Any]]:
    """The document of each set; sets of one data set share its feature space."""
    from challenge.environment import resolve_device
    from challenge.measures.features import feature_space
    from challenge.measures.measure import measure_set
    from challenge.measures.real_parts import RealParts
    from challenge.train_images import TrainImages

    device = resolve_device(settings.device)
    documents: dict[int, dict[str, Any]] = {}
    for spec in {made.spec.name: made.spec for made in found}.values():
        parts = RealParts(spec, TrainImages.below(spec, settings.data))
        title = f"{spec.title}: training the network that compares images, once"
        space = feature_space(
            settings.features, parts, cache_dir(settings.cache_dir), device,
            lambda step, steps, title=title: view.show(title, step, steps),  # type: ignore[misc]
        )  # fmt: skip
        view.say(f"{spec.title}: features are {space.title}")
        for place, made in enumerate(found):
            if made.spec != spec:
                continue
            if made.note:
                view.say(f"{made.title}: {made.note}")
            documents[place] = measure_set(
                made, parts, space, device,
                lambda done, of, title=made.title: view.show(title, done, of),  # type: ignore[misc]
                per_class=settings.per_class, seed=settings.seed,
            )  # fmt: skip
    return [documents[place] for place in sorted(documents)]
