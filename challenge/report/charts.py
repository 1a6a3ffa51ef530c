"""Charts as inline SVG that take the colour of the page's text, in a light and a dark window."""

import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from jaxtyping import Int64
from markupsafe import Markup
from matplotlib.figure import Figure

TEXT = "#010203"  # replaced by the page's own colour
ACCENTS = ("#4c8dff", "#e8833a", "#3aa76d")
Curve = Sequence[tuple[float, float]]


def line_chart(curves: dict[str, Curve], x_label: str, y_label: str) -> Markup | None:
    """A line for each curve that has points; None where none has."""
    drawn = {title: points for title, points in curves.items() if len(points) > 1}
    if not drawn:
        return None
    figure = Figure(figsize=(7, 2.4), layout="constrained")
    axes = figure.add_subplot()
    for (title, points), colour in zip(drawn.items(), ACCENTS * len(drawn), strict=False):
        axes.plot(*zip(*points, strict=True), label=title, color=colour, linewidth=1.5)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.set_ylim(bottom=0)
    if len(drawn) > 1:
        axes.legend(frameon=False, labelcolor=TEXT, fontsize=8)
    return _svg(figure, f"{y_label} over {x_label}")


def confusion_chart(confusion: Int64[np.ndarray, "C C"]) -> Markup:
    """Shares of each class's test images by the label they got."""
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(6, 5.2), layout="constrained")
    axes = figure.add_subplot()
    shown = axes.imshow(shares, cmap="magma", vmin=0, vmax=max(0.01, shares.max()))
    axes.set(xlabel="label it got", ylabel="its class")
    bar = figure.colorbar(shown)
    bar.ax.tick_params(colors=TEXT, labelsize=8)
    bar.set_label("share of the class's test images", color=TEXT, fontsize=8)
    bar.outline.set_edgecolor(TEXT)
    return _svg(figure, "confusion matrix")


def class_chart(accuracies: Sequence[float], errors: Sequence[tuple[float, float]]) -> Markup:
    """Accuracy of each class, sorted, with its 95 % interval."""
    order = np.argsort(accuracies)[::-1]
    values = np.array(accuracies)[order]
    below_above = np.array(errors)[order].T
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(values))
    axes.bar(places, 100 * values, width=0.9, color=ACCENTS[0])
    axes.errorbar(
        places, 100 * values, 100 * below_above, fmt="none", ecolor=TEXT, elinewidth=0.6, alpha=0.6
    )
    axes.set(xlabel="classes, the best told first", ylabel="accuracy (%)", ylim=(0, None))
    axes.margins(x=0.005)
    return _svg(figure, "accuracy by class with 95 % intervals")


def _svg(figure: Figure, title: str) -> Markup:
    """The figure without a background; text stays text."""
    for axes in figure.axes:
        axes.tick_params(colors=TEXT, labelsize=8)
        axes.xaxis.label.set(color=TEXT, fontsize=8)
        axes.yaxis.label.set(color=TEXT, fontsize=8)
        for side, spine in axes.spines.items():
            spine.set_edgecolor(TEXT)
            spine.set_visible(side in ("left", "bottom"))
    file = io.StringIO()
    # without a salt matplotlib draws its ids at random; two charts of a page must not share them
    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": title, "font.family": "sans-serif"}
    ):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    drawing = file.getvalue()
    drawing = drawing[drawing.index("<svg") :].replace(TEXT, "currentColor")
    label = f'<svg role="img" aria-label="{title}" class="chart"'
    return Markup(drawing.replace("<svg", label, 1))
