"""One seed an image, from what the image is and from nothing else.

A seed depends on the run seed and on the image's place (data set, class, round, attempt, variant),
never on batch size, order of work, resume or number of GPUs. So neither does the noise that is
drawn from it.
"""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2**63) for this place in the run: BLAKE2b of the parts as Python writes them.

    The order of the parts counts, and so does their type: ``1`` and ``"1"`` give different seeds.
    torch's CPU rng reads the low 32 bits only, so among 60,000 images about 0.4 pairs share their
    noise.
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
