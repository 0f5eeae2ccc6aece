"""Which checks a plug-in has to pass: the public functions of the modules of its kind.

The first line of a check's docstring is its name.
"""

import inspect
from collections.abc import Mapping
from types import ModuleType

from bench.conformance import (
    augment,
    data,
    encoder,
    form,
    init,
    meta,
    metatrain,
    modality,
    pretext,
    search,
    strategy,
    tasks,
    tuning,
)
from bench.conformance.subject import Check, Subject
from bench.contract import AbstractMetaTrained, AbstractSearch

OF_KIND: Mapping[str, ModuleType] = {
    "pretext": pretext,
    "init": init,
    "meta": meta,
    "tasks": tasks,
    "strategy": strategy,
    "encoder": encoder,
    "data": data,
    "augment": augment,
    "modality": modality,
}


def checks_of(subject: Subject) -> list[Check]:
    """Return every check that a plug-in of this kind has to pass, the form first."""
    searches = isinstance(subject.plugin, AbstractSearch)
    modules = [form, tuning, search if searches else OF_KIND[subject.kind]]
    if isinstance(subject.plugin, AbstractMetaTrained):
        modules.append(metatrain)
    return [check for module in modules for check in checks_within(module)]


def checks_within(module: ModuleType) -> list[Check]:
    """Return the checks of one module, in its order."""
    return [
        thing
        for name, thing in vars(module).items()
        if inspect.isfunction(thing)
        and thing.__module__ == module.__name__
        and not name.startswith("_")
    ]


def sentence(check: Check) -> str:
    """Return what a check holds a plug-in to, in words."""
    return (inspect.getdoc(check) or "").split("\n")[0].rstrip(".").replace("``", "")
