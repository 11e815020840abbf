"""What do the detector and the boxes of novel classes add to a deep mask head?

VOC -> non-VOC on COCO at reduced size: no detector (the third setting of arXiv:2104.00613) against
that of Mask R-CNN, and weak losses (BoxInst, arXiv:2012.02310) for the classes without masks.
"""

from deepmac_ablate.sweep import Sweep, axis, one_at_a_time

DETECTOR = axis("detector", "gin/detectors/mask_rcnn.gin", "gin/detectors/none.gin")
WEAK_LOSSES = axis("weak_losses", *[
    f"gin/weak_losses/{name}.gin" for name in ("none", "projection", "projection_and_colour")])

SWEEP = Sweep("gin/experiments/coco_small.gin", arms=one_at_a_time(DETECTOR, WEAK_LOSSES), seeds=2)
