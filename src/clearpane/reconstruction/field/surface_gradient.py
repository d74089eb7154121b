"""Compute the gradient of a signed distance, its surface normal, without automatic differentiation."""

from torch import Tensor

from clearpane.reconstruction.field.rendering import Field

# Step of the differences, metres.
_STEP = 0.008
_TETRAHEDRON = ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0))


def distance_gradient(field: Field, points: Tensor) -> Tensor:
    """Compute ``grad s`` by differences over the corners of a tetrahedron: [P, 3] -> [P, 3].

    The formula is ``sum_i k_i s(x + h k_i) / 4 h``. Automatic differentiation would need second derivatives
    of look-ups, which PyTorch does not have; besides, this smooths the surface at the scale h.
    """
    corners = points.new_tensor(_TETRAHEDRON)
    places = (points[:, None] + _STEP * corners).reshape(-1, 3)
    distance = field.signed_distance(places).reshape(-1, 4, 1)
    return (distance * corners).sum(1) / (4 * _STEP)
