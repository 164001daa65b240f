"""The data sets that Detrojan knows by name; the file name is the data set's name.

Each module names in `METHOD` a dataclass: its fields are the settings of the data set, and `read(split, root,
download)` gives the samples.
"""

from detrojan.registry import Registry

DATASETS = Registry("data set", __name__)
