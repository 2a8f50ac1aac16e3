"""What a run ran on, as far as it can matter: no names of machines or people."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, entry_points, packages_distributions, version
from typing import Any

from perdure_conformance._target import Target
from perdure_conformance.report._text import clean, impersonal, shown_url

__all__ = ["environment", "named", "suite_version"]

_PACKAGES = ("perdure", "perdure-conformance", "hypothesis", "numpy", "pyarrow")


def environment(target: Target) -> dict[str, Any]:
    """Python, platform, processors, and the versions of the packages that take part."""
    names = {*_PACKAGES, *_distributions(target)}
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count() or 1,
        "packages": {name: _version(name) for name in sorted(names)},
    }


def suite_version() -> str:
    """The version of this suite."""
    return _version("perdure-conformance")


def named(target: Target) -> Mapping[str, Any]:
    """What was judged: template, plugin and wrappers, as names."""
    description = target.describe()
    declared = target.template in (description.template, description.example)
    return {
        "template": clean(target.template) if declared else shown_url(target.template),
        "plugin": _name(target.plugin),
        "wrap": [_name(wrapper) for wrapper in target.wrap],
    }


def _name(thing: Any) -> str | None:
    if thing is None:
        return None
    if isinstance(thing, tuple):
        thing = thing[0]
    if isinstance(thing, str):
        return impersonal(thing)
    owner = thing if hasattr(thing, "__qualname__") else type(thing)
    return clean(f"{owner.__module__}:{owner.__qualname__}")


def _distributions(target: Target) -> set[str]:
    """The distributions that the backend comes from, as far as that can be told."""
    if target.plugin is None:
        scheme = target.template.partition("://")[0]
        points = entry_points(group="perdure.backends", name=scheme)
        return {point.dist.name for point in points if point.dist is not None}
    top = (_name(target.plugin) or "").partition(":")[0].partition(".")[0]
    return set(packages_distributions().get(top, ()))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
