import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "evaluation" / "networks"))  # its stand-ins for files that users give
