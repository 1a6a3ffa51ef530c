"""What a dry run found, on the screen and as a document."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from challenge.console import make_table, results, verdict_panel
from challenge.plan import RunPlan
from challenge.plan_text import PLAN_HEADINGS, plan_phases, plan_rows
from challenge.readiness import GIB
from challenge.records import SCHEMA_VERSION


@dataclass
class Report:
    """What was found; READY when there is no problem."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    checks: dict[str, Any] = field(default_factory=dict)
    plan: RunPlan | None = None
    calibration: str | None = None

    @property
    def verdict(self) -> str:
        """The answer."""
        return "NOT READY" if self.problems else "READY"


def report_document(report: Report) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": report.verdict,
        "problems": report.problems,
        "warnings": report.warnings,
        "checks": report.checks,
        "plan": asdict(report.plan) if report.plan else None,
        "calibration": report.calibration,
    }


def show_report(report: Report) -> None:
    """The panel: verdict, reasons, facts, and the plan as a table."""
    lines = [f"not ready: {problem}" for problem in report.problems]
    lines += [f"warning: {warning}" for warning in report.warnings]
    lines += _facts(report.checks)
    if report.calibration:
        lines.append(f"costs kept for the next runs: {report.calibration}")
    table = None
    if report.plan is not None:
        lines += [f"{each.name} {each.value} ({each.reason})" for each in report.plan.choices]
        lines += [f"seconds {phases}" for phases in plan_phases(report.plan)]
        lines.append(f"plan, {report.plan.basis}:")
        table = make_table(PLAN_HEADINGS, plan_rows(report.plan))
    results().print(verdict_panel(report.verdict, lines, table))


def _facts(checks: Mapping[str, Any]) -> list[str]:
    """What was found, in words."""
    facts = []
    if device := checks.get("device"):
        peak = f", {device['peak_bytes'] / GIB:.1f} GiB used" if "peak_bytes" in device else ""
        facts.append(f"device {device['name']}, {device['dtype']}{peak}")
    if (memory := checks.get("memory")) and memory["available_bytes"] is not None:
        weights = checks["weights"]["bytes"]
        taken = f", the weights take {weights / GIB:.1f} GiB" if weights else ""
        peak = f", {memory['peak_bytes'] / GIB:.1f} GiB used" if "peak_bytes" in memory else ""
        facts.append(f"memory: {memory['available_bytes'] / GIB:.1f} GiB available{taken}{peak}")
    if disk := checks.get("disk"):
        facts.append(
            f"disk: {disk['mb_per_s']:.0f} MB/s ({disk['num_bytes'] / GIB:.2f} GiB written and "
            f"forced to disk in {disk['seconds']:.1f} s), {disk['free_bytes'] / GIB:.2f} GiB free"
        )
    return facts
