"""Where the jobs of a sweep run. An engine is a frozen record of settings; `start` gives the workers.

Third parties add engines by an entry point in the group `detrojan.bench.engines`.
"""

from detrojan.registry import Registry

ENGINES = Registry("engine", __name__)
