"""The deployment of docs/deployment.md, outside a container: its files, its commands, real servers.

gunicorn serves the shop behind nginx, with PostgreSQL and Redis.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from tests.support.requirements import demand

TREE = Path(__file__).resolve().parents[3]
PROJECT = TREE / "testproject"
START_TIMEOUT = 60
KEY = "only this test uses this key, and it is long enough"


def dockerfile():
    """The instructions of the Dockerfile, as pairs of a word and its text."""
    lines = (PROJECT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    return [tuple(line.split(" ", 1)) for line in lines if line]


def words(instruction):
    """The words of the one instruction of this kind, in its JSON form."""
    (text,) = [text for word, text in dockerfile() if word == instruction]
    return json.loads(text[text.index("[") :])


def compose():
    """The compose file."""
    return yaml.safe_load((PROJECT / "compose.yaml").read_text(encoding="utf-8"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Site:
    """The running site: commands in its environment, requests through nginx."""

    def __init__(self, environment, port):
        self._environment = environment
        self.port = port

    def run(self, command, check=True):
        """Run a command of the files, with this Python in the place of theirs."""
        program, *arguments = command
        start = [sys.executable, *([] if program == "python" else ["-m", program]), *arguments]
        done = subprocess.run(
            start,
            cwd=PROJECT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def get(self, path, port=None, **headers):
        """The answer to a request: status, headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=60)
        try:
            connection.request("GET", path, headers={"Host": "localhost", **headers})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()


@contextmanager
def running(command, environment, is_ready):
    """A process that is ready; it is ended whatever happens."""
    process = subprocess.Popen(
        command,
        cwd=PROJECT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise AssertionError(process.communicate()[0].decode(errors="replace"))
            time.sleep(0.05)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def accepts(port):
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.fixture
def nginx():
    """The path of nginx; without it, the test is skipped, or fails where CI is set."""
    path = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("There is no nginx here.")
    return path


@pytest.fixture
def site(nginx, database, redis_server, tmp_path):
    demand("gunicorn", "django_redis", "prometheus_client", "psycopg")
    web, proxy, static = free_port(), free_port(), tmp_path / "static"
    given = compose()["x-shop"]["environment"]
    own = {
        "DATABASE_URL": database.url,
        "REDIS_URL": redis_server.url,
        "SHOP_SECRET_KEY": KEY,
        "SHOP_TRUSTED_PROXIES": "127.0.0.1",
        "WEB_CONCURRENCY": "2",
    }
    assert own.keys() <= given.keys()
    image = dict(
        pair.split("=") for word, text in dockerfile() if word == "ENV" for pair in text.split()
    )
    inherited = {key: text for key, text in os.environ.items() if not key.startswith("PARTSTREAM_")}
    inherited.pop("DJANGO_SETTINGS_MODULE", None)
    environment = {
        **inherited,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        **image,
        **given,
        **own,
        "SHOP_STATIC_ROOT": str(static),
        "SHOP_BIND": f"127.0.0.1:{web}",
    }
    made = Site(environment, proxy)
    made.run(compose()["services"]["prepare"]["command"])
    made.run(["python", "manage.py", "seed_shop", "--orders", "300"])
    (collect,) = [text for word, text in dockerfile() if word == "RUN" and "manage.py" in text]
    made.run(shlex.split(collect))
    made.static = static

    configuration = (PROJECT / "nginx.conf").read_text(encoding="utf-8")
    for old, new in [
        ("server web:8000;", f"server 127.0.0.1:{web};"),
        ("listen 80;", f"listen 127.0.0.1:{proxy};"),
        ("alias /srv/static/;", f"alias {static}/;"),
    ]:
        assert old in configuration
        configuration = configuration.replace(old, new)
    main = tmp_path / "nginx.conf"
    main.write_text(
        f"daemon off; pid {tmp_path}/pid; error_log stderr; user {os.environ.get('USER', 'root')};"
        f"events {{}} http {{ access_log off; types {{ text/css css; }}"
        f"client_body_temp_path {tmp_path}/body; proxy_temp_path {tmp_path}/proxy;"
        f"fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u;"
        f"scgi_temp_path {tmp_path}/s;"
        f"{configuration} }}"
    )
    start = [sys.executable, "-m", *words("CMD"), "--no-control-socket"]
    with (
        running(start, environment, lambda: accepts(web)) as made.server,
        running([nginx, "-c", str(main), "-p", str(tmp_path)], environment, lambda: accepts(proxy)),
    ):
        made.web = web
        yield made


def test_site__is_served_as_the_page_says(site):
    status, headers, body = site.get("/api/dashboard/")
    assert status == 200
    walked = [name for part in json.loads(body)["results"] for name in part]
    while token := json.loads(body)["cursor"]:
        status, _, body = site.get(f"/api/dashboard/?cursor={token}")
        assert status == 200
        walked += [name for part in json.loads(body)["results"] for name in part]
    assert walked[:2] == ["meta", "today"]
    assert len(walked) == 12
    assert site.get("/")[0] == 200
    status, headers, _ = site.get("/static/shop/dashboard.css")
    assert (status, headers["Content-Type"]) == (200, "text/css")

    # nginx gives each request its id, and the clients' addresses are theirs.
    assert re.fullmatch("[0-9a-f]{32}", site.get("/api/report/")[1]["X-Request-ID"])
    forged = site.get("/api/report/", **{"X-Forwarded-For": "203.0.113.9"})
    assert forged[0] == 200

    # Health, for the container and for everybody.
    assert json.loads(site.get("/health/")[2]) == {"status": "ok"}
    said = site.run(words("HEALTHCHECK")).stdout
    assert "cache_store" in said
    assert "rate_limit_store" in said

    # Metrics for Prometheus, which asks the server itself; nginx lets nobody else.
    assert site.get("/metrics/")[0] == 403
    status, _, body = site.get("/metrics/", port=site.web)
    assert status == 200
    assert b'partstream_response_seconds_count{outcome="ok",view="api/dashboard/"}' in body

    # DEBUG is off, and nothing that check --deploy reports is partstream's.
    assert site.get("/nowhere/")[0] == 404
    assert b"DEBUG" not in site.get("/nowhere/")[2]
    checked = site.run(["python", "manage.py", "check", "--deploy"])
    assert "partstream." not in checked.stdout + checked.stderr

    # A stop ends it well, and so does the container's.
    site.server.terminate()
    assert site.server.wait(40) == 0


def test_dockerfile__installs_what_there_is():
    (install,) = [text for word, text in dockerfile() if word == "RUN" and "pip" in text]
    arguments = shlex.split(install)
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((TREE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = [re.search(r"\[(.*)\]", word)[1] for word in arguments if word.startswith(".[")]
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
    assert (TREE / arguments[arguments.index("--requirement") + 1]).is_file()
    assert compose()["x-shop"]["build"]["dockerfile"] == "testproject/Dockerfile"


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "gunicorn.conf.py", "nginx.conf"])
def test_page__shows_the_files(name):
    page = (TREE / "docs" / "deployment.md").read_text(encoding="utf-8")
    (shown,) = re.findall(rf"^`testproject/{name}`:\n\n```text\n(.*?)^```", page, re.M | re.S)
    assert shown == (PROJECT / name).read_text(encoding="utf-8")


def test_compose__stops_later_than_the_server():
    """So that the server, not the container's engine, ends requests."""
    namespace: dict[str, object] = {}
    exec((PROJECT / "gunicorn.conf.py").read_text(encoding="utf-8"), namespace)
    grace = compose()["services"]["web"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > namespace["graceful_timeout"]
