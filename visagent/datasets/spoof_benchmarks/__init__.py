"""Readers of anti-spoofing sets that need a signed licence, in the layout they are released in; nothing is downloaded.

Each gives `SpoofPicture` records: where the pixels are, and what the set says of them. `load_rgb` reads the pixels.
"""

from visagent.datasets.layout import LayoutError
from visagent.datasets.spoof_benchmarks.celeba_spoof import read_celeba_spoof
from visagent.datasets.spoof_benchmarks.folder import read_folder
from visagent.datasets.spoof_benchmarks.oulu_npu import read_oulu_npu
from visagent.datasets.spoof_benchmarks.padisi import read_padisi
from visagent.datasets.spoof_benchmarks.pixels import load_rgb
from visagent.datasets.spoof_benchmarks.record import SpoofPicture
from visagent.datasets.spoof_benchmarks.siw_mv2 import read_siw_mv2
from visagent.datasets.spoof_benchmarks.wmca import read_wmca

__all__ = ["LayoutError", "SpoofPicture", "load_rgb", "read_celeba_spoof", "read_folder", "read_oulu_npu",
           "read_padisi", "read_siw_mv2", "read_wmca"]
