"""A user's own folder of images: splits, sizes, and every mistake named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.catalogue import resolved
from bench.data.image_folder import ImageFolder
from bench.dataset import facts, open_dataset
from bench.errors import UserError
from bench.splits import by_hash

NAMES = [f"kind{number}" for number in range(10)]


def write_class(folder: Path, *sizes: tuple[int, int]) -> None:
    """Write a class: one image of random pixels for each (width, height)."""
    folder.mkdir(parents=True)
    for number, (width, height) in enumerate(sizes or ((20, 16), (16, 20))):
        seed = sum(folder.name.encode()) + number
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Write ten classes of two images; return their folder."""
    for name in NAMES:
        write_class(tmp_path / "photos" / name)
    return tmp_path / "photos"


def refusal(source: ImageFolder, root: Path | None = None) -> str:
    """Return the message of the error that reading raises."""
    with pytest.raises(UserError) as caught:
        open_dataset(source, "image_folder", root)
    return str(caught.value)


def test_classes_are_split_by_the_hash_of_their_names(photos: Path) -> None:
    """Without a split given, 16, 20 and 64 % of the classes, whatever their order."""
    dataset = open_dataset(ImageFolder(path=str(photos), size=8), "image_folder", None)
    assert {split: len(names) for split, names in dataset.splits.items()} == {
        "train": 6,
        "val": 2,
        "test": 2,
    }
    assert dataset.splits["val"] == tuple(sorted(by_hash(dict.fromkeys(NAMES))["val"]))
    assert by_hash(dict.fromkeys(NAMES)) == by_hash(dict.fromkeys(NAMES[::-1]))
    assert facts(dataset).form.shape == (3, 8, 8)


@pytest.mark.parametrize("count", [3, 4, 5, 30, 100])
def test_every_split_has_a_class(count: int) -> None:
    """From three classes on none of the splits is empty, and no class is lost."""
    names = [f"class {number}" for number in range(count)]
    splits = by_hash(dict.fromkeys(names))
    assert all(splits.values())
    assert sorted(sum(splits.values(), ())) == sorted(names)


def test_an_added_class_moves_few_others() -> None:
    """One more class changes the split of at most two others."""
    names = [f"class {number}" for number in range(50)]

    def owner(names: list[str]) -> dict[str, str]:
        return {one: split for split, part in by_hash(dict.fromkeys(names)).items() for one in part}

    before, after = owner(names), owner([*names, "new"])
    assert sum(before[name] != after[name] for name in names) <= 2


def test_listed_splits_are_followed(photos: Path, tmp_path: Path) -> None:
    """Lists of classes decide, and classes on no list are left out."""
    lists = tmp_path / "lists"
    lists.mkdir()
    for split, names in {"train": NAMES[:4], "val": NAMES[4:5], "test": NAMES[5:7]}.items():
        (lists / f"{split}.txt").write_text("\n".join(names) + "\n\n")
    source = ImageFolder(path="photos", splits="lists", size=8)
    dataset = open_dataset(source, "image_folder", tmp_path)
    assert dataset.splits == {
        "train": tuple(NAMES[:4]),
        "val": (NAMES[4],),
        "test": tuple(NAMES[5:7]),
    }
    (lists / "val.txt").write_text("\nkind44\n")
    assert "val.txt:2: there is no class 'kind44'. Did you mean kind4" in refusal(source, tmp_path)
    (lists / "val.txt").unlink()
    assert "val.txt: there is no such file" in refusal(source, tmp_path)


def test_folders_named_train_val_test_are_the_split(tmp_path: Path) -> None:
    """Classes below train, val and test keep that split."""
    for split, name in (("train", "a"), ("train", "b"), ("val", "c"), ("test", "d")):
        write_class(tmp_path / split / name)
    source = ImageFolder(path=str(tmp_path), size=8)
    dataset = open_dataset(source, "image_folder", None)
    assert dataset.splits == {"train": ("a", "b"), "val": ("c",), "test": ("d",)}
    write_class(tmp_path / "test" / "a")
    assert "class 'a' is also in train" in refusal(source)
    (tmp_path / "val").rename(tmp_path / "valid")
    assert "the folders test, train, valid" in refusal(source)


def test_images_are_scaled_and_cropped_around_the_centre(tmp_path: Path) -> None:
    """A wide image loses its sides, and grey images have one channel."""
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 7:23] = 200  # what the square needs and what bilinear scaling reaches around it
    for name in "abc":
        (tmp_path / name).mkdir()
        Image.fromarray(wide).save(tmp_path / name / "wide.png")
    colour = ImageFolder(path=str(tmp_path), size=5).read(None).arrays["a"]
    grey = ImageFolder(path=str(tmp_path), size=5, grey=True).read(None).arrays["a"]
    assert colour.tolist() == np.full((1, 3, 5, 5), 200).tolist()
    assert grey.tolist() == np.full((1, 1, 5, 5), 200).tolist()


def test_transparent_and_turned_images_are_read_as_seen(tmp_path: Path) -> None:
    """Transparency becomes white, and a camera's turn is undone."""
    for name in "ab":
        write_class(tmp_path / name)
    (tmp_path / "c").mkdir()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "c" / "0.png")
    turned = Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 4, axis=0).repeat(8, 1))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    turned.save(tmp_path / "c" / "1.png", exif=exif)
    clear, upright = ImageFolder(path=str(tmp_path), size=8, grey=True).read(None).arrays["c"]
    assert clear.min() == 255
    assert upright[0, :, 0].tolist() == [255] * 8
    assert upright[0, :, -1].tolist() == [0] * 8


def test_a_changed_image_is_read_again(photos: Path) -> None:
    """The cache notices that a file changed."""
    source = ImageFolder(path=str(photos), size=8)
    before = open_dataset(source, "image_folder", None).digest
    Image.new("RGB", (9, 9)).save(photos / "kind3" / "0.png")
    assert open_dataset(source, "image_folder", None).digest != before


def test_hidden_files_are_passed_over(photos: Path) -> None:
    """What a desktop leaves behind is neither a class nor an image."""
    (photos / "kind3" / ".DS_Store").write_text("x")
    (photos / ".thumbnails").mkdir()
    assert len(ImageFolder(path=str(photos), size=8).read(None).arrays) == len(NAMES)


def test_mistakes_are_named(photos: Path, tmp_path: Path) -> None:
    """A missing folder, too few classes, an empty class, a file that is no image."""
    assert "no folder" in refusal(ImageFolder(path=str(tmp_path / "missing")))
    assert "no folder" in refusal(ImageFolder(path=str(photos), splits="missing"))
    assert "0 classes" in refusal(ImageFolder(path=str(photos / "kind1")))
    (photos / "kind2" / "notes.txt").write_text("not an image")
    assert "notes.txt: it cannot be read as an image" in refusal(ImageFolder(path=str(photos)))
    (photos / "kind2" / "notes.txt").unlink()
    deep = Image.fromarray(np.full((9, 9), 40000, np.uint16))
    deep.save(photos / "kind2" / "deep.png")
    assert "deep.png: it cannot be read" in refusal(ImageFolder(path=str(photos)))
    (photos / "kind2" / "deep.png").unlink()
    (photos / "none").mkdir()
    assert "none: a class with no image" in refusal(ImageFolder(path=str(photos)))


def test_what_it_is_called_is_a_name_alone(photos: Path) -> None:
    """Reports call it so; the set, and the cache of one without a name, are what they were."""
    plain, named = (ImageFolder(path=str(photos), size=8, called=one) for one in (None, "flowers"))

    sets = [open_dataset(one, "image_folder", None) for one in (plain, named)]

    assert (plain.title, named.title) == (None, "flowers")
    assert sets[0].digest == sets[1].digest
    assert "called" not in resolved("data", "image_folder", plain)["params"]
