"""`lazygraph run`: a plan that was made there runs here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lazygraph import LocalCluster
from tests.cli.commands import LAZYGRAPH, lazygraph, python

ORDERS = """
import datetime, itertools, os, sys, threading
from lazygraph import Graph, delayed, each, group

@delayed
def price(item, amount=1):
    return {"apple": 3, "pear": 4}[item] * amount

@delayed
def total(prices, shipping=0):
    return sum(prices) + shipping

@delayed(resources={"till": 1})
def receipt(sum):
    return f"{sum} paid to process {os.getpid()}"

@delayed
def talk(text):
    print(text)
    os.system(f"echo {text}, again")
    return text

@delayed
def busy():
    for _ in itertools.count():
        pass

@delayed
def blocked():
    print("begun", flush=True)
    threading.Event().wait()

@delayed
def give_up():
    sys.exit(3)

order = group(price.s("apple"), price.s("pear", 2)) | total.s(5)
order_with_receipt = order | receipt.s()
failing = group(price.s("apple"), price.s("melon")) | total.s(5)
talking = talk("hello")
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Where the tasks are defined."""
    return _folder(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """Another folder with a copy of them."""
    return _folder(tmp_path / "there")


def _folder(path: Path) -> Path:
    path.mkdir()
    (path / "orders.py").write_text(ORDERS)
    return path


def plan_of(folder: Path, lazy: str, name: str = "plan.json") -> str:
    """Write the plan of an expression in a process of its own; return where it is."""
    python(folder, f"from orders import *; open({name!r}, 'w').write(({lazy}).to_json())")
    return str(folder / name)


# -- plans -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["threads", "processes", "sync"])
def test_a_plan_made_by_one_process_is_run_by_another(here: Path, there: Path, executor: str) -> None:
    ended = lazygraph(there, "run", plan_of(here, "order"), "--executor", executor)
    assert (ended.status, ended.said, ended.complaint) == (0, "16\n", "")


def test_a_graph_has_a_line_for_each_output(here: Path, there: Path) -> None:
    plan = plan_of(here, "group(price('pear'), talk('good morning'), price('pear')).graph")
    ended = lazygraph(there, "run", plan, "--no-optimize")
    assert ended.status == 0
    assert ended.said.splitlines()[-3:] == ["4", "'good morning'", "4"]


def test_a_plan_may_come_from_standard_input(here: Path, there: Path) -> None:
    text = Path(plan_of(here, "delayed(range).s(3) | each(price.si('pear')) | total.s()")).read_text()
    assert lazygraph(there, "run", "-", given=text).said == "12\n"


class TestOnACluster:
    @pytest.fixture
    def cluster(self, there: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCluster]:
        """Workers that find the tasks, and have what `receipt` asks for."""
        for name in ("LAZYGRAPH_TOKEN", "LAZYGRAPH_TOKEN_FILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.syspath_prepend(str(there))
        with LocalCluster(n_workers=2, resources={"till": 1}) as cluster:
            yield cluster

    def test_it_runs_the_plan(self, here: Path, there: Path, cluster: LocalCluster, tmp_path: Path) -> None:
        plan = plan_of(here, "order | receipt.s()")
        # Elsewhere it is refused, before anything runs: no other executor has such resources.
        refused = lazygraph(there, "run", plan)
        assert refused.status == 2
        assert "executor 'threads' does not honour resources=" in refused.complaint
        token = tmp_path / "token"
        token.write_text(cluster.token)
        ended = lazygraph(there, "run", plan, "--executor", cluster.address, "--token-file", str(token))
        assert (ended.status, ended.complaint) == (0, "")
        assert ended.said.startswith("'16 paid to process ")
        # As every command does, it takes the token from the environment too.
        ended = lazygraph(there, "run", plan, "--executor", cluster.address, LAZYGRAPH_TOKEN=cluster.token)
        assert ended.status == 0, ended.complaint
        stranger = lazygraph(there, "run", plan, "--executor", cluster.address, LAZYGRAPH_TOKEN="another")
        assert (stranger.status, stranger.said) == (2, "")
        # A task that fails there has its traceback here.
        failing = plan_of(here, "price.s('plum') | receipt.s()")
        ended = lazygraph(there, "run", failing, "--executor", cluster.address, "--token-file", str(token))
        assert (ended.status, ended.said) == (1, "")
        assert "KeyError: 'plum'" in ended.complaint
        assert f'File "{there / "orders.py"}", line 7, in price' in ended.complaint
        # Nor does one hold this up that never ends.
        endless = plan_of(here, "blocked.s()")
        words = ["--executor", cluster.address, "--token-file", str(token), "--timeout", "0.2", "--json"]
        ended = lazygraph(there, "run", endless, *words)
        assert (ended.status, json.loads(ended.said)) == (1, {"results": None, "failures": []})


# -- what a module has -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("found = price('pear', 3)", "12\n"),
        ("found = order", "16\n"),
        ("found = order.graph", "16\n"),
        ("found = group(price('pear'), price('apple')).graph", "4\n3\n"),
        ("found = {'all': [price('pear'), (order, 7)]}", "{'all': [4, (16, 7)]}\n"),
        ("def found(): return price('pear')", "4\n"),
        ("import networkx\nfound = networkx.DiGraph()\nfound.add_node('a', function=dict, args=())", "{}\n"),
    ],
    ids=["promise", "canvas", "graph", "outputs", "collection", "function", "networkx"],
)
def test_something_lazy_of_a_module(here: Path, written: str, said: str) -> None:
    (here / "today.py").write_text(f"from orders import *\n{written}\n")
    ended = lazygraph(here, "run", "today:found")
    assert (ended.status, ended.said, ended.complaint) == (0, said, "")


def test_modules_are_imported_first_and_their_hooks_are_for_workers(here: Path) -> None:
    (here / "first.py").write_text(
        "import lazygraph, sys; sys.argv.append('first')\n@lazygraph.worker_setup\ndef no(): 1/0"
    )
    (here / "second.py").write_text("import sys; sys.argv.append('second')")
    (here / "today.py").write_text("import sys\nfrom orders import *\nfound = talk(' '.join(sys.argv[-2:]))")
    ended = lazygraph(here, "run", "today:found", "--preload", "second", "-A", "first", "--json")
    assert json.loads(ended.said)["results"] == ["first second"]


def test_nothing_is_imported_that_nobody_names(here: Path, there: Path) -> None:
    (there / "extra.py").write_text("open('imported', 'w')")
    assert lazygraph(there, "run", plan_of(here, "order")).status == 0
    assert not (there / "imported").exists()
    assert lazygraph(there, "run", plan_of(here, "order"), "--preload", "extra").status == 0
    assert (there / "imported").exists()


# -- what it prints --------------------------------------------------------------------------------


def test_json_marks_what_it_has_not(here: Path) -> None:
    (here / "today.py").write_text(
        "from orders import *\nimport datetime\n"
        "class Odd:\n    def __repr__(self): raise ValueError('no')\n"
        "ring = []; ring.append(ring)\n"
        "values = [(1, 'two', None, 2.5), {'k': [True]}, datetime.date(2026, 1, 2), {3: 4}, float('nan'), "
        "{'$repr': 1}, {5}]\n"
        "odd = delayed(Odd)()\n"
        "found = [delayed(values), delayed(list)(delayed([ring])), odd]\n"
    )
    ended = lazygraph(here, "run", "today:found", "--json")
    assert ended.status == 0, ended.complaint
    assert json.loads(ended.said) == {
        "failures": [],
        "results": [
            [
                [
                    [1, "two", None, 2.5],
                    {"k": [True]},
                    {"$repr": "datetime.date(2026, 1, 2)"},
                    {"$repr": "{3: 4}"},
                    {"$repr": "nan"},
                    {"$repr": "{'$repr': 1}"},
                    {"$repr": "{5}"},
                ],
                [[{"$repr": "[[...]]"}]],
                {"$repr": "<Odd, whose repr() raises ValueError>"},
            ]
        ],
    }


def test_what_tasks_print_stays_out_of_the_document(here: Path) -> None:
    ended = lazygraph(here, "run", plan_of(here, "talk.s('psst')"), "--json")
    assert json.loads(ended.said) == {"results": ["psst"], "failures": []}
    assert ended.complaint == "psst\npsst, again\n"
    ended = lazygraph(here, "run", plan_of(here, "talk.s('psst')"))
    assert sorted(ended.said.splitlines()) == ["'psst'", "psst", "psst, again"]


# -- failures --------------------------------------------------------------------------------------

FAILING = "group(price.s('pear'), price.s('plum'), price.s('apple'))"


def test_a_failed_task_is_told_with_its_traceback(here: Path, there: Path) -> None:
    plan = plan_of(here, FAILING)
    ended = lazygraph(there, "run", plan)
    assert (ended.status, ended.said) == (1, "")
    first, *_, note = ended.complaint.splitlines()
    assert first == "Traceback (most recent call last):"
    # Only the user's part of it.
    assert ended.complaint.count("  File ") == ended.complaint.count("orders.py") == 1
    assert "KeyError: 'plum'" in ended.complaint
    assert note.startswith("lazygraph: node 'price' (key price-")
    told = json.loads(lazygraph(there, "run", plan, "--json").said)
    assert told["results"] is None
    (failure,) = told["failures"]
    assert (failure["node"], failure["exception"], failure["attempt"]) == ("price", "KeyError", 1)
    assert failure["origin"] == "<string>:1"


@pytest.mark.parametrize("way", ["collect", "skip"])
def test_failures_may_be_collected_or_skipped(here: Path, way: str) -> None:
    plan = plan_of(here, FAILING)
    told = lazygraph(here, "run", plan, "--on-error", way, "--json")
    assert told.status == 1
    assert "KeyError: 'plum'" in told.complaint
    document = json.loads(told.said)
    ((pear, *between, apple),) = document["results"]
    assert (pear, apple) == (4, 3)
    (failure,) = document["failures"]
    assert between == ([{"$failure": failure}] if way == "collect" else [])
    # What a group goes on without is no failure of the run.
    without = f"group([price.s('pear'), price.s('plum')], on_error={way!r}) | delayed(len).s()"
    assert lazygraph(here, "run", plan_of(here, without)).status == 0


def test_a_task_that_exits_is_a_task_that_fails(here: Path) -> None:
    ended = lazygraph(here, "run", plan_of(here, "give_up.s()"))
    assert (ended.status, ended.said) == (1, "")
    assert "SystemExit: 3" in ended.complaint


def test_a_run_that_takes_too_long_is_cancelled(here: Path) -> None:
    ended = lazygraph(here, "run", plan_of(here, "busy.s() | talk.si('never')"), "--timeout", "0.2", "--json")
    assert ended.status == 1
    assert json.loads(ended.said) == {"results": None, "failures": []}
    assert ended.complaint == "the run has not ended within 0.2 s, and was cancelled\n"
    quick = lazygraph(here, "run", plan_of(here, "order"), "--timeout", "50")
    assert (quick.status, quick.said) == (0, "16\n")


def test_an_interrupt_ends_it_at_once(here: Path) -> None:
    process = subprocess.Popen(
        [LAZYGRAPH, "run", plan_of(here, "blocked.s()")],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "interrupted\n")
    assert process.returncode == 130


# -- what cannot be carried out --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("nowhere.json", "'nowhere.json' is neither the file of a plan nor of the form MODULE:attr"),
        ("orders.py", "orders.py: this is no JSON: "),
        ("orders", "neither the file of a plan nor of the form MODULE:attr"),
        ("orders:", "neither the file of a plan nor of the form MODULE:attr"),
        ("nowhere:x", "nowhere:x: there is no module 'nowhere' in "),
        ("orders:price", "orders:price is <delayed function 'price'>, and nothing calls it; name a call of it,"),
        ("orders:nothing", "orders has no attribute 'nothing'"),
        ("orders:ORDERS", "orders has no attribute 'ORDERS'"),
        ("orders:os", "orders:os is module, and nothing in it is lazy; name a promise,"),
        ("broken:x", "ZeroDivisionError: division by zero"),
        ("wrong:raises", "wrong:raises was called, and raised:\nTraceback (most recent call last):\n  File "),
        ("wrong:needs", "TypeError: needs() missing 1 required positional argument: 'x'"),
        ("wrong:hole", "price(item, amount=1) cannot be called like this: missing a required argument: 'item'"),
        ("orders:order -A broken", "-A broken could not be imported:\nTraceback (most recent call last):\n  File "),
        ("orders:order --preload none", "--preload none: there is no module 'none' in "),
        ("orders:order --executor thread", "there is no executor 'thread'"),
        ("orders:order --executor tcp://127.0.0.1:1", "no lazygraph scheduler answers at tcp://127.0.0.1:1"),
        ("orders:order --token-file orders.py", "--token-file is for a cluster, and --executor threads is none"),
        ("orders:order --timeout -1", "--timeout"),
        ("orders:order --timeout 1 --executor sync", "tasks run in the one thread that could end them; take threads"),
        ("orders:order --on-error carry-on", "--on-error"),
        ("", "Missing argument"),
    ],
)
def test_what_cannot_be_done_ends_with_2_and_a_sentence(
    here: Path, words: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAZYGRAPH_TOKEN", "some token")
    (here / "broken.py").write_text("1 / 0")
    (here / "wrong.py").write_text(
        "from orders import *\ndef raises(): 1 / 0\ndef needs(x): ...\nhole = price.s() | total.s()"
    )
    ended = lazygraph(here, "run", *words.split())
    assert (ended.status, ended.said) == (2, "")
    assert sentence in ended.complaint
    # The user's own code may have a traceback, ours has not.
    assert f"{os.sep}lazygraph{os.sep}" not in ended.complaint.replace(str(here), "")


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        ("orders:cost", "node 1: function 'orders:cost' is unknown here: "),
        ("broken:x", "names a module that cannot be imported:\nTraceback (most recent call last):\n  File "),
        ("price", "'price' is no function; its name is written 'module:name'"),
        ("__main__:price", "function '__main__:price' is unknown here"),
    ],
)
def test_of_a_plan_that_is_wrong_nothing_is_run(here: Path, function: str, sentence: str) -> None:
    (here / "broken.py").write_text("1 / 0")
    nodes = [{"id": 0, "function": "orders:talk", "args": ["begun"]}, {"id": 1, "function": function, "args": []}]
    (here / "plan.json").write_text(json.dumps({"lazygraph": "graph", "version": 1, "nodes": nodes}))
    ended = lazygraph(here, "run", "plan.json")
    assert (ended.status, ended.said) == (2, "")
    assert "plan.json" in ended.complaint and sentence in ended.complaint


# -- looking at plans ------------------------------------------------------------------------------


def test_explain_says_what_would_run(here: Path, there: Path) -> None:
    plan = plan_of(here, "order | talk.s()")
    ended = lazygraph(there, "explain", plan)
    assert (ended.status, ended.complaint) == (0, "")
    assert "critical path" in ended.said and "total" in ended.said
    as_written = json.loads(lazygraph(there, "explain", plan, "--no-optimize", "--json").said)
    assert (as_written["nodes"], as_written["depth"], as_written["outputs"]) == (4, 3, ["talk"])
    assert json.loads(lazygraph(there, "explain", "orders:order", "--json").said)["counts"] == {"price": 2, "total": 1}
    wrong = lazygraph(there, "explain", "orders:nothing")
    assert (wrong.status, wrong.said) == (2, "")


def test_explain_asks_an_executor(here: Path) -> None:
    said = lazygraph(here, "explain", "orders:order_with_receipt", "--executor", "threads").said
    assert "refused: executor 'threads' does not honour resources=" in said
    wrong = lazygraph(here, "explain", "orders:order", "--executor", "nobody")
    assert (wrong.status, wrong.said) == (2, "")
    assert "nobody" in wrong.complaint


def test_explain_analyze_runs_it_and_says_how_that_went(here: Path) -> None:
    ended = lazygraph(here, "explain", "orders:order", "--analyze", "--report", "order.html")
    assert (ended.status, ended.complaint) == (0, "")
    assert "3 of 3 tasks done" in ended.said and "critical path" in ended.said and "price" in ended.said
    assert (here / "order.html").read_text().startswith("<!doctype html>")
    said = lazygraph(here, "explain", "orders:talking", "--analyze", "--executor", "sync", "--json")
    assert sorted(said.complaint.splitlines()) == ["hello", "hello, again"]
    plain = json.loads(said.said)
    assert (plain["executor"], plain["done"], [group["name"] for group in plain["groups"]]) == ("sync", 1, ["talk"])


def test_explain_analyze_of_what_fails_says_how_far_it_came(here: Path) -> None:
    ended = lazygraph(here, "explain", "orders:failing", "--analyze")
    assert ended.status == 1
    assert "KeyError: 'melon'" in ended.complaint
    assert "1 of 3 tasks done" in ended.said
    wrong = lazygraph(here, "explain", "orders:order", "--report", "order.html")
    assert (wrong.status, wrong.said) == (2, "")
    assert "add --analyze" in wrong.complaint


def test_graph_draws_it(here: Path, there: Path) -> None:
    plan = plan_of(here, "order")
    dot = lazygraph(there, "graph", plan)
    assert dot.status == 0
    assert dot.said.startswith("digraph lazygraph {") and dot.said.count("->") == 2
    for name, begin in (("order.svg", "<svg"), ("order.dot", "digraph lazygraph {")):
        ended = lazygraph(there, "graph", plan, "-o", name)
        assert (ended.status, ended.said, ended.complaint) == (0, "", "")
        assert (there / name).read_text().startswith(begin)
    for name, sentence in (("order.tune", "a picture has no format 'tune'"), ("no/order.svg", "No such file")):
        ended = lazygraph(there, "graph", plan, "-o", name)
        assert ended.status == 2
        assert sentence in ended.complaint
