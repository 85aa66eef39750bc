"""The conformance suite: what every executor must do, in the user's language.

An executor proves itself by subclassing `suite.AsynchronousSuite` in its tests and saying how it is made (one whose
`submit` returns only when the run has ended subclasses `suite.ConformanceSuite`):

    class TestMine(AsynchronousSuite):
        @pytest.fixture(scope="class")
        @classmethod
        def executor(cls):
            with MyExecutor() as executor:
                yield executor

What it does not do must be refused with a sentence before anything runs: a test that needs an option which is not among
the executor's `capabilities` passes when the plan is refused.  An executor that honours `queue`, `resources` or
`workers` is to be proved with two places, one of them called "worker-1", that serve the queues "default" and "other"
and offer `{"gpu": 1}`.  `lazygraph doctor --conformance MODULE:attr` runs the tests of options and prints what came of
each.
Needs pytest.
"""
