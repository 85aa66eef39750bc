"""The scheduler's page, `/status.json` and `/health`, as a browser sees them."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from operator import add
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, HTTPSHandler, Request, build_opener, urlopen

import pytest
from click.testing import CliRunner

from lazygraph import TLS, Client, LocalCluster, wait
from lazygraph.cli.main import main
from lazygraph.errors import ClusterFailed


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=1, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster


def page(cluster: LocalCluster, path: str) -> str:
    assert cluster.dashboard_link is not None
    with urlopen(cluster.dashboard_link + path, timeout=20) as reply:
        assert reply.status == 200
        text: str = reply.read().decode()
    return text


def test_health(cluster: LocalCluster) -> None:
    assert page(cluster, "health") == "ok"


def test_status_says_who_serves_and_what_runs(cluster: LocalCluster) -> None:
    with Client(cluster) as client:
        client.wait_for_workers(1)
        future = client.submit(bytes, 200_000)
        wait([future])
        said = json.loads(page(cluster, "status.json"))
        ((address, worker),) = said["workers"].items()
        assert address.startswith("tcp://127.0.0.1:")
        assert (worker["name"], worker["threads"]) == ("worker-1", 1)
        (run,) = said["runs"]
        assert (run["tasks"], run["done"], run["open"]) == (1, 1, 0)
        assert run["bytes_kept"] > 200_000
        assert client.submit(add, 1, 2).result() == 3


def test_the_page_names_the_workers(cluster: LocalCluster) -> None:
    with Client(cluster) as client:
        client.wait_for_workers(1)
        text = page(cluster, "")
    assert "<!doctype html>" in text
    assert "worker-1" in text


def test_other_paths_are_not_there(cluster: LocalCluster) -> None:
    with pytest.raises(HTTPError, match="404"):
        page(cluster, "secrets")


def test_an_address_that_is_none_ends_the_start(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ClusterFailed, match="before it served"):
        LocalCluster(n_workers=1, dashboard_address="nonsense")
    assert "is not of the form host:port" in capfd.readouterr().err


def test_without_an_address_there_is_no_page() -> None:
    with LocalCluster(n_workers=1) as cluster:
        assert cluster.dashboard_link is None


# -- off loopback ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, ssl.SSLContext]]:
    """A page that others on the network reach: its link, the token, and what trusts its certificate."""
    folder = tmp_path_factory.mktemp("web") / "certs"
    assert CliRunner().invoke(main, ["certs", "create", str(folder)]).exit_code == 0
    files = TLS(*(str(folder / name) for name in ("ca.pem", "node.pem", "node-key.pem")))
    with LocalCluster(1, dashboard_address="0.0.0.0:0", tls=files) as cluster:
        assert cluster.dashboard_link is not None
        link = cluster.dashboard_link.replace("0.0.0.0", "127.0.0.1")
        yield link, cluster.token, ssl.create_default_context(cafile=str(folder / "ca.pem"))


@pytest.mark.parametrize("path", ["", "status.json"])
@pytest.mark.parametrize("header", [None, "Bearer ", "Bearer wrong", "Basic {token}", "{token}", "Bearer \xe9"])
def test_who_has_not_the_token_sees_nothing(
    wide: tuple[str, str, ssl.SSLContext], path: str, header: str | None
) -> None:
    link, token, trust = wide
    assert link.startswith("https://")
    headers = {} if header is None else {"Authorization": header.format(token=token)}
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(link + path, headers=headers), timeout=20, context=trust)
    assert refused.value.code == 401
    said = refused.value.read().decode()
    assert "Token of this cluster" in said
    assert "worker-1" not in said


def test_who_has_the_token_reads(wide: tuple[str, str, ssl.SSLContext]) -> None:
    link, token, trust = wide
    request = Request(link + "status.json", headers={"Authorization": f"Bearer {token}"})
    with urlopen(request, timeout=20, context=trust) as reply:
        assert "workers" in json.loads(reply.read())


def test_a_browser_logs_in_once(wide: tuple[str, str, ssl.SSLContext]) -> None:
    link, token, trust = wide
    cookies = HTTPCookieProcessor()
    browser = build_opener(HTTPSHandler(context=trust), cookies)
    with pytest.raises(HTTPError, match="401"):
        browser.open(link + "login", urlencode({"token": "wrong"}).encode(), timeout=20)
    with browser.open(link + "login", urlencode({"token": token}).encode(), timeout=20) as reply:
        assert "worker-1" in reply.read().decode()
    (cookie,) = cookies.cookiejar
    assert cookie.secure
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert token not in (cookie.value or "")
    with browser.open(link + "status.json", timeout=20) as reply:
        assert reply.status == 200


def test_a_page_off_loopback_needs_certificates_too(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ClusterFailed, match="before it served"):
        LocalCluster(1, dashboard_address="0.0.0.0:0")
    assert "in the clear" in capfd.readouterr().err


def test_a_name_from_elsewhere_does_not_open_the_page_of_this_machine(cluster: LocalCluster) -> None:
    assert cluster.dashboard_link is not None
    with pytest.raises(HTTPError, match="403"):
        urlopen(Request(cluster.dashboard_link, headers={"Host": "evil.example"}), timeout=20)
