"""The split of environments."""

from benchmarks.lirm.held_out_environments import split_environments


def test_maps_are_split_into_those_to_train_with_and_the_last_two(tmp_path):
    folder = tmp_path / "environments"
    folder.mkdir()
    for name in ("moor.hdr", "attic.exr", "yard.hdr", "barn.hdr", "zoo.exr"):
        (folder / name).write_text(name)
    (folder / "zz-licence.txt").touch()
    for _ in range(2):
        parts = split_environments(folder, tmp_path / "cache")
        train, held_out = ({p.name for p in part.iterdir()} for part in parts)
        assert held_out == {"yard.hdr", "zoo.exr"}
        assert train == {"attic.exr", "barn.hdr", "moor.hdr"}
        for part in parts:
            assert all(p.read_text() == p.name for p in part.iterdir())
    (folder / "zz.hdr").write_text("zz.hdr")
    (folder / "attic.exr").unlink()
    train, held_out = split_environments(folder, tmp_path / "cache")
    assert {p.name for p in held_out.iterdir()} == {"zoo.exr", "zz.hdr"}
    assert {p.name for p in train.iterdir()} == {"barn.hdr", "moor.hdr", "yard.hdr"}
