"""The loss by which pretext tasks compare two views of each example.

Shapes: B examples, N = 2 B views, D projected features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def nt_xent(z_ND: Tensor, temperature: float) -> Tensor:
    """Return the normalised temperature-scaled cross-entropy, averaged over all views.

    ``z_ND`` holds one view of every example, then the other in the same order. With z on the unit
    sphere and t the temperature, the loss of a view i whose other view is j is
        -log( exp(z_i . z_j / t) / sum over k != i of exp(z_i . z_k / t) ),
    equation 1 of Chen et al. (2020), arXiv:2002.05709.
    """
    z_ND = F.normalize(z_ND, dim=1)
    similarity_NN = z_ND @ z_ND.T / temperature
    itself_NN = torch.eye(len(z_ND), dtype=torch.bool, device=z_ND.device)
    other_N = torch.arange(len(z_ND), device=z_ND.device).roll(len(z_ND) // 2)
    return F.cross_entropy(similarity_NN.masked_fill(itself_NN, -torch.inf), other_N)
