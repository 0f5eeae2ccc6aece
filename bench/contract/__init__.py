"""What a plug-in is: the abstract classes that every method file fills in.

A plug-in is a frozen keyword-only dataclass whose fields are its hyper-parameters. It is
stateless, and holds nothing but the method: no device, no logging, no global seed.

Shapes: B inputs, D features, N ways.
"""

from bench.cell import Norm
from bench.contract.learning import (
    AbstractClustered,
    AbstractLearner,
    AbstractMeta,
    AbstractMetaTrained,
    AbstractSource,
    AbstractTasks,
)
from bench.contract.plugin import (
    AbstractAugment,
    AbstractData,
    AbstractEncoder,
    AbstractModality,
    AbstractPlugin,
    AbstractTrained,
)
from bench.contract.pretraining import (
    AbstractClassifying,
    AbstractInit,
    AbstractNetwork,
    AbstractPretext,
    AbstractSearch,
    Pretext,
    PretextOrNone,
)
from bench.contract.streaming import AbstractStrategy, Lesson
from bench.contract.values import (
    AtLeastTwo,
    Examples,
    Loss,
    Setting,
    Task,
    TaskShape,
    Tensors,
    Validation,
)
from bench.form import Form, Shape
from bench.space import OneOf, Reals, Space, Whole

__all__ = [
    "AbstractAugment",
    "AbstractClassifying",
    "AbstractClustered",
    "AbstractData",
    "AbstractEncoder",
    "AbstractInit",
    "AbstractLearner",
    "AbstractMeta",
    "AbstractMetaTrained",
    "AbstractModality",
    "AbstractNetwork",
    "AbstractPlugin",
    "AbstractPretext",
    "AbstractSearch",
    "AbstractSource",
    "AbstractStrategy",
    "AbstractTasks",
    "AbstractTrained",
    "AtLeastTwo",
    "Examples",
    "Form",
    "Lesson",
    "Loss",
    "Norm",
    "OneOf",
    "Pretext",
    "PretextOrNone",
    "Reals",
    "Setting",
    "Shape",
    "Space",
    "Task",
    "TaskShape",
    "Tensors",
    "Validation",
    "Whole",
]
