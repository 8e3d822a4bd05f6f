import pytest
import torch

from atrous.errors import DataError, UsageError
from atrous.training.stream import Augmented, Stream, collate, mix


def stream(size: int, batch_size: int, seed: int = 0, steps: range = range(10)) -> Stream:
    return Stream(size, batch_size, seed, lambda: steps)


@pytest.mark.parametrize(("size", "batch_size"), [(7, 4), (8, 4), (3, 8), (1, 5)])
def test_every_batch_is_full_and_every_epoch_holds_each_image_once(size, batch_size):
    draws = [draw for batch in stream(size, batch_size) for draw in batch]
    assert [number for number, _ in draws] == list(range(10 * batch_size))
    for epoch in range(len(draws) // size):
        assert sorted(index for _, index in draws[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_a_stream_that_begins_later_draws_the_same():
    assert list(stream(7, 4, steps=range(6, 10))) == list(stream(7, 4))[6:]


def test_the_order_depends_on_the_seed_and_the_epoch():
    orders = {
        tuple(index for _, index in stream(50, 50, seed=seed).batch(epoch)) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(orders) == 4


def test_augmentation_depends_on_the_draw_alone():
    def noise(sample, rng):
        return {**sample, "image": sample["image"] + rng.random()}

    data = [{"image": torch.zeros(1, 2, 2), "mask": torch.zeros(2, 2)} for _ in range(3)]
    augmented = Augmented(data, noise, seed=5)
    first, again, other = augmented[4, 1], augmented[4, 2], augmented[7, 1]
    assert torch.equal(first["image"], again["image"])
    assert not torch.equal(first["image"], other["image"])


def test_seeds_of_steps_and_runs_differ():
    assert len({mix(seed, step) for seed in range(5) for step in range(100)}) == 500


def test_an_error_of_ours_arrives_with_its_own_text():
    class Broken:
        def __getitem__(self, index):
            raise DataError("b.png: is torn; copy it again.")

    found = collate([Augmented(Broken(), None, 0)[0, 0]])
    assert isinstance(found, DataError)
    assert str(found) == "b.png: is torn; copy it again."


def test_images_of_different_sizes_make_no_batch():
    samples = [{"image": torch.zeros(1, size, 4), "mask": torch.zeros(size, 4)} for size in (4, 5)]
    found = collate(samples)
    assert isinstance(found, UsageError)
    assert "data.crop" in str(found)
    assert "4x4, 5x4" in str(found)


def test_a_batch_keeps_what_all_samples_have():
    one, two = torch.zeros(1, 2, 2), torch.zeros(2, 2, dtype=torch.int64)
    batch = collate([{"image": one, "mask": two, "instances": two}, {"image": one, "mask": two}])
    assert set(batch) == {"image", "mask"}
    assert batch["image"].shape == (2, 1, 2, 2)
