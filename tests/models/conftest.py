import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # slow_lvt, for the tests in the folders below
