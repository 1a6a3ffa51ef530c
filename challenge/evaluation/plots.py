"""PNG files to look at: the confusion matrix and the learning curve of each evaluated set."""

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Int64
from matplotlib.figure import Figure
from torch import Tensor


def plot_confusion(confusion: Int64[Tensor, "C C"], title: str, path: Path) -> None:
    """Shares of each class's test images by the label they got, as an image."""
    shares = confusion.double() / confusion.sum(dim=1, keepdim=True).clamp_min(1)
    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.add_subplot()
    shown = axes.imshow(shares.numpy(), cmap="magma", vmin=0, interpolation="nearest")
    axes.set(title=title, xlabel="label it got", ylabel="its class")
    figure.colorbar(shown, label="share of the class's test images")
    figure.savefig(path, dpi=120)


def plot_curves(losses: Sequence[Sequence[float]], title: str, path: Path) -> None:
    """Training loss over the training, a line a round."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for number, curve in enumerate(losses, start=1):
        done = [100 * (place + 1) / len(curve) for place in range(len(curve))]
        axes.plot(done, curve, label=f"round {number}")
    axes.set(title=title, xlabel="training done (%)", ylabel="training loss (augmented batches)")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
