"""One-step UNets that others distilled from SDXL, each a single file that goes onto an SDXL base.

Everything else, text encoders, VAE and the betas of the noise, is the base's. What each needs was
read in its authors' own words (November 2026), whose code is the same but for these values:

    sdxl-lightning  model card of ByteDance/SDXL-Lightning, "1-Step UNet":
                    EulerDiscreteScheduler, timestep_spacing="trailing", prediction_type="sample"
    hyper-sdxl      model card of ByteDance/Hyper-SD, "1-step SDXL Unet":
                    LCMScheduler, timesteps=[800]
    dmd2            README of github.com/tianweiy/DMD2, "1-step generation":
                    LCMScheduler, timesteps=[399]; this is the half-precision file beside its own

All without guidance and at 1024 pixels, the size of the base: four times the work of SDXL-Turbo.
"""

from dataclasses import dataclass

from challenge.settings import ModelOptions, PredictionType

SDXL_BASE = "stabilityai/stable-diffusion-xl-base-1.0"


@dataclass(frozen=True)
class OneStepUnet:
    """A file in a hub repository, and how its only step is taken."""

    repository: str
    file: str
    prediction_type: PredictionType
    timestep: int | None = None  # None: the noisiest, by EulerDiscreteScheduler

    def options(self, given: ModelOptions) -> ModelOptions:
        """What is asked of ``SDXL_BASE`` for this UNet; what was given beside its name wins."""
        revision = f"@{given.revision}" if given.revision else ""
        return ModelOptions(
            unet=f"{self.repository}/{self.file}{revision}",
            timestep=self.timestep if given.timestep is None else given.timestep,
            prediction_type=given.prediction_type or self.prediction_type,
        )


ONE_STEP_UNETS = {
    "sdxl-lightning": OneStepUnet(
        "ByteDance/SDXL-Lightning", "sdxl_lightning_1step_unet_x0.safetensors", "sample"
    ),
    "hyper-sdxl": OneStepUnet(
        "ByteDance/Hyper-SD", "Hyper-SDXL-1step-Unet.safetensors", "epsilon", timestep=800
    ),
    "dmd2": OneStepUnet("tianweiy/DMD2", "dmd2_sdxl_1step_unet_fp16.bin", "epsilon", timestep=399),
}
