"""Prediction over boxes: the maximum from zero, boxes that leave the image, the grid, and what is refused."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from atrous.errors import UsageError
from atrous.inference import Predictor
from atrous.inference.proposals import aggregate, predict_boxes, sliding_boxes
from atrous.models import create_model
from atrous.models.base import DenseModel
from tests.networks import made_image


class Plain(DenseModel):
    """The logits of class 1 and 2 are the image's value and its negative."""

    def __init__(self, seen=None):
        super().__init__(3, 1, alignment=1)
        self.register_parameter("unused", torch.nn.Parameter(torch.zeros(1)))

    def forward(self, image):
        x = self.normalize(image)
        return {"out": torch.cat([0 * x, x, -x], 1)}


@pytest.fixture
def predict():
    return Predictor(Plain(), class_names=["a", "b", "c"], precision="float32", device="cpu", dtype="float32")


def test_the_whole_image_at_its_own_size_is_its_logits_from_zero(predict):
    image = np.random.default_rng(0).normal(0, 2, (16, 16)).astype(np.float32)
    prediction = predict_boxes(predict, image, [(0, 0, 16, 16)], size=16)
    logits = torch.tensor(np.stack([0 * image, image, -image])).clamp(min=0)
    assert np.allclose(prediction.scores, logits.softmax(0), atol=1e-6)
    assert (prediction.classes == logits.softmax(0).argmax(0).numpy()).all()
    assert np.allclose(prediction.confidence, prediction.scores.max(0), atol=1e-3)


def test_the_larger_logit_counts_where_boxes_overlap_and_the_rest_is_background(predict):
    image = np.full((8, 10), 3.0, np.float32)
    image[:, 5:] = -2
    prediction = predict_boxes(predict, image, [(0, 0, 4, 6), (2, 4, 6, 10)], size=4)
    assert (prediction.classes[6:] == 0).all()
    assert np.allclose(prediction.scores[:, 7, 0], 1 / 3)
    assert prediction.classes[0, 0] == 1
    assert prediction.classes[5, 9] == 2
    expected = torch.tensor([0.0, 3.0, 0.0]).softmax(0).numpy()
    assert np.allclose(prediction.scores[:, 0, 0], expected, atol=1e-6)


def test_the_maximum_is_taken_from_zero():
    total = torch.zeros(2, 2, 2)
    aggregate(total, torch.tensor([[[[-1.0]], [[4.0]]]]), [(0, 0, 2, 1)])
    aggregate(total, torch.tensor([[[[0.5]], [[2.0]]]]), [(0, 0, 1, 2)])
    assert total[0].tolist() == [[0.5, 0.5], [0, 0]]
    assert total[1].tolist() == [[4, 2], [4, 0]]


def test_scores_come_back_bilinearly():
    logits = torch.rand(1, 2, 7, 7)
    total = torch.zeros(2, 20, 30)
    aggregate(total, logits, [(5, 3, 18, 25)])
    expected = F.interpolate(logits, (13, 22), mode="bilinear")[0]
    assert torch.equal(total[:, 5:18, 3:25], expected)
    assert total.count_nonzero() == expected.count_nonzero()


def test_boxes_may_leave_the_image_which_goes_on_in_the_mean_of_training():
    model = Plain()
    model.set_normalization([5.0], [2.0])
    predict = Predictor(model, class_names=["a", "b", "c"], precision="float32", device="cpu", dtype="float32")
    seen = []
    outputs = predict.scorer.outputs
    predict.scorer.outputs = lambda image: seen.append(image) or outputs(image)
    image = np.full((6, 6), 9.0, np.float32)
    prediction = predict_boxes(predict, image, [(-2, -2, 4, 4)], size=6)
    assert (seen[0][0, 0, :2] == 5).all()
    assert (seen[0][0, 0, :, :2] == 5).all()
    assert (seen[0][0, 0, 2:, 2:] == 9).all()
    assert (prediction.classes[:4, :4] == 1).all()
    assert (prediction.classes[4:] == 0).all()


def test_small_boxes_are_skipped_and_batches_do_not_matter(predict):
    image = made_image(40, 50).astype(np.float32)[..., 0] - 127
    boxes = sliding_boxes(40, 50)
    one = predict_boxes(predict, image, boxes, size=32, batch_size=1)
    many = predict_boxes(predict, image, boxes, size=32, batch_size=100)
    assert np.allclose(one.scores, many.scores)
    few = predict_boxes(predict, image, [(0, 0, 10, 40), (0, 0, 30, 30)], size=32, smallest=20)
    assert np.allclose(few.scores, predict_boxes(predict, image, [(0, 0, 30, 30)], size=32).scores)


def test_the_grid_covers_the_image_at_every_scale():
    for height, width in ((100, 160), (75, 33), (1, 5), (500, 375)):
        boxes = sliding_boxes(height, width)
        assert boxes[0] == (0, 0, height, width)
        assert len(set(boxes)) == len(boxes)
        for side in {bottom - top for top, _, bottom, _ in boxes[1:]}:
            covered = np.zeros((height, width), int)
            for top, left, bottom, right in boxes[1:]:
                assert 0 <= top < bottom <= height
                assert 0 <= left < right <= width
                if bottom - top == side:
                    covered[top:bottom, left:right] += 1
            assert covered.min() > 0


def test_neighbouring_boxes_share_what_they_should():
    for overlap in (0.0, 0.5, 0.75):
        lefts = sorted({left for _, left, _, right in sliding_boxes(60, 200, scales=[0.5], overlap=overlap)[1:]})
        assert max(np.diff(lefts)) <= 30 * (1 - overlap) + 1


def test_deconvnet_predicts_over_a_grid():
    model = create_model("deconvnet", num_classes=3, in_channels=1, width=2, fc_channels=4, std=0.3)
    predict = Predictor(model, class_names=["a", "b", "c"], precision="float32", device="cpu")
    image = made_image(60, 80)
    prediction = predict_boxes(predict, image, sliding_boxes(60, 80, scales=[1.0]))
    assert prediction.classes.shape == (60, 80)
    assert np.allclose(prediction.scores.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("boxes", "text"),
    [
        ([(0, 0, 0, 5)], "holds no pixel of an image of 8 x 8"),
        ([(0, 9, 5, 12)], "holds no pixel"),
        ([(0, 0, 5)], "give top, left, bottom, right"),
    ],
)
def test_what_is_no_box_is_refused(predict, boxes, text):
    with pytest.raises(UsageError, match=text):
        predict_boxes(predict, np.zeros((8, 8), np.float32), boxes)


def test_a_grid_of_nothing_is_refused():
    with pytest.raises(UsageError, match="give scales > 0"):
        sliding_boxes(8, 8, overlap=1.0)


def test_a_scorer_without_logits_is_refused():
    class Values:
        num_classes, in_channels, alignment, margin = 2, 1, 1, (0, 0)

    with pytest.raises(UsageError, match="a Values gives no logits for single boxes"):
        predict_boxes(Predictor(Values(), class_names=["a", "b"]), np.zeros((8, 8), np.uint8))
