"""The version of lazygraph, written here and nowhere else.

Its own module, because the build reads it without importing anything, and because the wire's hello frame needs it
from a floor that may not import the package root.
"""

__version__ = "0.1.0"
