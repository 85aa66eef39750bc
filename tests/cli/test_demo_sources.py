"""The demo's functions without an executor: finding and parsing files, adding facts up, and the report's sections."""

import ast
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazygraph.cli.demo import plain
from lazygraph.cli.demo.facts import Facts, Problem, merge, merge_many
from lazygraph.cli.demo.report import (
    Chain,
    Cycle,
    Cycles,
    Ranking,
    find_chain,
    find_cycles,
    link_imports,
    rank_modules,
    report,
)
from lazygraph.cli.demo.sources import list_files, module_name, parse, standard_library


def write(root: Path, files: dict[str, str | bytes]) -> str:
    """Write the files below `root`, making folders, and return its path."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(root)


def facts_of(root: str) -> Facts:
    return merge_many(parse(path, root) for path in list_files(root))


def facts_of_source(root: Path, source: str | bytes, name: str = "module.py") -> Facts:
    return parse(os.path.join(write(root, {name: source}), name), str(root))


# Finding files


def test_files_are_found_in_a_fixed_order_without_installed_and_hidden_ones(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "b.py": "",
            "a/z.py": "",
            "a/__init__.py": "",
            "a/notes.txt": "",
            "a/site-packages/other.py": "",
            "dist-packages/other.py": "",
            ".venv/lib/other.py": "",
            "a/__pycache__/other.py": "",
        },
    )
    expected = [os.path.join(root, name) for name in ("a/__init__.py", "a/z.py", "b.py")]
    assert list_files(root) == expected
    assert list_files(root, 2) == expected[:2]
    assert list_files(root, 99) == expected


def test_a_directory_without_sources_gives_no_files(tmp_path: Path) -> None:
    assert list_files(write(tmp_path, {"readme.txt": "no Python here"})) == []


def test_a_missing_root_is_an_error_and_not_an_empty_list(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list_files(str(tmp_path / "missing"))
    with pytest.raises(NotADirectoryError):
        list_files(os.path.join(write(tmp_path, {"file.py": ""}), "file.py"))


def test_a_link_to_a_directory_above_is_not_followed(tmp_path: Path) -> None:
    root = write(tmp_path, {"a/m.py": ""})
    (tmp_path / "a" / "round").symlink_to(tmp_path)
    assert list_files(root) == [os.path.join(root, "a/m.py")]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("src/app/__init__.py", "app"),
        ("src/app/main.py", "app.main"),
        ("src/app/inner/deep.py", "app.inner.deep"),
        ("src/tool.py", "src.tool"),
        ("setup.py", "setup"),
    ],
)
def test_a_module_is_named_as_it_would_be_imported(tmp_path: Path, path: str, name: str) -> None:
    root = write(tmp_path, {"src/app/__init__.py": "", "src/app/inner/__init__.py": "", path: ""})
    assert module_name(os.path.join(root, path), root) == name


def test_a_package_given_as_the_root_keeps_its_own_name(tmp_path: Path) -> None:
    root = write(tmp_path, {"app/__init__.py": "", "app/main.py": ""})
    assert module_name(os.path.join(root, "app/main.py"), os.path.join(root, "app")) == "app.main"


# Parsing one file

EXAMPLE = '''\
"""A docstring naming nothing."""
import os.path as p, json
from collections import Counter as C, OrderedDict

class Shop(C):
    """prices"""
    total = 0

    def price(self, item, *, tax=1):  # item item item
        global rate
        import decimal
        return self.total + p.size(item, key=tax)

async def close(shop): return (lambda x: x)(f"{shop}")
'''


def test_one_file_is_counted_exactly(tmp_path: Path) -> None:
    facts = facts_of_source(tmp_path, EXAMPLE)
    assert (facts.files, facts.lines, facts.functions, facts.classes, facts.problems) == (1, 14, 2, 1, ())
    assert facts.imports == {"module": ("collections:Counter", "collections:OrderedDict", "json", "os.path")}
    assert facts.deferred == {"module": ("decimal",)}
    once = "os path json collections Counter OrderedDict Shop price rate decimal size key close".split()
    assert facts.identifiers == dict.fromkeys(once, 1) | {
        "p": 2,
        "C": 2,
        "total": 2,
        "self": 2,
        "item": 2,
        "tax": 2,
        "shop": 2,
        "x": 2,
    }


def test_names_in_patterns_and_handlers_count(tmp_path: Path) -> None:
    source = "match v:\n case {'k': a, **b}: pass\n case K(z=[c, *d]) as e: pass\ntry: pass\nexcept E as f: pass\n"
    assert facts_of_source(tmp_path, source).identifiers == dict.fromkeys("vabKzcdeEf", 1)


@pytest.mark.parametrize(("source", "lines"), [("", 0), ("x", 1), ("x\n", 1), ("x\r\ny\r\n", 2), ("x\n\ny", 3)])
def test_lines_are_counted_whatever_ends_them(tmp_path: Path, source: str, lines: int) -> None:
    assert facts_of_source(tmp_path, source.encode()).lines == lines


@pytest.mark.parametrize(
    ("source", "imports"),
    [
        ("from . import x", ("top.inner:x",)),
        ("from .sibling import x", ("top.inner.sibling:x",)),
        ("from .. import x", ("top:x",)),
        ("from ..other import *", ("top.other",)),
        ("from ... import x", ("...:x",)),
    ],
)
@pytest.mark.parametrize("name", ["__init__.py", "m.py"])
def test_relative_imports_start_from_the_package(
    tmp_path: Path, name: str, source: str, imports: tuple[str, ...]
) -> None:
    write(tmp_path, {"top/__init__.py": "", "top/inner/__init__.py": ""})
    (found,) = facts_of_source(tmp_path, source, f"top/inner/{name}").imports.values()
    assert found == imports


def test_imports_that_do_not_run_on_import_are_kept_apart(tmp_path: Path) -> None:
    source = """
import now
if TYPE_CHECKING: import checked
elif other: import branch
else: import otherwise
if typing.TYPE_CHECKING: import checked2
if __name__ == "__main__": import script
if __name__ != "__main__": import library
try: import tried
except ImportError: import instead
class Body:
    import inside
    async def method(self):
        import later, now
        def nested(): import deepest
"""
    facts = facts_of_source(tmp_path, source)
    assert facts.imports["module"] == ("branch", "inside", "instead", "library", "now", "otherwise", "tried")
    assert facts.deferred["module"] == ("checked", "checked2", "deepest", "later", "script")


def test_a_coding_cookie_and_a_byte_order_mark_are_respected(tmp_path: Path) -> None:
    latin = facts_of_source(tmp_path, "# -*- coding: latin-1 -*-\ngrün = 1\n".encode("latin-1"))
    marked = facts_of_source(tmp_path, b"\xef\xbb\xbf" + "größe = 1\n".encode())
    assert (latin.identifiers, marked.identifiers) == ({"grün": 1}, {"größe": 1})


BAD_SOURCES = [
    (b"name = 1\n\nx = '\xff\xfe'\n", "is not utf-8 text: invalid start byte (byte 15)"),
    (b"\xff = 1\n", "cannot be parsed: invalid or missing encoding declaration"),
    (b"# coding: klingon\n", "cannot be parsed: unknown encoding: klingon"),
    (b"# coding: rot13\n", "cannot be decoded or parsed: 'rot13' is not a text encoding"),
    (b"def broken(:\n", "cannot be parsed: invalid syntax (line 1)"),
    (b"a = 1\n\x00\x00\n", "null bytes"),
    (b"x = " + b"(" * 5000, "cannot be parsed: too many nested parentheses (line 1)"),
    (b"x = " + b"-" * 50_000 + b"1\n", "cannot be parsed: it is nested too deeply or too large"),
]


@pytest.mark.parametrize(("source", "sentence"), BAD_SOURCES, ids=lambda part: str(part)[:24])
def test_a_file_that_is_not_python_is_a_problem_with_a_sentence(tmp_path: Path, source: bytes, sentence: str) -> None:
    facts = facts_of_source(tmp_path, source)
    (problem,) = facts.problems
    assert problem.path == str(tmp_path / "module.py")
    assert sentence in problem.sentence
    assert str(tmp_path) not in problem.sentence
    assert facts == Facts(files=1, problems=(problem,))


def test_what_is_not_a_readable_file_is_a_problem(tmp_path: Path) -> None:
    root = write(tmp_path, {"good.py": "import os\n", "folder.py/inner.py": "x = 1\n"})
    (tmp_path / "dangling.py").symlink_to(tmp_path / "nowhere.py")
    os.mkfifo(tmp_path / "pipe.py")
    facts = facts_of(root)
    assert facts.files == 4
    assert facts.imports.keys() == {"good", "folder.py.inner"}
    assert facts.problems == (
        Problem(f"{root}/dangling.py", "cannot be read: No such file or directory"),
        Problem(f"{root}/pipe.py", "cannot be read: it is not a regular file"),
    )
    (problem,) = parse(f"{root}/folder.py", root).problems
    assert problem.sentence == "cannot be read: it is not a regular file"


def test_a_file_that_vanished_after_it_was_listed_is_a_problem(tmp_path: Path) -> None:
    root = write(tmp_path, {"a.py": "", "b.py": ""})
    files = list_files(root)
    (tmp_path / "b.py").unlink()
    result = plain.run(files, root)
    assert result.totals.files == 2
    assert [problem.path for problem in result.totals.problems] == [files[1]]


def test_warnings_about_a_source_neither_show_nor_turn_into_problems(tmp_path: Path) -> None:
    source = "x = '\\d' if 1is 1 else 0\n"
    with pytest.warns((SyntaxWarning, DeprecationWarning)):
        ast.parse(source)
    path = os.path.join(write(tmp_path, {"m.py": source}), "m.py")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = parse(path, str(tmp_path))
        with ThreadPoolExecutor(4) as pool:
            parsed = list(pool.map(lambda _: parse(path, str(tmp_path)), range(200)))
    assert before.problems == ()
    assert parsed == [before] * 200


def test_a_tree_deeper_than_the_recursion_limit_is_walked(tmp_path: Path) -> None:
    source = "import a\n" + "x = " + " + ".join(["y"] * 2500) + "\n"
    facts = facts_of_source(tmp_path, source)
    # Python's own parser may refuse this depth; when it does not, neither may the walk.
    try:
        ast.parse(source)
    except RecursionError:
        assert [problem.sentence for problem in facts.problems] == [
            "cannot be parsed: it is nested too deeply or too large"
        ]
    else:
        assert facts.identifiers == {"a": 1, "x": 1, "y": 2500}


# Adding facts up

NAMES = st.sampled_from(["os", "sys", "a.b", "a", "json"])
COUNTS = st.dictionaries(NAMES, st.integers(1, 5), max_size=4)
IMPORTS = st.dictionaries(NAMES, st.sets(NAMES, max_size=3).map(lambda names: tuple(sorted(names))), max_size=4)
PROBLEMS = st.lists(st.builds(Problem, NAMES, NAMES), max_size=2).map(lambda every: tuple(sorted(every)))
NUMBERS = st.integers(0, 9)
FACTS = st.builds(Facts, NUMBERS, NUMBERS, NUMBERS, NUMBERS, COUNTS, IMPORTS, IMPORTS, PROBLEMS)


@given(FACTS, FACTS, FACTS)
def test_merging_is_associative_commutative_and_has_a_neutral_element(a: Facts, b: Facts, c: Facts) -> None:
    assert merge(merge(a, b), c) == merge(a, merge(b, c)) == merge_many([c, a, b])
    assert merge(a, b) == merge(b, a)
    assert merge(a, Facts()) == a
    assert merge_many([]) == Facts()


@given(FACTS, FACTS)
def test_merging_adds_counts_and_joins_imports(a: Facts, b: Facts) -> None:
    both = merge(a, b)
    names = a.identifiers.keys() | b.identifiers.keys()
    assert both.identifiers == {name: a.identifiers.get(name, 0) + b.identifiers.get(name, 0) for name in names}
    assert both.files == a.files + b.files
    for module in a.imports.keys() | b.imports.keys():
        assert set(both.imports[module]) == {*a.imports.get(module, ()), *b.imports.get(module, ())}


# The report


def importing(**imports: str) -> Facts:
    """Return facts in which each module imports the modules of a blank-separated list; `__` stands for a dot."""
    return Facts(imports={name.replace("__", "."): tuple(sorted(given.split())) for name, given in imports.items()})


def cycles_of(facts: Facts, top: int = 9) -> Cycles:
    return find_cycles(link_imports(facts), top)


def chain_of(facts: Facts) -> Chain:
    return find_chain(link_imports(facts))


def test_modules_are_ranked_by_how_many_import_them() -> None:
    facts = Facts(
        imports={
            "p": ("p.q:x", "p:q", "sys"),
            "p.q": ("os.path", "os:path", "p.q", "sys"),
            "os": ("sys",),
            "m": ("numpy.linalg:norm", "numpy.linalg", "p"),
        },
        deferred={"m": ("p:q", "sys")},
    )
    assert rank_modules(facts) == Ranking(5, (("sys", 4), ("p.q", 2), ("numpy.linalg", 1), ("os", 1), ("p", 1)))
    assert rank_modules(facts, top=1) == Ranking(5, (("sys", 4),))


def test_cycles_are_the_largest_first_with_a_shortest_loop() -> None:
    facts = importing(a="b", b="c d", c="d", d="a", e="f", f="e a", g="g", h="")
    assert cycles_of(facts).count == 2
    assert cycles_of(facts).largest == (
        Cycle(("a", "b", "c", "d"), ("a", "b", "d")),
        Cycle(("e", "f"), ("e", "f")),
    )
    assert cycles_of(facts, top=1).largest == cycles_of(facts).largest[:1]


def test_an_import_from_a_package_leads_to_its_module_where_there_is_one() -> None:
    facts = importing(pkg="pkg:inner", pkg__inner="pkg:name")
    assert cycles_of(facts).largest == (Cycle(("pkg", "pkg.inner"), ("pkg", "pkg.inner")),)


def test_deferred_imports_make_no_cycle(tmp_path: Path) -> None:
    root = write(tmp_path, {"a.py": "import b", "b.py": "def f(): import a"})
    assert cycles_of(facts_of(root)).count == 0


def test_the_longest_chain_counts_a_cycle_as_one_link() -> None:
    assert chain_of(importing(a="b d", b="c", c="b d", d="e", e="", f="e")).links == (
        ("a",),
        ("b", "c"),
        ("d",),
        ("e",),
    )
    assert chain_of(Facts()).links == ()
    assert chain_of(importing(a="unknown")).links == (("a",),)


LETTERS = st.sampled_from("abcdef")
LETTER_IMPORTS = st.dictionaries(LETTERS, st.sets(LETTERS, max_size=3).map(lambda names: tuple(sorted(names))))


@given(LETTER_IMPORTS)
def test_chains_and_cycles_agree_with_following_every_path(imports: dict[str, tuple[str, ...]]) -> None:
    paths = [[name] for name in imports]  # every path along imports that visits no module twice
    for path in paths:
        paths += [[*path, name] for name in imports[path[-1]] if name in imports and name not in path]
    reached = {(path[0], path[-1]) for path in paths}
    group = {a: tuple(b for b in sorted(imports) if (a, b) in reached and (b, a) in reached) for a in imports}
    facts = Facts(imports=imports)

    found = cycles_of(facts, top=9)
    assert sorted(cycle.modules for cycle in found.largest) == sorted({g for g in group.values() if len(g) > 1})
    for cycle in found.largest:
        start = cycle.modules[0]
        assert cycle.loop[0] == start
        assert all(there in imports[here] for here, there in pairwise((*cycle.loop, start)))
        assert len(cycle.loop) == min(
            len(path) for path in paths if path[0] == start != path[-1] and start in imports[path[-1]]
        )

    links = chain_of(facts).links
    assert all(any(there in imports[here] for here in a for there in b) for a, b in pairwise(links))
    assert len(links) == max((len({group[name] for name in path}) for path in paths), default=0)


def test_an_empty_tree_has_an_empty_report(tmp_path: Path) -> None:
    result = plain.run([], str(tmp_path))
    assert result.totals.files == result.modules.distinct == result.cycles.count == 0
    assert result.chain.links == ()


def test_reports_are_equal_however_the_facts_were_merged() -> None:
    root = os.path.join(standard_library(), "json")
    parts = [parse(path, root) for path in list_files(root)]
    assert len(parts) >= 4
    nested = merge(merge_many(parts[2:]), merge(parts[1], parts[0]))
    told: list[int] = []
    assert plain.run(list_files(root), root, told.append) == report(nested)
    assert told == list(range(1, len(parts) + 1))
    assert ("json.decoder", 1) in rank_modules(nested, top=1000).top


def test_reports_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    modules = [f"m{number}" for number in range(12)]
    files = {f"{name}.py": f"import {', '.join(modules[number // 2 :: 3])}\n" for number, name in enumerate(modules)}
    root = write(tmp_path, dict(files))
    program = (
        "import sys; from lazygraph.cli.demo import plain, sources\n"
        "print(plain.run(sources.list_files(sys.argv[1]), sys.argv[1]))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program, root],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(printed) == 1
    assert repr(plain.run(list_files(root), root)) + "\n" in printed
