"""Fetches the public data sets, for people with a network: by torchvision, checksums verified."""

from pathlib import Path
from urllib.error import URLError

from torchvision.datasets import CIFAR100
from torchvision.datasets.utils import download_and_extract_archive

from challenge.datasets import FOLDERS
from challenge.errors import DataError
from challenge.spec import DatasetSpec

TINYIMAGENET_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
TINYIMAGENET_MD5 = "90528d7ca1a48142e341f4ef8d21d0de"  # 248,100,043 bytes; torchvision checks it


def download(spec: DatasetSpec, data_dir: Path) -> bool:
    """Put the public files of ``spec`` into ``data_dir``; False when they lie there already.

    Raises:
        DataError: the network, the disk or the checksum refuses.
    """
    folder = data_dir / FOLDERS[spec.name]
    if folder.is_dir() or (data_dir / f"{spec.name}_test.pt").is_file():
        return False
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        if spec.name == "cifar100":
            CIFAR100(str(data_dir), download=True)
        else:
            download_and_extract_archive(TINYIMAGENET_URL, str(data_dir), md5=TINYIMAGENET_MD5)
    except (OSError, URLError, RuntimeError) as error:
        raise DataError(
            f"{spec.title} could not be downloaded to {data_dir}: {error}; "
            f"get {folder.name} in another way and put it there"
        ) from error
    return True
