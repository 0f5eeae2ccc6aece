"""What editors are told of suites."""

import json

from bench.catalogue import entries
from bench.pipeline import schema_json


def test_the_schema_offers_the_plug_ins() -> None:
    """Where a suite names a method, the schema lists those that are installed."""
    offered = json.loads(schema_json())["properties"]["meta"]["examples"]

    assert offered == sorted(entries("meta"))
    assert {"maml", "none", "protonet", "reptile"} <= set(offered)
