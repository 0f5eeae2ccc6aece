"""The measure that the verdicts of a report are about, and how its settings are called."""

from dataclasses import dataclass

from bench.plan import Plan

INFINITE = float("inf")


@dataclass(frozen=True, kw_only=True)
class Headline:
    """A measure of which more is better, at most 1 and shown in per cent.

    ``name`` is that of its column and begins its tables' and figures' files; ``noun`` and
    ``equalled`` are for sentences. No value lies below ``least``. ``classes``: episodes are of so
    many ways and shots, and guessing is right by chance; otherwise they are single environments,
    and ``shots`` counts their transitions.
    """

    name: str
    noun: str
    equalled: str
    least: float
    classes: bool

    @property
    def axis(self) -> str:
        """Name an axis of it."""
        return f"{self.noun} (%)"

    @property
    def values(self) -> str:
        """Say it of several values."""
        return "accuracies" if self.classes else "shares of variance explained"

    @property
    def most_apart(self) -> float:
        """By how much two values can differ."""
        return 1.0 - self.least

    @property
    def an(self) -> str:
        """Say it of one value: ``an accuracy``, ``a variance explained``."""
        return f"{'an' if self.noun[0] in 'aeiou' else 'a'} {self.noun}"

    @property
    def joint(self) -> str:
        """Stand between an amount and what is measured: ``5-shot accuracy``."""
        return " " if self.classes else ", "

    @property
    def episodes(self) -> str:
        """Say what is met at test."""
        return "episodes" if self.classes else "environments"

    @property
    def episode(self) -> str:
        """Name one of what is met at test."""
        return "episode" if self.classes else "environment"

    @property
    def group(self) -> str:
        """Name one of what is split."""
        return "class" if self.classes else "environment"

    @property
    def groups(self) -> str:
        """Say what is split into training, validation and test."""
        return "classes" if self.classes else "environments"

    def task(self, data: str, ways: int) -> str:
        """Name what is learned: ``glyphs, 5-way``."""
        return f"{data}, {ways}-way" if self.classes else data

    def queries(self, number: int) -> str:
        """Say how much of an episode is asked."""
        return f"{number} queries a class" if self.classes else f"{number} of each predicted"

    def amount(self, shots: int) -> str:
        """Say from how much it is learned: ``5-shot``, ``10 transitions``."""
        return f"{shots}-shot" if self.classes else f"{shots} transition{'s' * (shots != 1)}"

    def tasks(self, shots: int) -> str:
        """Name tasks by their size."""
        return f"{self.amount(shots)} tasks" if self.classes else f"tasks of {self.amount(shots)}"

    def setting(self, data: str, ways: int, shots: int) -> str:
        """Name a setting: ``glyphs, 5-way 1-shot``, ``pendulum, 10 transitions``."""
        return f"{data}, {self.sizes(ways, shots)}"

    def sizes(self, ways: int, shots: int) -> str:
        """Name the sizes of a setting, whatever the data: ``5-way 1-shot``, ``10 transitions``."""
        return f"{ways}-way {shots}-shot" if self.classes else self.amount(shots)

    def stem(self, data: str, ways: int) -> str:
        """Begin a file's name by what is learned."""
        return f"{data}-{ways}way" if self.classes else data

    def stem_of(self, data: str, ways: int, shots: int) -> str:
        """Begin a file's name by a setting."""
        return f"{data}-{self.sizes_stem(ways, shots)}"

    def sizes_stem(self, ways: int, shots: int) -> str:
        """Name the sizes of a setting in a file's name."""
        return f"{ways}way-{shots}shot" if self.classes else f"{shots}transitions"


ACCURACY = Headline(
    name="accuracy", noun="accuracy", equalled="is as accurate", least=0.0, classes=True
)
EXPLAINED = Headline(  # 1 - squared error / squared deviation from the mean: below 0 without limit
    name="explained",
    noun="variance explained",
    equalled="explains as much",
    least=-INFINITE,
    classes=False,
)


def headline_of(plan: Plan) -> Headline:
    """Return what the verdicts of a plan are about."""
    return EXPLAINED if plan.settings.get("protocol") == "control" else ACCURACY
