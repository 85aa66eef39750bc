"""All that every executor must do about task options, or refuse."""

from __future__ import annotations

from lazygraph.testing.conformance.caching import CacheCases
from lazygraph.testing.conformance.endings import AsynchronousEndingCases, EndingCases
from lazygraph.testing.conformance.limiting import LimitCases
from lazygraph.testing.conformance.placing import AsynchronousPlaceCases, PlaceCases
from lazygraph.testing.conformance.retries import AsynchronousRetryCases, RetryCases
from lazygraph.testing.conformance.times import TimeCases


class OptionCases(RetryCases, LimitCases, TimeCases, EndingCases, PlaceCases, CacheCases):
    """Part of `suite.ConformanceSuite`."""


class AsynchronousOptionCases(AsynchronousRetryCases, AsynchronousEndingCases, AsynchronousPlaceCases):
    """Part of `suite.AsynchronousSuite`."""
