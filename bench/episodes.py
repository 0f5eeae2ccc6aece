"""The shared test banks: which examples make up test episode e, whoever is tested.

Episode e derives from (data digest, split, ways, queries, e) and names neither a method nor a
seed. Queries are drawn first, so the 1-shot supports are subsets of the 5-shot ones. Only
``Philox.random_raw`` and argsort are used, since numpy may change its higher-level draws.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.seeds import derive


@dataclass(frozen=True, kw_only=True)
class Bank:
    """Test episodes: E episodes, N ways, K shots, Q queries.

    ``support_ENK`` and ``query_ENQ`` are positions in the split (examples sorted by class).
    ``digest`` covers every draw, beyond the K shots too: it is one for all shots of a suite.
    """

    support_ENK: np.ndarray
    query_ENQ: np.ndarray
    digest: str


def draw_bank(
    counts: Sequence[int],
    *,
    data_digest: str,
    split: str,
    ways: int,
    shots: int,
    queries: int,
    episodes: int,
) -> Bank:
    """Draw the bank of a split whose classes hold ``counts`` examples each.

    Raises:
        ValueError: more ways than classes, or shots + queries beyond the smallest class.
    """
    if ways > len(counts):
        raise ValueError(f"{ways} ways, but {split} has {len(counts)} classes")
    if shots + queries > min(counts):
        raise ValueError(
            f"{shots} shots + {queries} queries, but a class of {split} has {min(counts)} examples"
        )
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    support = np.empty((episodes, ways, shots), np.int64)
    query = np.empty((episodes, ways, queries), np.int64)
    total = hashlib.sha256()
    for episode in range(episodes):
        stream = np.random.Philox(
            key=derive("test episode", data_digest, split, ways, queries, episode)
        )
        chosen = _order(stream, len(counts))[:ways]
        total.update(chosen.astype("<i8").tobytes())
        for label, number in enumerate(chosen):
            order = _order(stream, counts[number])
            total.update(order.astype("<i8").tobytes())
            query[episode, label] = first[number] + order[:queries]
            support[episode, label] = first[number] + order[queries : queries + shots]
    return Bank(support_ENK=support, query_ENQ=query, digest=total.hexdigest())


@dataclass(frozen=True, kw_only=True)
class PretextBank:
    """Tasks of one pretext: E tasks, N ways, K shots, Q queries.

    ``classes_EN`` are the pretext's answers that a task is about; an example at a position of
    ``support_EKN`` or ``query_EQN`` is shown as the answer of its column. A task shows no example
    twice. ``digest`` covers every draw, beyond the K shots too.
    """

    classes_EN: np.ndarray
    support_EKN: np.ndarray
    query_EQN: np.ndarray
    digest: str


def draw_pretext_bank(
    num_examples: int,
    num_classes: int,
    *,
    data_digest: str,
    split: str,
    member: str,
    ways: int,
    shots: int,
    queries: int,
    tasks: int,
) -> PretextBank:
    """Draw tasks of a pretext with ``num_classes`` answers over a split of ``num_examples``.

    Task e derives from (data digest, split, ``member``: the pretext's digest, ways, queries, e).
    Queries are drawn first, so that 1-shot supports are subsets of 5-shot ones.

    Raises:
        ValueError: more ways than classes, or more examples in a task than in the split.
    """
    if ways > num_classes:
        raise ValueError(f"{ways} ways, but the pretext has {num_classes} classes")
    needed = ways * (shots + queries)
    if needed > num_examples:
        raise ValueError(f"a task of {needed} examples, but {split} has {num_examples}")
    classes = np.empty((tasks, ways), np.int64)
    examples = np.empty((tasks, shots + queries, ways), np.int64)
    total = hashlib.sha256()
    for task in range(tasks):
        key = derive("pretext task", data_digest, split, member, ways, queries, task)
        stream = np.random.Philox(key=key)
        classes[task] = _order(stream, num_classes)[:ways]
        order = _order(stream, num_examples)
        total.update(classes[task].astype("<i8").tobytes())
        total.update(order.astype("<i8").tobytes())
        examples[task] = order[:needed].reshape(-1, ways)
    return PretextBank(
        classes_EN=classes,
        support_EKN=examples[:, queries:],
        query_EQN=examples[:, :queries],
        digest=total.hexdigest(),
    )


def draw_environments(
    counts: Sequence[int],
    *,
    data_digest: str,
    split: str,
    shots: int,
    queries: int,
    episodes: int,
) -> Bank:
    """Draw a bank of one way in which every episode is another class: each is met once.

    The order of the classes derives from (data digest, split), the examples of one from (data
    digest, split, queries, class). Queries are drawn first, as in ``draw_bank``.

    Raises:
        ValueError: more episodes than classes, or shots + queries beyond the smallest of them.
    """
    if episodes > len(counts):
        raise ValueError(f"{episodes} episodes, but {split} has {len(counts)} classes")
    if shots + queries > min(counts):
        raise ValueError(
            f"{shots} shots + {queries} queries, but a class of {split} has {min(counts)} examples"
        )
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    at = (data_digest, split)
    classes = _order(np.random.Philox(key=derive("order of environments", *at)), len(counts))
    total, drawn = hashlib.sha256(), []
    for number in classes[:episodes].tolist():
        stream = np.random.Philox(key=derive("environment", *at, queries, number))
        order = first[number] + _order(stream, counts[number])
        total.update(order.astype("<i8").tobytes())
        drawn.append(order[: queries + shots])
    positions_E1X = np.stack(drawn)[:, None]
    return Bank(
        support_ENK=positions_E1X[..., queries:],
        query_ENQ=positions_E1X[..., :queries],
        digest=total.hexdigest(),
    )


@dataclass(frozen=True, kw_only=True)
class StreamBank:
    """Streams of groups: E streams, T groups, N classes of a group, K shots, Q queries.

    ``support_ETKN`` and ``query_ETQN`` are positions in the split, ``classes_TN`` the classes of a
    stream that the columns of a group are, and ``domains_ET`` the domain that each group is shown
    in, where groups are domains. A stream shows no example twice. ``digest`` covers every draw,
    beyond the K shots too.
    """

    support_ETKN: np.ndarray
    query_ETQN: np.ndarray
    classes_TN: np.ndarray
    domains_ET: np.ndarray | None
    digest: str


def draw_streams(
    counts: Sequence[int],
    *,
    data_digest: str,
    split: str,
    groups: int,
    ways: int,
    shots: int,
    queries: int,
    streams: int,
    domains: str | None = None,
) -> StreamBank:
    """Draw streams of ``groups`` times ``ways`` classes of a split; see ``draw_bank``.

    With ``domains`` (the digest of what shows them) groups are domains, all of the same ``ways``
    classes: the order of the domains in stream e derives from (data digest, split, domains, ways,
    queries, e). Supports are cut so that the 1-shot ones are subsets of the 5-shot ones.

    Raises:
        ValueError: the split has not that many classes, or examples in a class.
    """
    cut = 1 if domains is None else groups  # into how many groups the examples of a class go
    bank = draw_bank(
        counts,
        data_digest=data_digest,
        split=split,
        ways=ways * groups // cut,
        shots=shots * cut,
        queries=queries * cut,
        episodes=streams,
    )

    def in_groups(positions_ECX: np.ndarray) -> np.ndarray:
        if domains is None:
            return positions_ECX.reshape(streams, groups, ways, -1).swapaxes(2, 3)
        return positions_ECX.reshape(streams, ways, -1, groups).transpose(0, 3, 2, 1)

    order = None
    if domains is not None:
        at = ("order of domains", data_digest, split, domains, ways, queries)
        philox = (np.random.Philox(key=derive(*at, stream)) for stream in range(streams))
        order = np.stack([_order(one, groups) for one in philox])
    total = hashlib.sha256(bank.digest.encode())
    total.update(b"" if order is None else order.astype("<i8").tobytes())
    classes = np.arange(ways * groups // cut).reshape(-1, ways)
    return StreamBank(
        support_ETKN=in_groups(bank.support_ENK),
        query_ETQN=in_groups(bank.query_ENQ),
        classes_TN=np.broadcast_to(classes, (groups, ways)),
        domains_ET=order,
        digest=total.hexdigest(),
    )


def _order(stream: np.random.Philox, count: int) -> np.ndarray:
    """Return a random order of ``count`` things."""
    return np.argsort(stream.random_raw(count), kind="stable")
