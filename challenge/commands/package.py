"""The ``package`` command: the zip that is handed in.

python run_challenge.py package submissions/NAME
python run_challenge.py package submissions/NAME --out entry.zip --json
"""

from challenge.console import results, verdict_panel, write_document
from challenge.records import SCHEMA_VERSION
from challenge.settings import PackageSettings


def package(settings: PackageSettings) -> int:
    """Run the command; returns the exit code.

    Raises ``SubmissionError`` for an invalid submission, of which no zip is written.
    """
    from challenge.package import write_package

    path = settings.out or settings.run_dir.with_name(f"{settings.run_dir.resolve().name}.zip")
    written = write_package(settings.run_dir, path)
    if settings.json:
        document = {
            "schema_version": SCHEMA_VERSION,
            "path": str(written.path),
            "files": written.files,
            "bytes": written.bytes,
            "warnings": written.warnings,
        }
        write_document(document)
        return 0
    lines = [f"warning: {warning}" for warning in written.warnings]
    lines += [f"{written.path}: {written.bytes:,} bytes", *(f"  {name}" for name in written.files)]
    results().print(verdict_panel("VALID", lines))
    return 0
