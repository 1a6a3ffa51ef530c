"""Each training of a stage, killed and begun again, ends in the weights of one that was not."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_training import small_books, small_checkpoints, small_data
from torch import Tensor

from challenge.embedded_training.feature_training import FeatureTraining
from challenge.embedded_training.patch_latents import PatchLatents
from challenge.embedded_training.resumable import Resumable
from challenge.embedded_training.text_training import TextTraining
from challenge.embedded_training.vae_training import VaeTraining
from challenge.generators.tiny import load_tiny_pipeline
from challenge.generators.tiny_networks import build_vae

CPU = torch.device("cpu")
STEPS = 6


def new_latents() -> PatchLatents:
    return PatchLatents.fit([small_data()[0].train.flatten(0, 1)], torch.Generator())


def new_feature_training() -> Resumable:
    rng = torch.Generator().manual_seed(0)
    return FeatureTraining(small_data()[0], new_latents(), STEPS, start=None, rng=rng, device=CPU)


def new_vae_training() -> Resumable:
    rng = torch.Generator().manual_seed(0)
    return VaeTraining(build_vae(), small_data(), new_latents(), STEPS, rng=rng, device=CPU)


def new_text_training() -> Resumable:
    return TextTraining(load_tiny_pipeline(), small_books(), STEPS, seed=0)


NEW = (new_feature_training, new_vae_training, new_text_training)


class KilledError(Exception):
    pass


def flat(state: object) -> list[Tensor]:
    """All tensors of a state, in its order."""
    if isinstance(state, Tensor):
        return [state]
    inner = state.values() if isinstance(state, dict) else ()
    return [tensor for each in inner for tensor in flat(each)]


@pytest.mark.parametrize("new", NEW)
def test_a_killed_training_ends_as_if_it_had_not_been(
    new: Callable[[], Resumable], tmp_path: Path
) -> None:
    def kill() -> None:
        raise KilledError

    torch.manual_seed(0)
    whole = new()
    small_checkpoints(tmp_path).run(whole, STEPS, tmp_path / "whole.pt")
    torch.manual_seed(0)
    checkpoint = tmp_path / "killed.pt"
    with pytest.raises(KilledError):
        small_checkpoints(tmp_path, save_every_s=5.0).run(new(), STEPS, checkpoint, on_save=kill)
    torch.manual_seed(1)  # what a new process starts with does not count
    resumed = new()
    assert resumed.steps_done == 0
    small_checkpoints(tmp_path).run(resumed, STEPS, checkpoint)
    assert resumed.steps_done == STEPS
    ours, theirs = flat(resumed.state()), flat(whole.state())
    assert len(ours) > 10
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)


def test_a_training_is_saved_every_so_many_seconds_and_at_its_end(tmp_path: Path) -> None:
    saved = []
    checkpoint = tmp_path / "checkpoint.pt"

    def note() -> None:
        saved.append(torch.load(checkpoint, weights_only=True)["steps_done"])

    training = new_feature_training()
    # the clock moves on by two seconds a step: one look here, one in the log
    small_checkpoints(tmp_path, save_every_s=4.0).run(training, STEPS, checkpoint, on_save=note)
    assert saved == [2, 4, 6]
    assert torch.load(checkpoint, weights_only=True)["steps_done"] == STEPS
    assert not list(tmp_path.glob("*.unfinished"))
