"""TLS with certificates on both sides: who gets in, who does not, and that all of a cluster works over it."""

from __future__ import annotations

import asyncio
import stat
from operator import add
from pathlib import Path

import pytest
from click.testing import CliRunner

from lazygraph import TLS, Client, LocalCluster
from lazygraph.cli.main import main
from lazygraph.errors import CannotConnect, InvalidOption
from lazygraph.executors.cluster import messages as m
from lazygraph.executors.cluster.net.hello import connect, serve
from lazygraph.executors.cluster.net.link import Body, Link
from lazygraph.executors.cluster.tls import check_listening, is_loopback, tls_of
from tests.cluster.commands import Lazygraph


def made(folder: Path, *words: str) -> Path:
    result = CliRunner().invoke(main, ["certs", "create", str(folder), *words])
    assert result.exit_code == 0, result.output
    return folder


def of(folder: Path, name: str) -> TLS:
    return TLS(str(folder / "ca.pem"), str(folder / f"{name}.pem"), str(folder / f"{name}-key.pem"))


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("tls") / "certs")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of another authority."""
    return made(tmp_path_factory.mktemp("tls") / "others", "--host", "elsewhere.example")


# -- making them -----------------------------------------------------------------------------------


def test_only_their_owner_can_read_the_files(certs: Path) -> None:
    files = sorted(certs.iterdir())
    names = ["ca-key.pem", "ca.pem", "client-key.pem", "client.pem", "node-key.pem", "node.pem"]
    assert [file.name for file in files] == names
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE(certs.stat().st_mode) == 0o700


def test_nothing_is_overwritten(certs: Path) -> None:
    before = (certs / "ca.pem").read_bytes()
    result = CliRunner().invoke(main, ["certs", "create", str(certs)])
    assert result.exit_code == 1
    assert "is not overwritten" in result.output
    assert (certs / "ca.pem").read_bytes() == before


# -- a whole cluster -------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", ["1", "0"])
def test_all_connections_of_a_cluster_speak_tls(certs: Path, shared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Client and workers with the scheduler, workers with each other and with the client; large values, too."""
    monkeypatch.setenv("LAZYGRAPH_SHARED_MEMORY", shared)
    with (
        LocalCluster(2, tls=of(certs, "node")) as cluster,
        Client(cluster.address, token=cluster.token, tls=of(certs, "client")) as client,
    ):
        client.wait_for_workers(2)
        there = list(client.scheduler_info()["workers"])
        assert [address.partition("://")[0] for address in (cluster.address, *there)] == ["tls"] * 3
        one = client.submit(bytes, 20_000_000, workers=[there[0]])
        both = client.submit(add, one, b"end", workers=[there[1]])
        value = both.result()
        assert (len(value), value[-3:]) == (20_000_003, b"end")
        assert sum(future.result() for future in client.map(abs, range(1000))) == 499_500
        kept = client.scatter(bytes(5_000_000))
        assert client.submit(len, kept).result() == 5_000_000


def test_a_cluster_takes_its_certificates_from_the_environment(
    lazygraph: Lazygraph, certs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = of(certs, "node")
    for name, file in (("CA", node.ca), ("CERT", node.cert), ("KEY", node.key)):
        monkeypatch.setenv(f"LAZYGRAPH_TLS_{name}", file)
    address = lazygraph("scheduler", "--port", "0").line().split()[2].rstrip(";")
    assert address.startswith("tls://127.0.0.1:")
    assert "has joined" in lazygraph("worker", address).line()
    with Client(address) as client:
        assert client.submit(add, 1, 2).result() == 3


# -- who does not get in ---------------------------------------------------------------------------


def ignored(link: Link, message: m.Message, body: Body) -> None:
    pass


def knock(server: TLS | None, caller: TLS | None, scheme: str, host: str = "127.0.0.1") -> str:
    """Return what a caller who knows the token is told."""

    async def both() -> str:
        ends: asyncio.Queue[Exception | None] = asyncio.Queue()
        joined: asyncio.Queue[Link] = asyncio.Queue()
        listening = await serve(
            "127.0.0.1" if host == "localhost" else host,
            0,
            "secret",
            roles=["client"],
            on_link=lambda link, role: joined.put_nowait(link),
            on_message=ignored,
            on_lost=lambda link, error: ends.put_nowait(error),
            greeting_seconds=5.0,
            tls=server,
        )
        try:
            link = await connect(
                f"{scheme}://{host}:{listening.port}",
                "client",
                "secret",
                on_message=ignored,
                on_lost=lambda link, error: ends.put_nowait(error),
                timeout=10.0,
                tls=caller,
            )
        except CannotConnect as error:
            return str(error)
        else:
            there = await joined.get()
            link.close()
            there.close()
            await ends.get()
            await ends.get()
            return "in"
        finally:
            listening.close()
            for _ in range(20):  # what was refused is closed in the loop
                await asyncio.sleep(0)

    return asyncio.run(both())


def test_with_certificates_of_one_authority_one_gets_in(certs: Path) -> None:
    assert knock(of(certs, "node"), of(certs, "client"), "tls") == "in"
    assert knock(of(certs, "node"), of(certs, "node"), "tls", "localhost") == "in"


def test_a_caller_of_another_authority_does_not_get_in(certs: Path, others: Path) -> None:
    strange = TLS(of(certs, "client").ca, of(others, "client").cert, of(others, "client").key)
    assert "does not accept this side's certificate" in knock(of(certs, "node"), strange, "tls")


def test_a_server_of_another_authority_is_not_spoken_to(certs: Path, others: Path) -> None:
    assert "certificate is not accepted here" in knock(of(others, "node"), of(certs, "client"), "tls")


def test_a_client_certificate_cannot_serve(certs: Path) -> None:
    assert "certificate is not accepted here" in knock(of(certs, "client"), of(certs, "client"), "tls")


def test_a_certificate_is_good_for_its_hosts_only(tmp_path: Path) -> None:
    folder = made(tmp_path / "certs", "--host", "worker.example")
    assert "certificate is not accepted here" in knock(of(folder, "node"), of(folder, "client"), "tls", "127.0.0.2")


def test_a_caller_without_tls_is_told(certs: Path) -> None:
    assert "its address is written tls://host:port" in knock(of(certs, "node"), None, "tcp")


def test_a_caller_with_tls_at_a_server_without_is_told(certs: Path) -> None:
    assert "perhaps it does not speak TLS" in knock(None, of(certs, "client"), "tls")


def test_nothing_goes_in_the_clear_where_tls_was_asked_for(certs: Path) -> None:
    assert "its address must be tls://" in knock(None, of(certs, "client"), "tcp")


def test_an_address_with_tls_needs_certificates() -> None:
    assert "LAZYGRAPH_TLS_CA" in knock(None, None, "tls")


# -- who may listen --------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST"])
def test_loopback_needs_nothing(host: str) -> None:
    assert is_loopback(host)
    check_listening(host, None, insecure=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", ""])
def test_elsewhere_it_is_tls_or_said_aloud(host: str, certs: Path) -> None:
    with pytest.raises(InvalidOption, match=r"in the clear.*certs create.*--insecure"):
        check_listening(host, None, insecure=False)
    check_listening(host, None, insecure=True)
    check_listening(host, of(certs, "node"), insecure=False)


@pytest.mark.parametrize("words", [["scheduler", "--port", "0"], ["worker", "tcp://127.0.0.1:1"]])
def test_commands_refuse_to_listen_off_loopback_without(lazygraph: Lazygraph, words: list[str]) -> None:
    status, said = lazygraph(*words, "--host", "0.0.0.0", LAZYGRAPH_TOKEN="secret").rest()
    assert status == 1
    assert "say --insecure" in said


def test_a_local_cluster_refuses_too() -> None:
    with pytest.raises(InvalidOption, match="in the clear"):
        LocalCluster(1, host="0.0.0.0")


def test_a_part_of_the_files_is_refused(certs: Path) -> None:
    with pytest.raises(InvalidOption, match=r"--tls-cert .LAZYGRAPH_TLS_CERT. and --tls-key"):
        tls_of({"ca": str(certs / "ca.pem")})


def test_files_that_do_not_fit_are_named(certs: Path, others: Path) -> None:
    with pytest.raises(InvalidOption, match="certs create DIR"):
        TLS(of(certs, "node").ca, of(certs, "node").cert, of(others, "node").key).server_side()
    with pytest.raises(InvalidOption, match="No such file"):
        TLS("/nowhere/ca.pem", "/nowhere/cert.pem", "/nowhere/key.pem").client_side()
