"""The truth on disk: whole or not at all, damage noticed, nothing lost, nothing left behind."""

import json
import threading
from pathlib import Path

import pytest

from bench import store as store_module
from bench.cell import StageSpec
from bench.errors import UserError
from bench.store import FORMAT, Damaged, Store, write_atomic

SPEC = StageSpec(kind="pretrain", inputs={"seed": 0, "needs": {}})
FILES = {"weights.safetensors": b"weights", "more.parquet": b"more"}


class Killed(BaseException):
    """Stands for the process's end: nothing after it runs."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    made = Store(tmp_path / "results")
    made.prepare()
    return made


def commit(store: Store, files: dict[str, bytes] | None = None) -> Path:
    """Commit SPEC as a stage does; return its folder."""
    with store.writing(SPEC.key):
        store.commit(SPEC, {"inputs": {"seed": 0}}, FILES if files is None else files)
    return store.folder(SPEC.kind, SPEC.key)


def below(folder: Path) -> set[str]:
    """Name every file below a folder but locks."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def test_a_finished_stage_is_found_and_read(store: Store) -> None:
    """What is committed is found by kind and key, listed, and read back as it was written."""
    assert not store.has("pretrain", SPEC.key)
    commit(store)
    assert store.has("pretrain", SPEC.key)
    assert list(store.keys("pretrain")) == [SPEC.key]
    assert list(store.keys("evaluate")) == []
    assert store.read("pretrain", SPEC.key, "more.parquet") == b"more"
    assert store.manifest("pretrain", SPEC.key) == {"inputs": {"seed": 0}}
    store.check("pretrain", SPEC.key)


def test_a_commit_leaves_its_folder_alone(store: Store) -> None:
    """After a commit the store holds FORMAT and the stage's files with their sums, no more."""
    folder = commit(store).relative_to(store.root)
    names = {"manifest.json", "SHA256SUMS", *FILES}
    assert below(store.root) == {"FORMAT", *(str(folder / name) for name in names)}
    assert folder.parts == ("stages", "pretrain", SPEC.key[:2], SPEC.key)


@pytest.mark.parametrize("survived", range(4))
def test_killed_while_writing(store: Store, monkeypatch: pytest.MonkeyPatch, survived: int) -> None:
    """A process killed at any write before the rename leaves nothing finished, and no obstacle."""
    real, count = store_module._write_flushed, 0

    def write(path: Path, content: bytes) -> None:
        nonlocal count
        if count == survived:
            path.write_bytes(content[:1])
            raise Killed
        count += 1
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "_write_flushed", write)
        with pytest.raises(Killed):
            commit(store)
    assert not store.has("pretrain", SPEC.key)
    assert list(store.keys("pretrain")) == []
    commit(store)
    store.check("pretrain", SPEC.key)


def test_killed_before_the_rename(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process killed when all is written but not renamed leaves nothing finished."""

    def rename(self: Path, target: Path) -> Path:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(Killed):
            commit(store)
    assert not store.has("pretrain", SPEC.key)
    commit(store)
    store.check("pretrain", SPEC.key)


def test_a_second_finisher_discards_its_own(store: Store) -> None:
    """Who finds the stage finished keeps it, and removes what it wrote itself."""
    commit(store)
    commit(store, {"weights.safetensors": b"another"})
    assert store.read("pretrain", SPEC.key, "weights.safetensors") == b"weights"
    assert not store.partial(SPEC.key).exists()


def test_a_second_finisher_checks_the_first(store: Store) -> None:
    """Who finds the stage finished but damaged says so instead of trusting it."""
    (commit(store) / "more.parquet").write_bytes(b"less")
    with pytest.raises(Damaged, match="does not match"):
        commit(store)


def test_one_writer_at_a_time(store: Store) -> None:
    """A second owner of a stage waits until the first has let go."""
    order = []

    def second() -> None:
        with store.writing(SPEC.key):
            order.append("second")

    with store.writing(SPEC.key):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


DAMAGES = {
    "a changed byte": lambda folder: (folder / "more.parquet").write_bytes(b"mora"),
    "a shorter file": lambda folder: (folder / "more.parquet").write_bytes(b"mor"),
    "a file gone": lambda folder: (folder / "weights.safetensors").unlink(),
    "another manifest": lambda folder: (folder / "manifest.json").write_text("{}"),
    "a file more": lambda folder: (folder / "extra.parquet").write_bytes(b""),
    "empty sums": lambda folder: (folder / "SHA256SUMS").write_bytes(b""),
    "a line of the sums gone": lambda folder: (folder / "SHA256SUMS").write_text(
        "\n".join((folder / "SHA256SUMS").read_text().splitlines()[1:])
    ),
    "sums that are no text": lambda folder: (folder / "SHA256SUMS").write_bytes(b"\xff\xfe\x00"),
    "sums of another form": lambda folder: (folder / "SHA256SUMS").write_text("hello\n\n  \n"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed(store: Store, damage: str) -> None:
    """Any change of a finished stage's files or sums fails its check, as Damaged."""
    folder = commit(store)
    DAMAGES[damage](folder)
    with pytest.raises(Damaged, match=SPEC.key):
        store.check("pretrain", SPEC.key)


def test_reading_checks_the_sum(store: Store) -> None:
    """A damaged file is never handed out, nor is a file that the sums do not name."""
    folder = commit(store)
    (folder / "more.parquet").write_bytes(b"mora")
    for name in ("more.parquet", "not-there"):
        with pytest.raises(Damaged, match=name):
            store.read("pretrain", SPEC.key, name)
    assert store.read("pretrain", SPEC.key, "weights.safetensors") == b"weights"


def test_a_damaged_stage_is_set_aside(store: Store) -> None:
    """What is set aside is kept under another name each time, and can be committed again."""
    places = []
    for _ in range(2):
        (commit(store) / "more.parquet").write_bytes(b"mora")
        places.append(store.set_aside("pretrain", SPEC.key))
        assert not store.has("pretrain", SPEC.key)
    assert places == [store.root / "aside" / f"{SPEC.key}-{n}" for n in range(2)]
    assert [(place / "more.parquet").read_bytes() for place in places] == [b"mora"] * 2
    commit(store)
    store.check("pretrain", SPEC.key)


def test_a_stage_that_lost_its_sums_is_computed_again(store: Store) -> None:
    """A folder without sums does not count as finished, and does not block the next commit."""
    (commit(store) / "SHA256SUMS").unlink()
    assert not store.has("pretrain", SPEC.key)
    commit(store)
    store.check("pretrain", SPEC.key)


def test_a_hidden_file_is_no_damage(store: Store) -> None:
    """What a file browser leaves in a stage's folder does not make it damaged."""
    (commit(store) / ".DS_Store").write_bytes(b"")
    store.check("pretrain", SPEC.key)


def test_another_format_is_refused(store: Store) -> None:
    """A store that another version wrote is refused, and left as it is."""
    (store.root / "FORMAT").write_text("meta-ssl-bench store 99\n")
    with pytest.raises(UserError, match="another format, 'meta-ssl-bench store 99'"):
        store.prepare()
    assert (store.root / "FORMAT").read_text() == "meta-ssl-bench store 99\n"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"hello"])
def test_a_format_that_is_nonsense_is_refused(store: Store, content: bytes) -> None:
    """Whatever stands in FORMAT, the answer is one clear error."""
    (store.root / "FORMAT").write_bytes(content)
    with pytest.raises(UserError, match="another format"):
        store.prepare()


@pytest.mark.parametrize("blocked", ["results", "results/store", "results/store/FORMAT"])
def test_an_unwritable_folder(tmp_path: Path, blocked: str) -> None:
    """Where the store cannot be written, the error names --results and the reason."""
    path = tmp_path / blocked
    path.parent.mkdir(parents=True, exist_ok=True)
    if blocked.endswith("FORMAT"):
        path.mkdir()
    else:
        path.write_text("in the way")
    with pytest.raises(UserError, match=r"--results .*results: the folder cannot be written"):
        Store(tmp_path / "results").prepare()


def test_preparing_twice_changes_nothing(store: Store) -> None:
    """A store that is there is taken as it is."""
    commit(store)
    store.prepare()
    assert (store.root / "FORMAT").read_text() == FORMAT
    assert store.has("pretrain", SPEC.key)


def test_failures_are_kept_in_order(store: Store) -> None:
    """Every failed outcome stays, oldest first, beyond ten of them."""
    assert store.failures(SPEC.key) == []
    for number in range(12):
        store.add_failure(SPEC.key, {"reason": f"reason {number}", "traceback": "é\n"})
    reasons = [failure["reason"] for failure in store.failures(SPEC.key)]
    assert reasons == [f"reason {number}" for number in range(12)]
    assert store.failures(SPEC.key)[0]["traceback"] == "é\n"


def test_failures_survive_a_gap_and_strangers(store: Store) -> None:
    """A failure removed by hand, or a stranger's file, stops neither reading nor adding."""
    for number in range(3):
        store.add_failure(SPEC.key, {"reason": str(number)})
    parent = store.root / "failures" / SPEC.key
    (parent / "1" / "failure.json").unlink()
    (parent / "1").rmdir()
    (parent / ".DS_Store").write_bytes(b"")
    store.add_failure(SPEC.key, {"reason": "3"})
    assert [failure["reason"] for failure in store.failures(SPEC.key)] == ["0", "2", "3"]


def test_write_atomic_leaves_no_scratch(tmp_path: Path) -> None:
    """A file is replaced whole, and nothing lies beside it, whether that worked or not."""
    write_atomic(tmp_path / "file", b"one")
    write_atomic(tmp_path / "file", b"two")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"two"}
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        write_atomic(tmp_path / "folder", b"three")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_manifest_is_readable_json(store: Store) -> None:
    """A manifest on disk is JSON with sorted keys, so that two of one stage can be compared."""
    with store.writing(SPEC.key):
        store.commit(SPEC, {"b": 1, "a": {"d": 2, "c": [1.5, None]}}, {})
    text = (store.folder("pretrain", SPEC.key) / "manifest.json").read_text()
    assert json.loads(text) == {"a": {"c": [1.5, None], "d": 2}, "b": 1}
    assert text.index('"a"') < text.index('"c"') < text.index('"d"') < text.index('"b"')
