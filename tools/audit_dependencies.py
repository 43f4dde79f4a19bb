"""Look the pinned dependencies up among the published vulnerabilities.

    python tools/audit_dependencies.py

Exit 1 if one is found. Where the data cannot be had (no network, a mirror without it), this prints
so and exits 0: it must never stop somebody who works offline.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"
SERVICES = ("pypi", "osv")


def main() -> int:
    for service in SERVICES:
        audited = ask(service)
        found = [one for one in audited if one.get("vulns")]
        known = [one for one in audited if "vulns" in one]
        for one in found:
            for vulnerability in one["vulns"]:
                fixed = ", ".join(vulnerability.get("fix_versions", [])) or "no release yet"
                print(f"{one['name']} {one['version']}: {vulnerability['id']}, fixed in {fixed}")
        if known:
            print(
                f"pip-audit ({service}): {len(known)} of {len(audited)} pinned dependencies "
                f"checked, {len(found)} with a known vulnerability."
            )
            return 1 if found else 0
    print("pip-audit: the data on vulnerabilities cannot be reached here; nothing was checked.")
    return 0


def ask(service: str) -> list[dict[str, Any]]:
    """Return what pip-audit reports of each pinned dependency, an empty list if it fails.

    Those that the service does not know have a "skip_reason" instead of "vulns".
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", CONSTRAINTS, "--no-deps"]
    options = ["--disable-pip", "--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(
            [*command, *options, "--vulnerability-service", service, "--timeout", "10"],
            capture_output=True,
            text=True,
            timeout=180,
        )
        report: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return []
    return report["dependencies"]


if __name__ == "__main__":
    sys.exit(main())
