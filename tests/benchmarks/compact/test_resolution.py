"""The size of the network's input in each way that is compared on the pairs."""

from benchmarks.compact.resolution import ways

from .test_variants import dim, photo


def test_every_way_on_the_pairs_runs_the_network_at_the_size_it_says():
    image = photo(64, 96)
    for name, way in ways().items():
        seen = []

        def separate(x, seen=seen):
            seen.append(x.shape[:2])
            return dim(x)

        assert way(image, separate).transmission.shape == image.shape
        divisor = 2 if "at 1/2 of" in name else 4 if "at 1/4 of" in name else 1
        assert seen == [(64 // divisor, 96 // divisor)], name
