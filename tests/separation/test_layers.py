import numpy as np
import pytest

from clearpane.errors import ClearpaneError
from clearpane.separation.layers import Layers
from clearpane.separation.separator import load_separator


def test_layers_of_different_size_are_refused():
    with pytest.raises(ValueError, match="differ in size"):
        Layers(np.zeros((4, 5, 3)), np.zeros((5, 4, 3)))


def test_layers_need_three_channels():
    with pytest.raises(ValueError, match="H x W x 3"):
        Layers(np.zeros((4, 5)), np.zeros((4, 5)))


def test_an_unknown_separator_names_the_known_ones():
    with pytest.raises(ClearpaneError, match=r"'nosuch'.*compact"):
        load_separator("nosuch")
