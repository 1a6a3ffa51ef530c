"""Fits a thumbnail decoder to one model: what its own VAE makes of its own latents, shrunk.

Pairs of latents and pictures come from the model itself, for prompts of the run. Ridge regression
gives the best 3x3 convolution in closed form; a few seconds of training add a small network's
correction. Some of the pairs are held out; on them the result is judged, at the size that the
data set wants, whole and cropped. What a fit costs and reaches is measured each time:

    head, report = fit_decoder("linear", generator, prompts, seeds, [32], budget_s=0.0, clock=clock)
    if report.good_enough:
        generator.use_decoder(32, ThumbnailDecoder(head))
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from challenge.generators.decoders import BLOCKS, ThumbnailHead, thumbnail_ratio
from challenge.generators.sdxl_turbo import OneStepGenerator
from challenge.images import shrink

HeadName = Literal["linear", "thumbnail"]

GOOD_ENOUGH_DB = 30.0  # PSNR; JPEG at quality 75 costs a thumbnail about as much
HELD_OUT, FEWEST_HELD_OUT = 8, 16  # one pair in so many, but at least this many
PAIR_BATCH, TRAIN_BATCH = 8, 64
STEPS = 1500  # of training, if there is time for so many
LEARNING_RATE = 3e-3
RIDGE = 1e-4  # of the mean square of a feature
CROP = 0.75  # of a side: what a framing would leave


@dataclass(frozen=True)
class Fidelity:
    """How close thumbnails are to the VAE's, shrunk: means over images that were held out."""

    psnr_db: float
    ssim: float
    cropped_psnr_db: float
    cropped_ssim: float


@dataclass(frozen=True)
class FitReport:
    """What a fit cost and reached; ``fidelity`` by the side of the data set's images."""

    pairs: int
    steps: int
    pairs_s: float
    train_s: float
    fidelity: dict[int, Fidelity]

    @property
    def good_enough(self) -> bool:
        """Whether the whole thumbnails are near enough to the VAE's at every size."""
        return all(each.psnr_db >= GOOD_ENOUGH_DB for each in self.fidelity.values())


@dataclass(frozen=True)
class Pairs:
    """Latents, what they should become, and the VAE's own views of those that are held out.

    ``views`` holds, by target size, held-out images shrunk straight to it: whole, and cropped.
    """

    latents: Float[Tensor, "N C h w"]
    pictures: Float[Tensor, "N 3 S S"]
    held_out_latents: Float[Tensor, "M C h w"]
    views: dict[int, tuple[Tensor, Tensor]]


def fit_decoder(
    name: HeadName,
    generator: OneStepGenerator,
    prompts: Sequence[str],
    seeds: Sequence[int],
    targets: Sequence[int],
    *,
    budget_s: float,
    clock: Callable[[], float],
) -> tuple[ThumbnailHead, FitReport]:
    """A head for images of these targets, all of one resolution and ratio, and how good it is.

    ``prompts`` must be encoded; each makes a pair with its seed; more than ``FEWEST_HELD_OUT``.
    ``budget_s`` bounds the training that ``thumbnail`` has and ``linear`` has not.
    """
    started_s = clock()
    resolution, ratio = generator.resolution(targets[0]), head_ratio(generator, targets[0])
    pairs = make_pairs(generator, prompts, seeds, resolution, ratio, targets)
    pairs_s = clock() - started_s
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        blocks = 0 if name == "linear" else BLOCKS
        head = ThumbnailHead(pairs.latents.shape[1], ratio, blocks=blocks).to(pairs.latents.device)
    fit_linear(head, pairs.latents, pairs.pictures)
    steps = train_correction(head, pairs, budget_s, clock) if blocks else 0
    fidelity = {target: measure_fidelity(head, pairs, target) for target in targets}
    train_s = clock() - started_s - pairs_s
    return head, FitReport(len(prompts), steps, pairs_s, train_s, fidelity)


def head_ratio(generator: OneStepGenerator, target: int) -> int:
    """Pixels a latent of the thumbnails for this target."""
    factor = generator.vae_factor
    return thumbnail_ratio(generator.resolution(target) // factor, target, factor)


@torch.inference_mode()
def make_pairs(
    generator: OneStepGenerator,
    prompts: Sequence[str],
    seeds: Sequence[int],
    resolution: int,
    ratio: int,
    targets: Sequence[int],
) -> Pairs:
    """Run the model and its VAE; the first of them are held out."""
    latents, pictures = [], []
    views: dict[int, list[Tensor]] = {target: [] for target in targets}
    held_out = max(FEWEST_HELD_OUT, len(prompts) // HELD_OUT)
    for first in range(0, len(prompts), PAIR_BATCH):
        some = slice(first, min(first + PAIR_BATCH, len(prompts)))
        latents.append(generator.image_latents(prompts[some], seeds[some], resolution).float())
        images = generator.vae_decoder.decode(latents[-1])
        pictures.append(shrink(images, ratio * latents[-1].shape[-1]))
        for target, found in views.items():
            if first < held_out:
                found.append(torch.stack([shrink(images, target), shrink(crop(images), target)]))
    all_latents, all_pictures = torch.cat(latents), torch.cat(pictures)
    kept = {target: torch.cat(found, 1)[:, :held_out] for target, found in views.items()}
    return Pairs(
        all_latents[held_out:].clone(),
        all_pictures[held_out:].clone(),
        all_latents[:held_out].clone(),
        {target: (whole, cropped) for target, (whole, cropped) in kept.items()},
    )


def crop(images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 s s"]:
    """The middle of images, as a framing might leave it."""
    side = images.shape[-1]
    margin = round(side * (1 - CROP) / 2)
    return images[..., margin : side - margin, margin : side - margin]


@torch.no_grad()
def fit_linear(
    head: ThumbnailHead, latents: Float[Tensor, "N C h w"], pictures: Float[Tensor, "N 3 S S"]
) -> None:
    """Put the best convolution in the least-squares sense into ``head.linear``."""
    weight = head.linear.weight
    width = weight[0].numel() + 1
    gram = torch.zeros(width, width, dtype=torch.float64, device=weight.device)
    moments = torch.zeros(width, len(weight), dtype=torch.float64, device=weight.device)
    chunks = (torch.split(tensor, PAIR_BATCH) for tensor in (latents, pictures))
    for some, wanted in zip(*chunks, strict=True):
        padded = F.pad(some, (1, 1, 1, 1), mode="replicate")
        columns = F.unfold(padded, 3).transpose(1, 2).flatten(0, 1).double()
        columns = F.pad(columns, (0, 1), value=1.0)
        gram += columns.T @ columns
        subpixels = F.pixel_unshuffle(wanted, head.ratio).flatten(2).transpose(1, 2).flatten(0, 1)
        moments += columns.T @ subpixels.double()
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(width, device=gram.device)
    solution = torch.linalg.solve(gram + ridge, moments).T.float()
    weight.copy_(solution[:, :-1].reshape(weight.shape))
    assert head.linear.bias is not None
    head.linear.bias.copy_(solution[:, -1])


def train_correction(
    head: ThumbnailHead, pairs: Pairs, budget_s: float, clock: Callable[[], float]
) -> int:
    """Lower the squared error by Adam until the steps or the seconds are over; gives the steps."""
    optimizer = torch.optim.Adam(head.parameters())
    rng = torch.Generator("cpu").manual_seed(0)
    started_s, steps = clock(), 0
    batch = min(TRAIN_BATCH, len(pairs.latents))
    while (done := max(steps / STEPS, (clock() - started_s) / budget_s)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (steps + 1) / 20) * (1 - done)
        some = torch.randint(len(pairs.latents), (batch,), generator=rng).to(pairs.latents.device)
        loss = F.mse_loss(head(pairs.latents[some]), pairs.pictures[some])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        steps += 1
    return steps


@torch.inference_mode()
def measure_fidelity(head: ThumbnailHead, pairs: Pairs, target: int) -> Fidelity:
    """Compare thumbnails, shrunk to the target's size, with the VAE's images, shrunk likewise."""
    chunks = torch.split(pairs.held_out_latents, PAIR_BATCH)
    made = torch.cat([head(some) for some in chunks]).clamp(0, 1)
    whole, cropped = pairs.views[target]
    ours, ours_cropped = shrink(made, target), shrink(crop(made), target)
    return Fidelity(
        psnr_db=psnr_db(ours, whole),
        ssim=ssim(ours, whole),
        cropped_psnr_db=psnr_db(ours_cropped, cropped),
        cropped_ssim=ssim(ours_cropped, cropped),
    )


def psnr_db(images: Float[Tensor, "B 3 S S"], wanted: Float[Tensor, "B 3 S S"]) -> float:
    """Mean over images of -10 log10 of the mean squared error, at most 100 dB."""
    errors = (images - wanted).square().flatten(1).mean(1).clamp_min(1e-10)
    return float((-10 * errors.log10()).mean())


def ssim(images: Float[Tensor, "B 3 S S"], wanted: Float[Tensor, "B 3 S S"]) -> float:
    """Mean structural similarity, window of 7 pixels: 11 would be a third of a thumbnail."""
    from kornia.metrics import ssim as ssim_map

    return float(ssim_map(images, wanted, window_size=7).mean())
