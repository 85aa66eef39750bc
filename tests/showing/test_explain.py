"""The figures of a graph against a slow and plain count, and the text that a terminal shows."""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lazygraph
from lazygraph import delayed, explain
from lazygraph.errors import InvalidOption, UnsupportedByExecutor
from lazygraph.showing.explain import Pass, Profile, Use, profile, shorten_list, shorten_path

Dag = list[list[int]]


@st.composite
def _dags(draw: st.DrawFn) -> Dag:
    size = draw(st.integers(0, 12))
    return [draw(st.lists(st.integers(0, node - 1), max_size=4)) if node else [] for node in range(size)]


def measure(dag: Dag, names: list[str] | None = None, outputs: list[int] | None = None) -> Profile:
    offsets, inputs = [0], []
    for sources in dag:
        inputs += sources
        offsets.append(len(inputs))
    return profile(len(dag), offsets, inputs, names or [str(n) for n in range(len(dag))], outputs or [])


@given(_dags())
def test_figures_equal_a_brute_force(dag: Dag) -> None:
    @cache
    def paths(node: int) -> tuple[tuple[int, ...], ...]:
        """Every way to the node from any root."""
        return tuple((*way, node) for source in set(dag[node]) for way in paths(source)) or ((node,),)

    found = measure(dag)
    level = [max(map(len, paths(node))) - 1 for node in range(len(dag))]
    assert found.nodes == len(dag)
    assert found.edges == sum(map(len, dag))
    assert found.roots == sum(not sources for sources in dag)
    assert found.depth == max(level, default=-1) + 1
    assert found.width == max(map(level.count, level), default=0)
    assert found.parallelism == pytest.approx(len(dag) / found.depth if dag else 0)
    longest = tuple(int(name) for name in found.critical_path)
    assert len(longest) == found.depth
    assert not dag or longest in paths(longest[-1])


@given(_dags(), st.data())
def test_names_are_counted_most_common_first(dag: Dag, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from("abc"), min_size=len(dag), max_size=len(dag)))
    found = measure(dag, names, list(range(len(dag))))
    assert dict(found.counts) == {name: names.count(name) for name in names}
    assert [count for _, count in found.counts] == sorted((count for _, count in found.counts), reverse=True)
    assert found.outputs == tuple(names)


@given(_dags(), st.lists(st.text(), max_size=40), st.integers(0, 9))
def test_the_text_stays_within_a_screen(dag: Dag, odd: list[str], passes: int) -> None:
    names = (odd * (len(dag) + 1))[: len(dag)] if odd else [str(node) for node in range(len(dag))]
    found = measure(dag, names, list(range(len(dag))))
    uses = (Use("retries", 3, "lazygraph", "done by lazygraph"),) * passes
    found = replace(found, passes=(Pass("fuse", 9, 3),) * passes, options=uses)
    lines = str(found).splitlines()
    assert len(lines) <= 32
    assert lines[0].startswith(f"{len(dag)} node")


def test_the_text_as_it_stands() -> None:
    dag: Dag = [[], [0], [0], [0], [1, 2], [4, 3], [5]]
    names = ["list", "parse", "parse", "parse", "merge", "merge", "report"]
    found = measure(dag, names, [6])
    passes = (Pass("cull", 9, 7, "no output needs 2 × plot"), Pass("share", 7, 7), Pass("fuse", 7, 7, "all are read"))
    uses = (Use("retries", 3, "lazygraph", "done by lazygraph"), Use("resources", 1, "refused", "refused: no gpu"))
    found = replace(found, passes=passes, executor="threads", options=uses)
    assert str(found).splitlines() == [
        "7 nodes, 8 edges, 5 levels",
        "  side by side   3 at most, 1.4 on average",
        "  start at once  1",
        "  critical path  5 nodes: list → parse → merge ×2 → report",
        "  outputs        report",
        "  values held    4 at most, outputs included, by one worker in this order",
        "  nodes by name",
        "    parse   3  ▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇",
        "    merge   2  ▇▇▇▇▇▇▇▇▇▇▇▇▇",
        "    list    1  ▇▇▇▇▇▇▇",
        "    report  1  ▇▇▇▇▇▇▇",
        "  optimizer",
        "    cull   9 → 7 nodes  (-2)  no output needs 2 × plot",
        "    share  7 → 7 nodes  (nothing to do)",
        "    fuse   7 → 7 nodes  all are read",
        "  options on 'threads'",
        "    retries    3 nodes  done by lazygraph",
        "    resources  1 node   refused: no gpu",
    ]


def test_an_empty_graph_is_one_line() -> None:
    assert str(measure([])) == "0 nodes, 0 edges, 0 levels"


def test_plain_values_for_json() -> None:
    found = profile(2, [0, 0, 1], [0], ["a", "b"], [1], [("cull", 3, 2), ("fuse", 2, 1, "1 chain of 2 joined")])
    assert json.loads(json.dumps(found.to_dict())) == {
        "nodes": 2,
        "edges": 1,
        "width": 1,
        "depth": 2,
        "roots": 1,
        "critical_path": ["a", "b"],
        "outputs": ["b"],
        "on_failure": [],
        "counts": {"a": 1, "b": 1},
        "passes": [
            {"name": "cull", "before": 3, "after": 2, "why": ""},
            {"name": "fuse", "before": 2, "after": 1, "why": "1 chain of 2 joined"},
        ],
        "parallelism": 1.0,
        "held": 2,
        "executor": "",
        "options": [],
        "estimate": None,
        "cache": [],
    }


def test_the_table_for_notebooks_escapes_names() -> None:
    table = measure([[], [0]], ["<script>", "a & b"], [1])._repr_html_()
    assert "<script>" not in table
    assert "&lt;script&gt; → a &amp; b" in table


def test_a_chain_of_100_000() -> None:
    size = 100_000
    found = profile(size, [0, *range(size)], range(size - 1), ["inc"] * size, [size - 1])
    assert (found.width, found.depth, len(found.critical_path)) == (1, size, size)
    assert "critical path  100000 nodes: inc ×100000" in str(found)


def test_an_input_after_its_reader_is_refused() -> None:
    with pytest.raises(InvalidOption, match="node 0 reads node 1: inputs must come before their reader"):
        profile(2, [0, 1, 1], [1], ["a", "b"], [])


def test_long_paths_lose_their_middle() -> None:
    assert shorten_path("aabc") == "a ×2 → b → c"
    assert shorten_path("abcdefghi") == "a → b → c → d → e → f → g → h → i"
    assert shorten_path("abcdefghijj") == "a → b → c → d → e → … 2 more … → h → i → j ×2"


def test_long_lists_say_how_many_more() -> None:
    assert shorten_list(["a", "b", "a"]) == "a ×2, b"
    assert shorten_list(list("abcdeef")) == "e ×2, a, b, c and 2 more"
    assert shorten_list([]) == ""


class TestOnAnExecutor:
    """What an executor will do about a graph, asked before anything runs."""

    @pytest.fixture
    def report(self) -> Any:
        load = delayed(_load, retries=3, timeout=60)
        train = delayed(_load, name="train", resources={"gpu": 1})
        return train([load(at) for at in range(4)])

    def test_every_option_has_somebody_who_sees_to_it(self, report: Any) -> None:
        found = explain(report, executor="threads")
        assert {use.option: (use.nodes, use.who) for use in found.options} == {
            "retries": (4, "lazygraph"),
            "timeout": (4, "child"),
            "resources": (1, "refused"),
        }

    def test_what_is_refused_says_so_as_the_run_would(self, report: Any) -> None:
        [refused] = [use for use in explain(report, executor="threads").options if use.who == "refused"]
        with pytest.raises(UnsupportedByExecutor) as caught:
            report.compute(executor="threads")
        assert refused.sentence == f"refused: {caught.value}"

    def test_labels_ask_nothing(self) -> None:
        assert explain(delayed(_load, name="a name", pure=True)(1)).options == ()

    def test_without_a_sample_there_is_no_estimate(self) -> None:
        found = explain(delayed(lambda: 1)())
        assert "unknown: no task of these functions has been measured on" in str(found)

    def test_the_default_executor_is_asked(self) -> None:
        with lazygraph.use("sync"):
            assert explain(delayed(_load)(1)).executor == "sync"
        assert explain(delayed(_load)(1)).executor == "threads"


def _load(part: Any) -> Any:
    return part
