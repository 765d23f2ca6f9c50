"""A real web server as the host: nginx on loopback, started and ended by the test."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from packlight.delivery import Client
from packlight.delivery.downloads import download
from packlight.delivery.index import Packed
from packlight.delivery.web import Web
from packlight.files import sha256

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
CONFIGURATION = """
daemon off;
master_process off;
pid {work}/pid;
error_log {work}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log {work}/access.log;
  client_body_temp_path {work}/a; proxy_temp_path {work}/b; fastcgi_temp_path {work}/c;
  uwsgi_temp_path {work}/d; scgi_temp_path {work}/e;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


@pytest.fixture
def nginx(repo, tmp_path):
    """Its address, and its log of requests."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    work = tmp_path / "nginx"
    work.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = work / "nginx.conf"
    settings.write_text(CONFIGURATION.format(work=work, port=port, root=repo))
    server = subprocess.Popen([NGINX, "-p", work, "-c", settings], stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 10
        while time.monotonic() < end and server.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}", work / "access.log"
    finally:
        server.terminate()
        server.wait(10)


def test_nginx_serves_a_repository_and_resumes(nginx, repo, published, tmp_path):
    url, log = nginx
    client = Client(url, "letters", tmp_path / "phone", trust=repo / "metadata" / "1.root.json")
    done = client.update()
    assert done.after.content() == (published / "in-1.2.0" / "model.onnx").read_bytes()
    file = max((repo / "files").iterdir(), key=lambda path: path.stat().st_size)
    data, parts = file.read_bytes(), tmp_path / "parts"
    parts.mkdir()
    (parts / f"{file.stem}.part").write_bytes(data[:1000])
    web = Web()
    whole = download(web, f"{url}/files/{file.name}", Packed(file.stem, len(data)), parts)
    assert sha256(whole) == file.stem
    assert web.received == len(data) - 1000
    assert '" 206 ' in Path(log).read_text().splitlines()[-1]
