"""The engine under the methods: what passes the encoder, what is tied, what is seeded."""

import pytest
import torch
from torch import Tensor, nn

from bench.contract import Norm
from bench.encoder.conv4 import Conv4
from bench.form import Form
from bench.seeds import derive
from bench.stages.engine import Learner
from bench.stages.network import Network
from bench.stages.streams import seed_default

CPU = torch.device("cpu")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("norm", ["running", "support", "transductive", "group"])
def test_queries_alone_are_the_queries_of_both(norm: Norm, training: bool) -> None:
    """The support is left out where it has no say in the queries' features, and only there."""
    seed_default("test of the engine")
    support_x, query_x = torch.rand(4, 1, 16, 16).double(), torch.rand(6, 1, 16, 16).double()
    encoder = Conv4(width=8).module(Form(shape=(1, 16, 16), modality="image")).double()
    network = Network(encoder, nn.Identity(), channels_last=False, grouped=norm == "group")
    params, buffers = network.tensors(CPU)

    def learner() -> Learner:
        own = {name: value.clone() for name, value in buffers.items()}
        return Learner(network, own, norm, training=training)

    both, alone = learner(), learner()
    expected = both.embed_both(params, support_x, query_x)[1]
    torch.testing.assert_close(alone.embed_queries(params, support_x, query_x), expected)
    has_a_say = norm == "support" or (norm == "running" and training)
    assert (both.passed, alone.passed) == (10, 10 if has_a_say else 6)


class Tied(nn.Module):
    """Two layers of one weight."""

    def __init__(self) -> None:
        """Make the weight."""
        super().__init__()
        self.first, self.second = (nn.Linear(3, 3, bias=False) for _ in range(2))
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        """Apply the weight twice."""
        twice: Tensor = self.second(self.first(x))
        return twice


def test_a_tensor_with_two_names_is_one_parameter() -> None:
    """An encoder that uses a weight twice is a function of it in both places."""
    network = Network(Tied(), nn.Identity(), channels_last=False, grouped=False)
    params, buffers = network.tensors(CPU)
    assert list(params) == ["encoder.first.weight"]
    tripled = {"encoder.first.weight": 3 * torch.eye(3)}
    actual = network.encode(tripled, buffers, torch.ones(1, 3), "batch")
    torch.testing.assert_close(actual, torch.full((1, 3), 9.0))


def test_the_default_generator_is_seeded_as_torch_does() -> None:
    """The streams are those of torch.manual_seed, without what it does beside."""
    seed_default("a", 1)
    actual = torch.rand(5)
    torch.manual_seed(derive("a", 1))
    assert torch.equal(actual, torch.rand(5))
