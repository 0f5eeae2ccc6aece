"""Which versions made a result."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

PACKAGES = {
    "bench": "meta-ssl-bench",
    "torch": "torch",
    "numpy": "numpy",
    "sklearn": "scikit-learn",
}


@cache
def version_of(package: str) -> str:
    """Return the version of an installed package, by metadata."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def versions() -> dict[str, str]:
    """Return the versions of Python and of what computes, by metadata, importing nothing."""
    return {"python": platform.python_version()} | {
        name: version_of(package) for name, package in PACKAGES.items()
    }
