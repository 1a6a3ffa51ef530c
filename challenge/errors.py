"""What can go wrong in a way that a user can mend, as a small tree.

    ChallengeError                exit code 1
    |-- PromptError               a prompt book is incomplete or damaged
    |-- WeightsError              a model is missing, incomplete or of another kind
    |-- DataError                 a real test set is missing or damaged
    |-- SubmissionError           a submission file cannot be written, or is not valid
    |   |-- NoRoomError           the disk has no room for it, but for a smaller one
    |   `-- PackingDeviceError    the device failed while images were made ready for it
    |-- JournalError              the images already made cannot be read back
    |-- GenerationError           the model makes no usable images
    |   `-- StalledError          a batch did not end in time
    |-- BudgetError               the time limit does not allow what was asked for
    |   `-- TooLateError          a file was not finished before the deadline
    |       `-- TooSlowError      a file would not be, as fast as it goes
    `-- UsageError                exit code 2: the command line asks for what cannot be
        |-- DeviceError           there is no such device, or it cannot be used
        `-- OutputError           the output folder is taken, or cannot be written

Each message says what was found, what was expected and what to do, in one line. Wrong arguments
inside the program are ``ValueError``; what our own code guarantees is an ``assert``.
"""


class ChallengeError(Exception):
    """A fault that a user can mend; ``str(error)`` is the one line to show."""

    exit_code = 1


class PromptError(ChallengeError):
    """A prompt book is missing, incomplete or damaged."""


class WeightsError(ChallengeError):
    """A model is missing, incomplete, or not of a kind that this program can run."""


class DataError(ChallengeError):
    """A real test set is missing or damaged."""


class SubmissionError(ChallengeError):
    """A submission file cannot be written, or what was read is not a valid one."""


class NoRoomError(SubmissionError):
    """The disk has no room for a submission file; there is some for ``most_images``."""

    def __init__(self, message: str, most_images: int) -> None:
        super().__init__(message)
        self.most_images = most_images


class PackingDeviceError(SubmissionError):
    """The device failed, or ran out of memory, while images were made ready for the file."""


class JournalError(ChallengeError):
    """A journal of generated images cannot be written or read back."""


class GenerationError(ChallengeError):
    """The model makes no usable images (NaN, black, out of memory at a batch of one)."""


class StalledError(GenerationError):
    """A batch did not end while there was time to pack what was made before."""


class BudgetError(ChallengeError):
    """The time limit does not allow what was asked for."""


class TooLateError(BudgetError):
    """A file was not finished before the deadline; it did not replace the one before."""


class TooSlowError(TooLateError):
    """A file is written too slowly to be finished in time; a smaller one may be."""

    def __init__(self, message: str, images_per_s: float) -> None:
        super().__init__(message)
        self.images_per_s = images_per_s


class UsageError(ChallengeError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class DeviceError(UsageError):
    """There is no such device, or it cannot be used."""


class OutputError(UsageError):
    """The output folder is taken, or cannot be written."""


def first_line(error: BaseException) -> str:
    """What a library's exception says, on one line; its type where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
