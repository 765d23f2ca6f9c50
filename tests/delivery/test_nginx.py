"""A real web server as the host: nginx on loopback, started and ended by the test."""

from __future__ import annotations

from packlight.delivery import Client
from packlight.delivery.downloads import download
from packlight.delivery.index import Packed
from packlight.delivery.web import Web
from packlight.files import sha256
from tests.delivery.hosts import nginx_or_skip


def test_nginx_serves_a_repository_and_resumes(repo, published, tmp_path):
    with nginx_or_skip(repo) as host:
        trust = repo / "metadata" / "1.root.json"
        client = Client(host.url, "letters", tmp_path / "phone", trust=trust)
        done = client.update()
        assert done.after.content() == (published / "in-1.2.0" / "model.onnx").read_bytes()
        framed = host.served().bytes - done.received  # gzip comes in chunks that tell their length
        assert 0 <= framed < 100
        file = max((repo / "files").iterdir(), key=lambda path: path.stat().st_size)
        data, parts = file.read_bytes(), tmp_path / "parts"
        parts.mkdir()
        (parts / f"{file.stem}.part").write_bytes(data[:1000])
        web = Web()
        url = f"{host.url}/files/{file.name}"
        whole = download(web, url, Packed(file.stem, len(data)), parts)
        assert sha256(whole) == file.stem
        assert web.received == len(data) - 1000
        assert host.served().partial == 1
