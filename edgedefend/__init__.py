"""edgedefend: a tested preprocessing defence in front of TFLite image classifiers on edge boards.

Importing the package imports NumPy and nothing heavier: Numba, OpenCV and the interpreter are imported by the
first call that needs them.
"""

from edgedefend.dct import load_quant_table as load_quant_table
from edgedefend.dct import quantize as quantize
from edgedefend.dct import shipped_quant_tables as shipped_quant_tables
from edgedefend.defense import Defense as Defense
from edgedefend.grid import Grid as Grid
from edgedefend.grid import remap as remap
from edgedefend.grid import sample_grid as sample_grid

__version__ = "0.1.0"
