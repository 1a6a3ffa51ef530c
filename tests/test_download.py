import hashlib
import io
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from challenge import download as module
from challenge.download import download
from challenge.errors import DataError
from challenge.spec import CIFAR100, TINYIMAGENET


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small zip where the public one is expected, served by this machine to itself."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("tiny-imagenet-200/wnids.txt", "n02124075\n")
    path = tmp_path / "server" / "tiny-imagenet-200.zip"
    path.parent.mkdir()
    path.write_bytes(content.getvalue())
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(path.parent))
    )
    address = f"http://127.0.0.1:{server.server_port}/{path.name}"
    monkeypatch.setattr(module, "TINYIMAGENET_URL", address)
    monkeypatch.setattr(module, "TINYIMAGENET_MD5", hashlib.md5(content.getvalue()).hexdigest())
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield path
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.usefixtures("archive")
def test_the_zip_is_fetched_once_and_unpacked(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert download(TINYIMAGENET, data)
    assert (data / "tiny-imagenet-200" / "wnids.txt").read_text() == "n02124075\n"
    assert not download(TINYIMAGENET, data)


def test_a_wrong_checksum_is_refused(archive: Path, tmp_path: Path) -> None:
    archive.write_bytes(archive.read_bytes() + b"x")
    with pytest.raises(DataError, match="Tiny-ImageNet could not be downloaded") as caught:
        download(TINYIMAGENET, tmp_path / "data")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data" / "tiny-imagenet-200").exists()


def test_no_network_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(module, "CIFAR100", refuse)
    with pytest.raises(DataError, match="no route to host; get cifar-100-python in another way"):
        download(CIFAR100, tmp_path / "data")


def test_what_is_there_is_not_fetched(tmp_path: Path) -> None:
    (tmp_path / "cifar100_test.pt").touch()
    (tmp_path / "tiny-imagenet-200").mkdir()
    assert not download(CIFAR100, tmp_path)
    assert not download(TINYIMAGENET, tmp_path)
