"""An exported model takes and gives what Model Garden's exports take and give."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from official.projects.deepmac_maskrcnn.configs import deep_mask_head_rcnn as configs
from official.projects.deepmac_maskrcnn.serving import detection
from PIL import Image

from deepmac_ablate.serving.signatures import trace_signature
from tests.helpers import tiny_model
from tests.parity import upstream

pytestmark = pytest.mark.slow

# Neither of the model's shape nor of its size: resizing, padding and scales all matter.
HEIGHT, WIDTH = 50, 90
AGNOSTIC = upstream.Case("default", "ground_truth")
SPECIFIC = upstream.Case("default", "proposals", class_agnostic=False)


@pytest.fixture(scope="module")
def agnostic() -> upstream.Pair:
    return upstream.build(AGNOSTIC)


def their_function(pair: upstream.Pair, kind: str, batch_size: int | None):
    params = configs.deep_mask_head_rcnn_resnetfpn_coco()
    params.task = pair.task.task_config
    module = detection.DetectionModule(
        params, batch_size=batch_size, input_image_size=list(tiny_model.IMAGE_SIZE),
        model=pair.upstream)
    return module.get_inference_signatures({kind: "serving_default"})["serving_default"]


def pictures() -> np.ndarray:
    coarse = np.random.default_rng(3).integers(0, 256, (2, 5, 9, 3), np.uint8)
    return coarse.repeat(10, axis=1).repeat(10, axis=2)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def example(encoded: bytes) -> bytes:
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
    features = tf.train.Features(feature={"image/encoded": feature})
    return tf.train.Example(features=features).SerializeToString()


BOXES = tf.constant([[[0.1, 0.2, 0.7, 0.6], [0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 0.9, 0.55]]] * 2)
INPUTS = {
    "image_tensor": lambda: [tf.constant(pictures())],
    "image_bytes": lambda: [tf.constant([png(p) for p in pictures()])],
    "tf_example": lambda: [tf.constant([example(png(p)) for p in pictures()])],
    "image_and_boxes_tensor": lambda: [tf.constant(pictures()), BOXES],
}


@pytest.mark.parametrize(("kind", "batch_size"), [
    ("image_and_boxes_tensor", 2),
    *(pytest.param(*case, marks=pytest.mark.extended) for case in (
        ("image_tensor", None), ("image_tensor", 2), ("image_bytes", None), ("image_bytes", 2),
        ("tf_example", None), ("tf_example", 2), ("image_and_boxes_tensor", None))),
])
def test_signatures_and_outputs_equal_upstreams(agnostic, kind, batch_size):
    """Names, types and shapes of inputs and outputs, and with equal weights the outputs."""
    theirs = their_function(agnostic, kind, batch_size)
    ours = trace_signature(agnostic.ours, kind, batch_size, normalized=False)
    their_arguments, our_arguments = (
        [(a.name, a.shape.as_list(), a.dtype) for a in f.structured_input_signature[0]]
        for f in (theirs, ours))
    assert their_arguments == our_arguments
    assert theirs.structured_outputs.keys() == ours.structured_outputs.keys()
    for name, spec in theirs.structured_outputs.items():
        assert spec.dtype == ours.structured_outputs[name].dtype, name
        # Where upstream's says nothing of a size, ours may.
        sizes = ours.structured_outputs[name].shape.as_list()
        assert all(theirs in (None, our) for theirs, our in zip(
            spec.shape.as_list(), sizes, strict=True)), (name, spec, sizes)

    expected, actual = theirs(*INPUTS[kind]()), ours(*INPUTS[kind]())
    if "num_detections" in expected:
        assert (expected["num_detections"].numpy() > 0).all()
    for name, value in expected.items():
        largest = np.abs(value.numpy()).max()
        assert largest > 0.0, name
        np.testing.assert_allclose(
            actual[name], value, rtol=0.0, atol=1e-5 * largest, err_msg=name)


@pytest.mark.extended
def test_a_class_specific_head_is_asked_for_classes():
    """For the class that upstream always takes, background, the mask is upstream's."""
    pair = upstream.build(SPECIFIC)
    theirs = their_function(pair, "image_and_boxes_tensor", 2)(*INPUTS["image_and_boxes_tensor"]())
    segment = trace_signature(pair.ours, "image_and_boxes_tensor", 2, normalized=False)
    *_, classes = segment.structured_input_signature[0]
    assert tf.TensorSpec([2, None], tf.int32, name="classes") == classes
    masks = [
        segment(*INPUTS["image_and_boxes_tensor"](), tf.fill([2, 3], class_id))["detection_masks"]
        for class_id in (0, 4)]
    np.testing.assert_allclose(masks[0], theirs["detection_masks"], rtol=0.0, atol=1e-5)
    assert np.abs(masks[0] - masks[1]).max() > 0.01


@pytest.mark.extended
def test_normalized_boxes_are_in_units_of_the_picture(agnostic):
    """They are those in pixels of the resized image, divided by its part that is picture."""
    images = tf.constant(pictures())
    pixels, units = (
        trace_signature(agnostic.ours, "image_tensor", 2, normalized)(images)
        for normalized in (False, True))
    # 90 pixels become 64, and with the same scale 50 become 36 (rounded).
    expected = np.clip(pixels["detection_boxes"] / np.array([36, 64, 36, 64]), 0.0, 1.0)
    assert expected.max() > 0.5
    np.testing.assert_allclose(units["detection_boxes"], expected, atol=1e-6)
    for name in pixels.keys() - {"detection_boxes"}:
        np.testing.assert_array_equal(pixels[name], units[name])


@pytest.mark.extended
def test_encoded_pictures_may_differ_in_size(agnostic):
    """Each is resized by itself, as if it were alone."""
    detect = trace_signature(agnostic.ours, "image_bytes", None, normalized=False)
    encoded = [png(pictures()[0]), png(pictures()[1][:30, :40])]
    together = detect(tf.constant(encoded))
    for i, one in enumerate(encoded):
        for name, value in detect(tf.constant([one])).items():
            np.testing.assert_allclose(together[name][i], value[0], atol=1e-4, err_msg=name)
