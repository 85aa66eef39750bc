"""The conformance suite: what every executor must do, in the user's language.

An executor proves itself by subclassing `suite.ConformanceSuite` in its tests and saying how it is made:

    class TestMine(ConformanceSuite):
        @pytest.fixture(scope="class")
        @classmethod
        def executor(cls):
            with MyExecutor() as executor:
                yield executor

What it does not do yet must be refused with a sentence before anything runs; `matrix.matrix` shows which is which.
Needs pytest.
"""
