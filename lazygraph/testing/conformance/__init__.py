"""The conformance suite: what every executor must do, in the user's language.

An executor proves itself by subclassing `suite.AsynchronousSuite` in its tests and saying how it is made (one whose
`submit` returns only when the run has ended subclasses `suite.ConformanceSuite`):

    class TestMine(AsynchronousSuite):
        @pytest.fixture(scope="class")
        @classmethod
        def executor(cls):
            with MyExecutor() as executor:
                yield executor

What it does not do yet must be refused with a sentence before anything runs; `matrix.matrix` shows which is which.
Needs pytest.
"""
