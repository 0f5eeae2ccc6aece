"""What a suite may not hold: every mistake is one error with file, line, key and what works."""

from pathlib import Path

import pytest

from bench.errors import UserError
from bench.suite import AXES, read_suite

FAMILY = "tasks: {name: pretext, family: [turns, {name: places, spare: 0.1}]}\n"
SMALL = "name: small\nmeta: maml\n"  # two lines: what is appended begins in line 3


def shortened(text: str) -> str:
    """Name a test after the beginning of what it reads."""
    return text[:40]


def message_of(tmp_path: Path, text: str) -> str:
    """Return the message of the one error that a suite causes."""
    (tmp_path / "suite.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_suite(tmp_path / "suite.yaml")
    return str(caught.value)


MISTAKES = [
    # keys
    ("margn: 1", ":3: margn: unknown key 'margn'. Did you mean margin?"),
    ("grid: {pretxt: a}", ":3: grid.pretxt: unknown key 'pretxt'. Did you mean pretext?"),
    ("grid:\n  margin: 1", ":4: grid.margin: unknown key 'margin'. It belongs at the top level."),
    ("variants:\n- {mta: a}", ":4: variants[0].mta: unknown key 'mta'. Did you mean meta?"),
    ("variants: [{shots: 1}]", "variants[0].shots: unknown key 'shots'. It belongs at the top"),
    ("budget: {steps: 5}", ":3: budget.steps: unknown key 'steps'."),
    ("evaluate: {episode: 5}", "evaluate.episode: unknown key 'episode'. Did you mean episodes?"),
    ("baseline: {train: {meat: a}}", "train.meat: unknown key 'meat'. Did you mean meta?"),
    ("baseline: {trian: {meta: a}}", "baseline.trian: unknown key 'trian'. Did you mean train?"),
    ("baseline: {train: a, meta: b}", "baseline.meta: unknown key 'meta'. Write axes alone, or"),
    ('"a\\nb": 1', ":3: 'a\\nb' (text): unknown key 'a\\nb'. Known: augment, auxiliary,"),
    ("margn: 1\nwys: 5", ":3: margn: unknown key 'margn'. Did you mean margin? (And 1 more.)"),
    ("ways: x\ngrid: {seeds: x}\nmargn: 1", ":3: ways: 'x' (text)."),
    # types
    ("shots: [1, true]", ":3: shots[1]: true (a boolean). It should be a valid integer."),
    ("ways: '5'", ":3: ways: '5' (text). It should be a valid integer."),
    ("evaluate: {queries: 1.0}", ":3: evaluate.queries: 1.0. It should be a valid integer."),
    ("budget: {pretrain_examples: 1e6}", "pretrain_examples: 1000000.0. It should be a valid"),
    ("seeds: true", ":3: seeds: true (a boolean). Write a count from 1 to 1000, or a list."),
    ('seeds: "5"', ":3: seeds: '5' (text). Write a count from 1 to 1000, or a list."),
    ("margin: true", ":3: margin: true (a boolean). It should be a valid number."),
    ("budget: big", ":3: budget: 'big' (text). It should be a mapping."),
    ("variants: [{label: 5}]", "variants[0].label: 5. It should be text."),
    ("pretext: 5", ":3: pretext: 5. Write none, a name, or a mapping of name and parameters;"),
    ("pretext:", ":3: pretext: nothing (null). Write none, a name, or a mapping of name and"),
    ("grid: {pretext: [null]}", ":3: grid.pretext[0]: nothing (null). Write none, a name, or a"),
    ("pretext: [a, b]", ":3: pretext: a list, ['a', 'b']. Write none, a name, or a mapping of"),
    ("pretext: {order: 1}", ":3: pretext: the name is missing. Write {name: ..., and parameters"),
    ("pretext: ' '", ":3: pretext: the name is ' ' (text). Write {name: ..., and parameters"),
    ("pretext: {name: }", ":3: pretext: the name is nothing (null). Write {name: ..., and"),
    ("baseline: 5", ":3: baseline: 5. It should be text."),
    # values
    ("shots: 0", ":3: shots: 0. It should be greater than 0."),
    ("evaluate: {episodes: -5}", ":3: evaluate.episodes: -5. It should be greater than 0."),
    ("ways: 1", ":3: ways: 1. It should be greater than or equal to 2."),
    ("seeds: [-1]", ":3: seeds[0]: -1. It should be greater than or equal to 0."),
    ("seeds: 0", ":3: seeds: 0. Write a count from 1 to 1000, or a list."),
    ("seeds: 9_000_000_000", ":3: seeds: 9000000000. Write a count from 1 to 1000, or a list."),
    ("margin: 0", ":3: margin: 0. It should be greater than 0."),
    ("margin: 1", ":3: margin: 1. It should be less than 1."),
    ("margin: .nan", ":3: margin: nan is too large or no number. Use a finite one."),
    ("data: {name: a, x: [.inf]}", ":3: data.x[0]: inf is too large or no number."),
    ("margin: 1e999", ":3: margin: inf is too large or no number. Use a finite one."),
    (f"ways: {'9' * 40}", ":3: ways: 9999999999999999999999999999999999999999 is too large or no"),
    (f"ways: {'9' * 5000}", ":3: ways: unreadable text, "),
    ("selection: best", ":3: selection: 'best' (text). Known: label_val, last,"),
    ("norm: runing", ":3: norm: 'runing' (text). Did you mean running?"),
    ("init: {name: scratch, a: 1}", ":3: init: parameters of init scratch. It has none: write"),
    ("controls: [random]", ":3: controls[0]: 'random' (text). Did you mean random_init?"),
    (
        "budget: {pretrain_examples: 5, pretrain_steps: 5}",
        ":3: budget: both pretrain_examples and pretrain_steps. Keep one of the two.",
    ),
    ("auxiliary: rotation", ":3: auxiliary: 'rotation' (text). Write {pretext: rotation, weight:"),
    ("auxiliary: {weight: 1}", ":3: auxiliary: pretext is missing. Write pretext: and its value."),
    (
        "grid: {auxiliary: [{pretext: a, wieght: 1}]}",
        ":3: grid.auxiliary[0].wieght: unknown key 'wieght'. Did you mean weight?",
    ),
    ("auxiliary: {pretext: a, weight: 0}", ":3: auxiliary.weight: 0. It should be greater than"),
    ("variants: [{label: random_init}]", "random_init is a control's name. Choose another label."),
    ("variants: [{label: ' a'}]", "variants[0].label: ' a' (text). Use one line of 1 to 80"),
    # nothing
    ("grid: {}", ":3: grid: an empty mapping. Name at least one of data, encoder, pretext, init,"),
    ("grid:", ":3: grid: nothing (null). It should be a mapping."),
    ("grid: {pretext: []}", ":3: grid.pretext: an empty list. It should have at least 1 item."),
    ("seeds: []", ":3: seeds: an empty list. It should have at least 1 item."),
    ("variants: []", ":3: variants: an empty list. It should have at least 1 item."),
    ("baseline: {train: {}}", ":3: baseline.train: an empty mapping. Name at least one of data,"),
    # the same thing twice
    ("\ngrid:\n  meta: a", ":5: grid.meta: meta also stands in line 2, at the top level."),
    ("shots: 1\ngrid: {shots: 5}", ":4: grid.shots: shots also stands in line 3, at the top"),
    ("grid:\n  init:\n  - pretext\n  - {name: pretext}", ":6: grid.init[1]: the same as"),
    ("seeds: [3, 4, 3]", ":3: seeds[2]: the same as"),
    ("grid: {seeds: [3, 3]}", ":3: grid.seeds[1]: the same as"),
    ("shots: [1, 1]", ":3: shots[1]: the same as"),
    ("controls: [random_init, random_init]", ":3: controls[1]: the same as"),
    ("variants:\n- {label: a}\n- {label: a, meta: b}", ":5: variants[1]: the same as"),
    ("variants:\n- {label: a, meta: b}\n- {meta: b}", ":5: variants[1]: the same as"),
    ("grid: {init: scratch}\nvariants: [{init: scratch}]", "[0]: the same as"),
    ("grid: {auxiliary: [{pretext: a}, {pretext: a, weight: 1}]}", ":3: grid: the same as"),
    (
        "grid: {" + ", ".join(f"{axis}: {[*map(str, range(30))]}" for axis in AXES[:3]) + "}",
        ":3: grid: 27000 combinations. Use at most 10000.",
    ),
    # members that are held out
    ("held_out: [a]", ":3: held_out: held_out without tasks. Write tasks: {name: pretext, family:"),
    ("tasks: labels\nheld_out: [a]", ":4: held_out: held_out, but the tasks are labels. Write"),
    (
        "tasks: pretext\nheld_out: [a]",
        ":3: tasks: the family is missing. Write tasks: {name: pretext,",
    ),
    ("tasks: {name: pretext, family: a}\nheld_out: [a]", ":3: tasks.family: 'a' (text)."),
    (f"{FAMILY}held_out: [turn]", ":4: held_out[0]: 'turn' is not in the family. Did you mean"),
    (f"{FAMILY}held_out: [[turns, cut]]", ":4: held_out[0]: 'cut' is not in the family. Known:"),
    (f"{FAMILY}held_out: [turns, [places, turns]]", "held_out[1]: the whole family is held out."),
    (f"{FAMILY}held_out: [turns, [turns]]", ":4: held_out[1]: the same as"),
    (f"{FAMILY}held_out: [[turns, turns]]", "['turns', 'turns'], in which one stands twice."),
    (f"{FAMILY}held_out: []", ":4: held_out: an empty list. It should have at least 1 item."),
    (f"{FAMILY}held_out: [5]", ":4: held_out[0]: 5. Write a pretext's name, or a list of names."),
    (f"{FAMILY}held_out: [[5]]", ":4: held_out[0][0]: 5. It should be text."),
    (
        "tasks: {name: pretext, family: [a, {name: a, b: 1}, c]}\nheld_out: [a]",
        ":4: held_out[0]: the family has 2 members called a. Keep one of them:",
    ),
    ("evaluate: {rates: [0.1]}", ":3: evaluate.rates: rates without held_out or a protocol."),
    (
        "evaluate: {rate_tasks: 9}",
        ":3: evaluate.rate_tasks: rate_tasks without held_out or a protocol.",
    ),
    ("evaluate: {rates: [0.1, 0]}", ":3: evaluate.rates[1]: 0. It should be greater than 0."),
    (f"{FAMILY}held_out: [turns]\nevaluate: {{rates: [1, 1]}}", "evaluate.rates[1]: the same as"),
    # what YAML allows and a suite does not
    ("ways: 5\nways: 5", ":4: the key ways stands here again (first in line 3). Keep one."),
    ("grid: {init: a, init: b}", ":3: grid: the key init stands here again (first in line 3)."),
    ("data: !here a", ":3: a tag, !here. Write plain YAML, each value where it is used."),
    ("data: !!binary aGk=", ":3: a tag, tag:yaml.org,2002:binary. Write plain YAML, each value"),
    ("data: &here a", ":3: an anchor, &here. Write plain YAML, each value where it is used."),
    ("data: *here", ":3: an alias, *here. Write plain YAML, each value where it is used."),
    ("<<: {ways: 5}", ":3: a merge key, <<. Write each value where it is used."),
    ("---\nname: b", ":3: a second document. Write plain YAML, each value where it is used."),
    ("data: 2024-01-01", ":3: data: '2024-01-01' reads as a timestamp. Put it in quotes."),
    ("1: a", ":3: 1 as a key. A key is text."),
    ("null: a", ":3: nothing (null) as a key. A key is text."),
    ("? [a]\n: b", ":3: a list or mapping as a key. A key is text."),
    ("data: " + "[" * 5000 + "]" * 5000, ":3: values nested more than 20 deep. Write plain YAML,"),
    ("ways: [", ":3: this is not YAML: expected the node content, but found '<stream end>'."),
    ("data: \x01", ":3: this is not YAML: unacceptable character #x0001: special characters are"),
    ('data: "\\ud800"', ":3: data: unreadable text, 'utf-8' codec can't encode character"),
    ("data: -_", ":3: data: unreadable text, "),
    ('data: "\\UFFFFFFFF"', "this is not YAML: "),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES, ids=shortened)
def test_mistake_is_named(tmp_path: Path, text: str, expected: str) -> None:
    """A mistake is one error with the file, the line, the key, what was found and what works."""
    message = message_of(tmp_path, SMALL + text)
    assert expected in message
    assert message.startswith(f"{tmp_path}/suite.yaml:")
    assert "\n" not in message


WHOLE_FILES = [
    ("", ":1: the file holds nothing. Write a mapping that begins with name: my_suite."),
    ("# nothing\n", ":1: the file holds nothing. Write a mapping that begins with name:"),
    ("- a", ":1: the file holds a list, ['a']. Write a mapping that begins with name: my_suite."),
    ("maml", ":1: the file holds 'maml' (text). Write a mapping that begins with name: my_suite."),
    ("%YAML 1.1\n---\nname: no", ":2: a directive. Write plain YAML, each value where it is"),
    ("name: a\n\tmeta: b", ":2: this is not YAML: found character '\\t' that cannot start any"),
    ("meta: maml", ":1: name is missing. Write name: and its value."),
    ("name: a b\nmeta: c", ":1: name: 'a b' (text). It should match pattern"),
    ("name: ../a\nmeta: c", ":1: name: '../a' (text). It should match pattern"),
    ('name: "a\\n"\nmeta: c', ":1: name: 'a\\n' (text). It should match pattern"),
    ("name: a\ndata: b", ":1: an empty suite, which names no pretext and no meta."),
    ("name: a\ngrid: {seeds: 2}", ":1: an empty suite, which names no pretext and no meta."),
]


@pytest.mark.parametrize(("text", "expected"), WHOLE_FILES, ids=shortened)
def test_file_that_is_no_suite(tmp_path: Path, text: str, expected: str) -> None:
    """A file that holds no suite is one error that says what it holds."""
    assert expected in message_of(tmp_path, text)


def test_missing_file_suggests_a_neighbour(tmp_path: Path) -> None:
    """A misspelt file is answered with one that exists."""
    (tmp_path / "quickstart.yaml").write_text(SMALL)
    with pytest.raises(
        UserError, match=r"there is no such file\. Did you mean .*/quickstart\.yaml"
    ):
        read_suite(tmp_path / "quikstart.yaml")


def test_missing_folder_is_told(tmp_path: Path) -> None:
    """Where nothing is near, the error says what to name."""
    with pytest.raises(UserError, match=r"there is no such file\. Name a YAML file\."):
        read_suite(tmp_path / "nowhere" / "suite.yaml")


def test_folder_is_told(tmp_path: Path) -> None:
    """A folder in the place of a suite is one error."""
    with pytest.raises(UserError, match=r"it cannot be read \(Is a directory\)"):
        read_suite(tmp_path)


def test_bytes_that_are_no_text_are_told_with_their_line(tmp_path: Path) -> None:
    """A file that is not UTF-8 is one error with the line of the first bad byte."""
    (tmp_path / "suite.yaml").write_bytes(b"name: a\nmeta: \xff\n")
    with pytest.raises(UserError, match=r"suite\.yaml:2: this is not UTF-8 text"):
        read_suite(tmp_path / "suite.yaml")
