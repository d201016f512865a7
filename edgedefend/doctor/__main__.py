"""``python3 -m edgedefend.doctor [--json]``: from a copy of the sources, where nothing can be installed."""

import json
import sys

from edgedefend.device import Device
from edgedefend.doctor import examine
from edgedefend.doctor.environment import of_this_process
from edgedefend.doctor.text import as_text

if __name__ == "__main__":
    report = examine(Device(), of_this_process())
    sys.stdout.write((json.dumps(report.as_json(), indent=1) if "--json" in sys.argv else as_text(report)) + "\n")
    sys.exit(0 if report.healthy else 1)
