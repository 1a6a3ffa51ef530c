"""The ``report`` command: one HTML page on a run, or on several side by side.

python run_challenge.py report submissions/NAME --data DIR
python run_challenge.py report submissions/FIRST submissions/SECOND --out both.html
"""

from challenge.console import results, write_document
from challenge.records import SCHEMA_VERSION
from challenge.settings import ReportSettings


def report(settings: ReportSettings) -> int:
    """Run the command; returns the exit code.

    Raises ``SubmissionError`` for a folder that holds nothing of a run, ``DataError`` where
    ``--data`` lacks training images, ``OutputError`` for a place that is taken.
    """
    from challenge.report.page import render, require_replaceable, write_page
    from challenge.report.run_folder import open_runs

    path = settings.out or settings.runs[0] / "report.html"
    require_replaceable(path)
    runs = open_runs(settings.runs)
    text = render(runs, settings.data, settings.images_per_class)
    write_page(path, text)
    size = len(text.encode())
    if settings.json:
        write_document(
            {
                "schema_version": SCHEMA_VERSION,
                "path": str(path),
                "bytes": size,
                "runs": [str(run.path) for run in runs],
            }
        )
    else:
        results().print(f"{path} ({size / 1e6:.1f} MB)", soft_wrap=True, markup=False)
    return 0
