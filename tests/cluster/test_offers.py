"""Queues and resources of workers: on the command line, in `LocalCluster`, and what the scheduler knows of them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from lazygraph import Client, LocalCluster
from lazygraph.errors import InvalidOption
from lazygraph.executors.cluster.offers import Offer, offers_of, queues_of, resources_of
from tests.cluster.commands import Lazygraph, Scheduler


def known(client: Client) -> dict[str, tuple[list[str], dict[str, float]]]:
    """What the scheduler knows of its workers: by name, their queues and resources."""
    workers = client.scheduler_info()["workers"].values()
    return {each["name"]: (each["queues"], each["resources"]) for each in workers}


class TestTexts:
    @pytest.mark.parametrize(
        ("given", "queues"),
        [
            (["high,default"], ("high", "default")),
            (["high", "low, high"], ("high", "low")),
            (["high-priority"], ("high-priority",)),
        ],
    )
    def test_queues(self, given: list[str], queues: tuple[str, ...]) -> None:
        assert queues_of(given, "-Q") == queues

    @pytest.mark.parametrize("given", ["", "high,", ",", "high,,low"])
    def test_queues_without_a_name(self, given: str) -> None:
        with pytest.raises(InvalidOption, match=r"-Q: names of queues .* as in high,default"):
            queues_of([given], "-Q")

    def test_resources(self) -> None:
        assert resources_of("gpu=1, mem=2.5,disk=0", "--resources") == {"gpu": 1.0, "mem": 2.5, "disk": 0.0}

    @pytest.mark.parametrize("given", ["gpu", "=1", "gpu=", "gpu=many", "gpu=-1", "gpu=nan", "gpu=inf", "gpu=1,", ""])
    def test_resources_that_are_none(self, given: str) -> None:
        with pytest.raises(InvalidOption, match=r"--resources: .* gpu=1,mem=2.5"):
            resources_of(given, "--resources")

    def test_an_offer_survives_the_command_line(self) -> None:
        offer = Offer("alice", 3, ("high", "default"), {"gpu": 1.0, "mem": 0.1})
        words = offer.words()
        said = dict(zip(words[::2], words[1::2], strict=True))
        assert queues_of([said["-Q"]], "") == offer.queues
        assert resources_of(said["--resources"], "") == offer.resources
        assert (said["--name"], said["--threads"]) == ("alice", "3")


class TestOneForAllOrOneForEach:
    def test_nothing_said(self) -> None:
        assert offers_of(None, 2, None, None, 3) == [Offer("", 2, ("default",), {})] * 3

    def test_one_for_all(self) -> None:
        offers = offers_of(2, 1, ["high", "default"], {"gpu": 1}, 8)
        assert offers == [Offer("", 1, ("high", "default"), {"gpu": 1.0})] * 2
        assert offers_of(2, 1, "high,default", None, 8)[0].queues == ("high", "default")

    def test_one_for_each(self) -> None:
        offers = offers_of(None, 1, [["high"], "default", ("high", "default")], [{}, {"gpu": 1}, {}], 8)
        assert [offer.queues for offer in offers] == [("high",), ("default",), ("high", "default")]
        assert [offer.resources for offer in offers] == [{}, {"gpu": 1.0}, {}]

    @pytest.mark.parametrize(
        ("count", "queues", "resources", "says"),
        [
            (3, [["high"], ["low"]], None, "queues=...): 2 of them for 3 workers"),
            (None, [["high"], ["low"]], [{"gpu": 1}], "resources=...): 1 of them for 2 workers"),
            (1, 7, None, "queues=...): 7 is no list of names"),
            (1, [], None, "queues=...): names of queues are wanted"),
            (1, None, "gpu=1", "resources=...): 'gpu=1' is no dict"),
            (1, None, {"gpu": "many"}, "resources=...): 'gpu'='many' is no name with an amount"),
            (1, None, {"g,pu": 1}, "'g,pu'=1 is no name"),
        ],
    )
    def test_what_is_wrong(self, count: int | None, queues: Any, resources: Any, says: str) -> None:
        with pytest.raises(InvalidOption, match=re.escape(says)):
            offers_of(count, 1, queues, resources, 1)


class TestTheSchedulerKnows:
    def test_what_a_command_line_says(self, lazygraph: Lazygraph, scheduler: Scheduler) -> None:
        _, address, _ = scheduler
        plain = lazygraph("worker", address, "--name", "plain")
        gpu = lazygraph(
            "worker", address, "--name", "gpu", "-Q", "high-priority,default", "--resources", "gpu=1,mem=2.5"
        )
        assert all("has joined" in worker.line() for worker in (plain, gpu))
        with Client(address) as client:
            client.wait_for_workers(2)
            assert known(client) == {
                "plain": (["default"], {}),
                "gpu": (["high-priority", "default"], {"gpu": 1.0, "mem": 2.5}),
            }

    def test_what_a_local_cluster_was_given(self) -> None:
        queues = [["high"], ["high", "default"]]
        with LocalCluster(queues=queues, resources={"gpu": 2}) as cluster, Client(cluster) as client:
            client.wait_for_workers(2)
            assert known(client) == {
                "worker-1": (["high"], {"gpu": 2.0}),
                "worker-2": (["high", "default"], {"gpu": 2.0}),
            }

    @pytest.mark.parametrize(
        ("words", "sentence"), [("-Q ,", "-Q: names of queues"), ("--resources gpu", "--resources: 'gpu'=''")]
    )
    def test_a_wrong_command_line_is_refused(self, lazygraph: Lazygraph, words: str, sentence: str) -> None:
        status, said = lazygraph("worker", "tcp://127.0.0.1:1", *words.split()).rest()
        assert (status, sentence in said, "Traceback" in said) == (1, True, False)
