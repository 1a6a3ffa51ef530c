"""Several rounds trained at once on one device: the way of the evaluator on a GPU.

The networks of the rounds are stacked into one, parameter by parameter, and torch.func.vmap runs
them as one, so a step launches the kernels of one network, not of each. Every round keeps its own
random numbers: it is trained as it would be alone, which a test proves on a CPU. The set lies on
the device, orders and augmentation are drawn there, and nothing in a step waits for the device.
What is the same in every step, from the augmented images to the losses and back, can be compiled.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn import functional as F

from challenge.evaluation.training import (
    TEST_BATCH,
    RoundRng,
    Schedule,
    TrainingSet,
    new_optimizer,
)

# What one image of 32 x 32 takes while training, in bytes: about six maps of 128 channels in
# float32 of the first block, and half as much for the others (read from the network, not measured).
BYTES_PER_PIXEL = 128 * 4 * 9


@dataclass
class RoundsSideBySide:
    """Rounds on one device, each with a network and random numbers of its own.

    ``compiler`` is a backend of ``torch.compile`` for the training step, such as "inductor".
    """

    networks: Sequence[nn.Module]
    rngs: Sequence[RoundRng]
    compiler: str | None = None

    def __post_init__(self) -> None:
        self._parameters, self._buffers = stack_module_state(list(self.networks))
        # only its structure is used; memory is held by the stacked parameters
        self._skeleton = copy.deepcopy(self.networks[0]).to("meta")
        self._losses = self._losses_of_rounds
        if self.compiler is not None:  # an epoch's last batch has its own size: compiled apart
            self._losses = torch.compile(self._losses, backend=self.compiler, dynamic=False)

    def train(self, train: TrainingSet, schedule: Schedule) -> Iterator[Float[Tensor, " R"]]:
        """Train in place; yields the losses of each step, on the device."""
        self._skeleton.train()
        optimizer = new_optimizer(self._parameters.values(), dropped=False)
        batches = zip(*(rng.batches(train) for rng in self.rngs), strict=True)
        for step in range(schedule.steps):
            if step == schedule.drop_after:
                optimizer = new_optimizer(self._parameters.values(), dropped=True)
            images, labels = (
                torch.stack(of_rounds) for of_rounds in zip(*next(batches), strict=True)
            )
            yield self.step(optimizer, images, labels)

    def step(
        self,
        optimizer: torch.optim.Optimizer,
        images: Float[Tensor, "R B 3 S S"],
        labels: Int64[Tensor, "R B"],
    ) -> Float[Tensor, " R"]:
        """One step of every round on the mean cross-entropy of its batch; returns these losses."""
        of_rounds = self._losses(self._parameters, self._buffers, images, labels)
        optimizer.zero_grad(set_to_none=True)
        # a parameter of one round has no part in another's loss
        of_rounds.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return of_rounds.detach()

    @torch.inference_mode()
    def predict(self, images: Float[Tensor, "M 3 S S"]) -> list[Int64[Tensor, " M"]]:
        """Each round's label for each image, on the CPU."""
        self._skeleton.eval()
        device = self.rngs[0].tensors.device
        one_input = torch.vmap(self._logits, in_dims=(0, 0, None))
        found = [
            one_input(self._parameters, self._buffers, some.to(device)).argmax(dim=2)
            for some in torch.split(images, TEST_BATCH)
        ]
        return list(torch.cat(found, dim=1).cpu())

    def _losses_of_rounds(
        self,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        images: Float[Tensor, "R B 3 S S"],
        labels: Int64[Tensor, "R B"],
    ) -> Float[Tensor, " R"]:
        logits = torch.vmap(self._logits)(parameters, buffers, images)
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        return losses.view(labels.shape).mean(dim=1)

    def _logits(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor
    ) -> Tensor:
        logits: Tensor = functional_call(self._skeleton, (parameters, buffers), (images,))
        return logits


def rounds_at_once(rounds: int, image_size: int, batch_size: int, free_bytes: int) -> int:
    """How many rounds fit into the device's free memory side by side; at least one."""
    one_round = batch_size * image_size**2 * BYTES_PER_PIXEL
    return max(1, min(rounds, free_bytes // one_round))
