"""Kinds of data: what looks alike, what is stored, and what reads or counts it."""

import io

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import nn

from bench.checked import checked
from bench.contract import Examples, Setting
from bench.dataset import Dataset
from bench.encoder.conv4 import Conv4
from bench.encoder.raw import Raw
from bench.errors import UserError
from bench.form import Form
from bench.modality.image import Image
from bench.modality.series import Series
from bench.modality.text import Text, spelled
from bench.options import _refuse_other_type
from bench.pretext.simclr import Simclr
from bench.stages.network import Network
from bench.tokens import SPECIAL

WORDS = (*SPECIAL, "play", "##ing", "music", "now")
TEXT = Form(shape=(4,), modality="text", vocabulary=WORDS)
SPLITS = {"train": ("a",), "val": ("b",), "test": ("c",)}


def test_series_look_alike_at_another_level_and_scale() -> None:
    """A series moved, scaled or touched with noise keeps its word; another one has another."""
    time = np.linspace(0, 6, 64)
    wave, ramp = np.sin(time), time
    noise = 1e-3 * np.random.default_rng(0).standard_normal(64)
    series = np.stack([wave, 5 + 3 * wave, wave + noise, ramp])[:, None].astype(np.float32)
    one, moved, noisy, other = Series().looks(series)
    assert one == moved == noisy != other
    assert Series().blank(np.ones((1, 1, 64), np.float32)).all()
    assert Series().apart(series[0], series[1:2])[0] == pytest.approx(0, abs=1e-6)


def test_sentences_look_alike_in_any_order() -> None:
    """Words in another order have one hash, other words another; of padding alone is blank."""
    ids = np.array([[4, 6, 7, 0], [7, 4, 6, 0], [4, 6, 6, 0], [0, 0, 0, 0]], np.int32)
    one, turned, other, _ = Text().looks(ids)
    assert one == turned != other
    assert Text().blank(ids).tolist() == [False, False, False, True]
    assert Text().apart(ids[0], ids).tolist() == [0, 0.75, 0.25, 0.75]
    assert spelled(np.array([4, 5, 6, 0]), TEXT) == "playing music"


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ([[4, 0, 6, 0]], "after the padding"),
        ([[0, 0, 0, 0]], "empty"),
        ([[4, 8, 0, 0]], "from 0 to 7"),
        ([[-1, 4, 0, 0]], "from 0 to 7"),
        ([[4, 5, 6, 7]], None),
    ],
)
def test_what_is_no_sentence_is_told(ids: list[list[int]], reason: str | None) -> None:
    """Gaps, empty sentences and ids of no token are no text."""
    found = Text().allows(torch.tensor(ids), TEXT)
    assert found is None if reason is None else found is not None and reason in found


def test_altered_sentences_keep_their_length() -> None:
    """Each token of a vocabulary's own becomes another; padding and special ones stay."""
    ids = torch.tensor([[4, 1, 7, 0]])
    assert Text().altered(ids, TEXT).tolist() == [[7, 1, 4, 0]]


@pytest.mark.parametrize(
    ("examples", "form", "kind"),
    [
        (np.zeros((1, 40), np.float32), Form(shape=(1, 40), modality="series"), Series()),
        (np.array([4, 5, 6, 0], np.int32), TEXT, Text()),
        (
            np.arange(64, dtype=np.uint8).reshape(1, 8, 8),
            Form(shape=(1, 8, 8), modality="image"),
            Image(),
        ),
    ],
)
def test_examples_are_shown_side_by_side(
    examples: np.ndarray, form: Form, kind: Image | Series | Text
) -> None:
    """Two examples make a picture about twice as wide as one does, with something drawn."""
    one, two = (Pillow.open(io.BytesIO(kind.sheet([examples] * n, form))) for n in (1, 2))
    assert 2 * one.width <= two.width <= 2 * one.width + 10
    assert np.ptp(np.asarray(one.convert("L"))) > 0


# --- what a source may return


def _sound(arrays: np.ndarray, vocabulary: tuple[str, ...] = ()) -> Form:
    whole = Examples(
        arrays={name: arrays.copy() for name in "abc"}, splits=SPLITS, vocabulary=vocabulary
    )
    return checked("toy", "text" if vocabulary else "series", whole)


def test_the_form_is_that_of_the_examples() -> None:
    """Shape, kind and vocabulary of a sound set."""
    assert _sound(np.zeros((2, 1, 8), np.float32)) == Form(shape=(1, 8), modality="series")
    assert _sound(np.full((2, 4), 7, np.int32), WORDS) == TEXT


@pytest.mark.parametrize(
    ("arrays", "vocabulary", "said"),
    [
        (np.full((2, 1, 8), np.nan, np.float32), (), "values that are not finite"),
        (np.full((2, 1, 8), np.inf, np.float32), (), "values that are not finite"),
        (np.full((2, 4), 8, np.int32), WORDS, "holds ids from 8 to 8"),
        (np.full((2, 4), -1, np.int32), WORDS, "holds ids from -1 to -1"),
        (np.zeros((2, 4), np.int64), (), "is int64"),
    ],
)
def test_examples_that_stand_for_nothing_are_refused(
    arrays: np.ndarray, vocabulary: tuple[str, ...], said: str
) -> None:
    """Values that are not finite, ids beyond the vocabulary, a type that nothing is stored in."""
    with pytest.raises(UserError, match=said):
        _sound(arrays, vocabulary)


def test_examples_of_another_type_than_their_kind_are_refused(glyphs: Dataset) -> None:
    """A source that says series and stores levels is one clear error, and the right one none."""
    _refuse_other_type("glyphs", "image", glyphs)
    with pytest.raises(UserError, match=r"its examples are uint8. series data is stored as float"):
        _refuse_other_type("glyphs", "series", glyphs)


# --- who is made for what


def test_a_plug_in_says_what_it_is_made_for() -> None:
    """One of images refuses series by name and form; one that takes all refuses neither."""
    setting = Setting(form=Form(shape=(1, 64), modality="series"), norm="running", ways=5)
    assert Conv4().refuses(setting) == (
        "conv4 is made for image data, not series data of shape (1, 64)"
    )
    assert Simclr().refuses(setting) is None


def test_raw_counts_tokens() -> None:
    """Of sentences the raw vector is how often each token occurs, padding left out."""
    ids = torch.tensor([[4, 4, 7, 0], [1, 0, 0, 0]])
    assert Raw().module(TEXT)(ids).tolist() == [
        [0, 0, 0, 0, 2, 0, 0, 1],
        [0, 1, 0, 0, 0, 0, 0, 0],
    ]
    image = torch.rand(2, 1, 3, 3)
    assert torch.equal(
        Raw().module(Form(shape=(1, 3, 3), modality="image"))(image), image.flatten(1)
    )


# --- dropout is the engine's


def _network(*layers: nn.Module) -> Network:
    return Network(nn.Sequential(*layers), nn.Identity(), channels_last=False, grouped=False)


def test_dropout_is_off_unless_it_is_asked_for() -> None:
    """Values pass as they are, but for the share that a call asks for; then as before."""
    network, x = _network(nn.Dropout(0.9), nn.Flatten()), torch.ones(50, 40)
    params, buffers = network.tensors(torch.device("cpu"))
    assert torch.equal(network.encode(params, buffers, x, "batch"), x)
    torch.manual_seed(0)
    dropped = network.encode(params, buffers, x, "batch", 0.25)
    assert float((dropped == 0).double().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.allclose(dropped[dropped > 0], torch.tensor(1 / 0.75))
    assert torch.equal(network.encode(params, buffers, x, "batch"), x)


def test_dropout_of_an_encoder_without_any_is_no_silence() -> None:
    """Two equal views would be trained on: it is an error."""
    network = _network(nn.Flatten())
    with pytest.raises(ValueError, match=r"the encoder has no nn.Dropout"):
        network.encode({}, {}, torch.ones(2, 3), "batch", 0.1)
