"""What one example of a set is: its shape, the kind of data, and of tokens what they stand for."""

from dataclasses import dataclass

from bench.cell import Json, digest

Shape = tuple[int, ...]  # of one example, without the batch
FIRST = "image"  # what every set was before there were other kinds


@dataclass(frozen=True, kw_only=True)
class Form:
    """What one example of a set is.

    ``shape`` is that of images (C, H, W), of series (C, T), of sentences (T,), without the batch;
    ``modality`` the name of the plug-in that says what such examples are. ``vocabulary``: of
    examples made of tokens, what each id stands for; else empty.
    """

    shape: Shape
    modality: str
    vocabulary: tuple[str, ...] = ()

    @property
    def described(self) -> dict[str, Json]:
        """The form as a digest holds it, and as that of a set held it before there were kinds."""
        more = {"modality": self.modality, "vocabulary": list(self.vocabulary)}
        return {"shape": list(self.shape)} | ({} if self.modality == FIRST else more)

    def __str__(self) -> str:
        """Name it in a sentence: ``image data of shape (3, 32, 32)``."""
        return f"{self.modality} data of shape {self.shape}"


def vocabulary_digest(form: Form) -> str | None:
    """Return what tells a vocabulary from others, or None where examples are made of no tokens."""
    return digest(list(form.vocabulary)) if form.vocabulary else None
