"""Exact electron counts: where the electrons go that the network's densities lack or have too many of.

The network's own counts p_k of the sites k add up to nearly the right number. Where the correction goes must not reach
across empty space: of two molecules out of each other's sight, each should hold its own electrons. So charge may only
move along the edges of the graph. Of all flows f_kl and corrections δ_k = m_k + Σ_l f_lk, with m_k = Z_k − q_k − p_k
what a site lacks (q_k is an even share of its molecule's charge, see ``fragments``), the likeliest is sought: the
smallest Σ δ_k² / 2y_k + Σ f_kl² / 2c_kl, where the yield y_k is the variance of a site's count in the training data
and the conductance c_kl fades to zero at a few Å. Its solution is δ_k = y_k φ_k with the potential φ of (Y + L) φ = m,
L the graph's Laplacian of weights c: charge equilibration. Σ δ = Σ m whatever the network says, and for every part of
the graph that no edge leaves likewise. Inside a molecule conductances are far above yields and φ is nearly constant.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from orbdens.models.graph import Graph

CONDUCTANCE = 100.0
"""e²; of a pair of sites at no distance. Yields are 0.001 to 0.1 e²: inside a molecule the potential is constant."""

REACH = 4.0
"""Å; charge moves no farther in one step: along bonds and hydrogen bonds, and not between molecules side by side."""

SMALL = 1e-9
"""e²; the least yield in the equations: sites that have faded out would make them singular."""

MOST_DENSE = 800
"""Sites of a structure up to which the equations are written out, as a matrix, in prediction as in training."""

ACCURACY = 1e-12
"""Norm of what is left over when larger ones are solved step by step, relative to that of what the sites lack."""


def equilibrium(counts: Tensor, yields: Tensor, neutral: Tensor, graph: Graph, cutoff: float) -> Tensor:
    """Potentials φ of all sites [n_sites]: site k is to get ``yields[k] * φ[k]`` electrons more.

    Args:
        counts: electrons of the sites as the network has them [n_sites], float64.
        yields: change of a site's electrons by a unit of potential [n_sites], e².
        neutral: electrons of the neutral atom, zero for virtual sites [n_sites].
        graph: the graph of many structures; ``n_electrons`` is what each of them must hold.
        cutoff: cut-off of its edges, Å.
    """
    shape = (graph.n_structures, int(graph.site_ptr.diff().max()))
    missing = neutral - graph.charge_share - counts
    conductance = _conductances(graph, min(REACH, cutoff))
    if shape[1] > MOST_DENSE and not torch.is_grad_enabled():
        return _solve_sparse(yields.clamp(min=SMALL), conductance, missing, graph)
    row = torch.arange(len(counts), device=counts.device) - graph.site_ptr[graph.structure_of_site]
    place = graph.structure_of_site * shape[1] + row

    def padded(values: Tensor, empty: float) -> Tensor:
        """Values of sites as [n_structures, most sites]."""
        return values.new_full(shape, empty).flatten().index_copy(0, place, values).reshape(shape)

    laplacian = _laplacian(graph, conductance, row, shape)
    diagonal = padded(yields.clamp(min=SMALL), 1.0)
    potential: Tensor = torch.linalg.solve(laplacian + torch.diag_embed(diagonal), padded(missing, 0.0))
    return potential.flatten()[place]


def with_electrons(
    coefficients: Sequence[Tensor],
    charges: Sequence[Tensor],
    shifts: Sequence[Tensor],
    neutral: Sequence[float],
    graph: Graph,
) -> list[Tensor]:
    """Coefficients of atoms with which every structure holds its electrons.

    Args:
        coefficients: for each element [n_atoms, n], the l = 0 functions first, float64.
        charges: electrons in those functions, for each element [n_radial].
        shifts: the likeliest change of their coefficients by a unit of potential, e.g. covariance · charge, likewise.
        neutral: electrons of the neutral atom of each element.
        graph: of the atoms, with edges up to ``REACH``.
    """
    counts = torch.zeros(len(graph.site_type), dtype=torch.float64)
    yields, wanted = torch.zeros_like(counts), torch.zeros_like(counts)
    for kind, (c, charge, shift) in enumerate(zip(coefficients, charges, shifts, strict=True)):
        atoms = graph.site_type == kind
        counts[atoms] = c[:, : len(charge)] @ charge
        yields[atoms] = shift @ charge
        wanted[atoms] = neutral[kind]
    potential = equilibrium(counts, yields, wanted, graph, REACH)
    return [
        torch.cat([c[:, : len(shift)] + potential[graph.site_type == kind, None] * shift, c[:, len(shift) :]], dim=1)
        for kind, (c, shift) in enumerate(zip(coefficients, shifts, strict=True))
    ]


def _conductances(graph: Graph, reach: float) -> Tensor:
    """c of every edge, e², float64 [n_edges]."""
    source, target = graph.edge_index
    u = (graph.edge_vector.double().norm(dim=1) / reach).clamp(max=1.0)
    fade = (1 - u) ** 3 * (1 + 3 * u + 6 * u**2)  # two derivatives vanish at the reach
    weight = graph.site_weight.double()
    return CONDUCTANCE * fade * weight[source] * weight[target]


def _solve_sparse(diagonal: Tensor, conductance: Tensor, missing: Tensor, graph: Graph) -> Tensor:
    """The potentials of large structures, by conjugate gradients: time and memory go with the number of sites."""
    from scipy.sparse import coo_array, diags_array
    from scipy.sparse.linalg import cg

    near = conductance.nonzero()[:, 0]
    source, target = graph.edge_index[:, near].cpu().numpy()
    n, weight = len(missing), conductance[near].cpu().numpy()
    one_way = coo_array((weight, (source, target)), shape=(n, n)).tocsr()
    off_diagonal = one_way + one_way.T
    whole = diagonal.cpu().numpy() + off_diagonal.sum(axis=0)
    solution, failed = cg(
        diags_array(whole) - off_diagonal, missing.cpu().numpy(), rtol=ACCURACY, M=diags_array(1 / whole)
    )
    if failed:
        raise RuntimeError(f"the electrons of {n} sites found no equilibrium in {failed} steps")
    return torch.from_numpy(solution).to(missing)


def _laplacian(graph: Graph, conductance: Tensor, row: Tensor, shape: tuple[int, int]) -> Tensor:
    """The graph's Laplacian of the conductances, float64 [n_structures, most sites, most sites]."""
    source, target = graph.edge_index
    n, most = shape
    first = graph.structure_of_site[source] * most
    flat = conductance.new_zeros(n * most * most)
    flat = flat.index_add(0, (first + row[source]) * most + row[target], conductance)
    flat = flat.index_add(0, (first + row[target]) * most + row[source], conductance)
    matrix = flat.reshape(n, most, most)
    return torch.diag_embed(matrix.sum(dim=2)) - matrix
