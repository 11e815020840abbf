"""Defaults of the published experiments, for settings that a YAML file leaves out.

They come from `official.projects.deepmac_maskrcnn.configs.deep_mask_head_rcnn` of Model Garden
2.20.0 and the configurations that it builds on. Our classes have the defaults of the ResNet
experiment, so such values need no binding.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from deepmac_ablate.errors import UserError, did_you_mean

_PARSER = {
    "num_channels": 3,
    "match_threshold": 0.5,
    "unmatched_threshold": 0.5,
    "aug_rand_hflip": True,
    "aug_rand_vflip": False,
    "aug_scale_min": 0.8,
    "aug_scale_max": 1.25,
    "aug_type": None,
    "skip_crowd_during_training": True,
    "max_num_instances": 100,
    "rpn_match_threshold": 0.7,
    "rpn_unmatched_threshold": 0.3,
    "rpn_batch_size_per_im": 256,
    "rpn_fg_fraction": 0.5,
    "mask_crop_size": 112,
    "pad": True,
    "keep_aspect_ratio": True,
}

_MODEL = {
    "num_classes": 91,
    "input_size": [1024, 1024, 3],
    "min_level": 2,
    "max_level": 6,
    "include_mask": True,
    "outer_boxes_scale": 1.0,
    "use_gt_boxes_for_masks": False,
    "anchor.anchor_size": 8.0,
    "anchor.num_scales": 1,
    "anchor.aspect_ratios": [0.5, 1.0, 2.0],
    "backbone.type": "resnet",
    "backbone.resnet.model_id": 50,
    "backbone.resnet.depth_multiplier": 1.0,
    "backbone.resnet.stem_type": "v0",
    "backbone.resnet.se_ratio": 0.0,
    "backbone.resnet.stochastic_depth_drop_rate": 0.0,
    "backbone.resnet.scale_stem": True,
    "backbone.resnet.resnetd_shortcut": False,
    "backbone.resnet.replace_stem_max_pool": False,
    "backbone.resnet.bn_trainable": True,
    "backbone.spinenet.model_id": "49",
    "backbone.spinenet.stochastic_depth_drop_rate": 0.0,
    "backbone.spinenet.min_level": 3,
    "backbone.spinenet.max_level": 7,
    "decoder.type": "fpn",
    "decoder.fpn.num_filters": 256,
    "decoder.fpn.fusion_type": "sum",
    "decoder.fpn.use_separable_conv": False,
    "decoder.fpn.use_keras_layer": False,
    "norm_activation.activation": "relu",
    "norm_activation.norm_momentum": 0.997,
    "norm_activation.norm_epsilon": 0.0001,
    "norm_activation.use_sync_bn": True,
    "rpn_head.num_convs": 1,
    "rpn_head.num_filters": 256,
    "rpn_head.use_separable_conv": False,
    "roi_generator.pre_nms_top_k": 2000,
    "roi_generator.pre_nms_score_threshold": 0.0,
    "roi_generator.pre_nms_min_size_threshold": 0.0,
    "roi_generator.nms_iou_threshold": 0.7,
    "roi_generator.num_proposals": 1000,
    "roi_generator.test_pre_nms_top_k": 1000,
    "roi_generator.test_pre_nms_score_threshold": 0.0,
    "roi_generator.test_pre_nms_min_size_threshold": 0.0,
    "roi_generator.test_nms_iou_threshold": 0.7,
    "roi_generator.test_num_proposals": 1000,
    "roi_generator.use_batched_nms": False,
    "roi_sampler.mix_gt_boxes": True,
    "roi_sampler.num_sampled_rois": 512,
    "roi_sampler.foreground_fraction": 0.25,
    "roi_sampler.foreground_iou_threshold": 0.5,
    "roi_sampler.background_iou_high_threshold": 0.5,
    "roi_sampler.background_iou_low_threshold": 0.0,
    "roi_sampler.cascade_iou_thresholds": None,
    "roi_aligner.crop_size": 7,
    "roi_aligner.sample_offset": 0.5,
    "detection_head.num_convs": 4,
    "detection_head.num_filters": 256,
    "detection_head.use_separable_conv": False,
    "detection_head.num_fcs": 1,
    "detection_head.fc_dims": 1024,
    "detection_head.class_agnostic_bbox_pred": False,
    "detection_head.cascade_class_ensemble": False,
    "detection_generator.apply_nms": True,
    "detection_generator.pre_nms_top_k": 5000,
    "detection_generator.pre_nms_score_threshold": 0.05,
    "detection_generator.nms_iou_threshold": 0.5,
    "detection_generator.max_num_detections": 100,
    "detection_generator.nms_version": "v2",
    "detection_generator.use_cpu_nms": False,
    "detection_generator.soft_nms_sigma": None,
    "detection_generator.use_sigmoid_probability": False,
    "mask_head.convnet_variant": "default",
    "mask_head.upsample_factor": 2,
    "mask_head.num_convs": 4,
    "mask_head.num_filters": 256,
    "mask_head.use_separable_conv": False,
    "mask_head.class_agnostic": False,
    "mask_sampler.num_sampled_masks": 128,
    "mask_roi_aligner.crop_size": 14,
    "mask_roi_aligner.sample_offset": 0.5,
}

_TASK = {
    "init_checkpoint": "gs://cloud-tpu-checkpoints/vision-2.0/resnet50_imagenet/ckpt-28080",
    "init_checkpoint_modules": "backbone",
    "annotation_file": "coco/instances_val2017.json",
    "per_category_metrics": False,
    "allowed_mask_class_ids": None,
    "use_coco_metrics": True,
    "use_wod_metrics": False,
    "use_approx_instance_metrics": False,
    "freeze_backbone": False,
    "allow_image_summary": False,
    "losses.loss_weight": 1.0,
    "losses.rpn_huber_loss_delta": 1.0 / 9.0,
    "losses.frcnn_huber_loss_delta": 1.0,
    "losses.frcnn_class_use_binary_cross_entropy": False,
    "losses.frcnn_class_loss_top_k_percent": 1.0,
    "losses.l2_weight_decay": 4e-5,
    "losses.rpn_score_weight": 1.0,
    "losses.rpn_box_weight": 1.0,
    "losses.frcnn_class_weight": 1.0,
    "losses.frcnn_box_weight": 1.0,
    "losses.mask_weight": 1.0,
    "losses.class_weights": None,
    "train_data.input_path": "coco/train*",
    "train_data.global_batch_size": 64,
    "train_data.is_training": True,
    "train_data.drop_remainder": True,
    "train_data.dtype": "bfloat16",
    "train_data.shuffle_buffer_size": 10000,
    "train_data.file_type": "tfrecord",
    "validation_data.input_path": "coco/val*",
    "validation_data.global_batch_size": 8,
    "validation_data.is_training": False,
    "validation_data.drop_remainder": True,
    "validation_data.dtype": "bfloat16",
    "validation_data.file_type": "tfrecord",
}

_LEARNING_RATE = {
    "optimizer.type": "sgd",
    "optimizer.sgd.momentum": 0.9,
    "optimizer.sgd.nesterov": False,
    "optimizer.sgd.decay": 0.0,
    "optimizer.sgd.clipnorm": None,
    "optimizer.sgd.clipvalue": None,
    "optimizer.sgd.global_clipnorm": None,
    "learning_rate.type": "stepwise",
    "learning_rate.stepwise.boundaries": [15000, 20000],
    "learning_rate.stepwise.values": [0.12, 0.012, 0.0012],
    "learning_rate.stepwise.offset": 0,
    "warmup.type": "linear",
    "warmup.linear.warmup_steps": 500,
    "warmup.linear.warmup_learning_rate": 0.0067,
}

_TRAINER = {
    "train_steps": 22500,
    "validation_steps": 625,
    "validation_interval": 1848,
    "steps_per_loop": 1848,
    "summary_interval": 1848,
    "checkpoint_interval": 1848,
    "max_to_keep": 5,
    "continuous_eval_timeout": 3600,
}

_RUNTIME = {
    "distribution_strategy": "mirrored",
    "mixed_precision_dtype": "bfloat16",
    "enable_xla": False,
    "tpu": None,
    "num_gpus": 0,
    "worker_hosts": None,
    "task_index": -1,
    "all_reduce_alg": None,
    "num_packs": 1,
    "gpu_thread_mode": None,
    "per_gpu_thread_count": 0,
    "dataset_num_private_threads": None,
    "run_eagerly": False,
    "loss_scale": None,
}

RESNET = MappingProxyType({
    **{f"task.{key}": value for key, value in _TASK.items()},
    **{f"task.model.{key}": value for key, value in _MODEL.items()},
    **{f"task.train_data.parser.{key}": value for key, value in _PARSER.items()},
    **{f"trainer.{key}": value for key, value in _TRAINER.items()},
    **{f"trainer.optimizer_config.{key}": value for key, value in _LEARNING_RATE.items()},
    **{f"runtime.{key}": value for key, value in _RUNTIME.items()},
})

SPINENET = MappingProxyType({
    **RESNET,
    "task.init_checkpoint": None,
    "task.init_checkpoint_modules": "all",
    "task.model.input_size": [640, 640, 3],
    "task.model.min_level": 3,
    "task.model.max_level": 7,
    "task.model.anchor.anchor_size": 3.0,
    "task.model.backbone.type": "spinenet",
    "task.model.decoder.type": "identity",
    "task.model.norm_activation.norm_momentum": 0.99,
    "task.model.norm_activation.norm_epsilon": 0.001,
    "task.train_data.global_batch_size": 256,
    "task.train_data.parser.aug_scale_min": 0.5,
    "task.train_data.parser.aug_scale_max": 2.0,
    "task.validation_data.drop_remainder": False,
    "trainer.train_steps": 463 * 350,
    "trainer.validation_interval": 463,
    "trainer.steps_per_loop": 463,
    "trainer.summary_interval": 463,
    "trainer.checkpoint_interval": 463,
    "trainer.optimizer_config.learning_rate.stepwise.boundaries": [463 * 320, 463 * 340],
    "trainer.optimizer_config.learning_rate.stepwise.values": [0.32, 0.032, 0.0032],
    "trainer.optimizer_config.warmup.linear.warmup_steps": 2000,
})

_EXPERIMENTS = {
    "deep_mask_head_rcnn_resnetfpn_coco": RESNET,
    "deep_mask_head_rcnn_spinenet_coco": SPINENET,
}


def experiment_defaults(experiment: str) -> dict[str, Any]:
    """Return the settings of an experiment by dotted key.

    Raises:
        UserError: If the published code has no such experiment.
    """
    if experiment not in _EXPERIMENTS:
        hint = (
            did_you_mean(experiment, _EXPERIMENTS)
            or f" Its experiments are {', '.join(_EXPERIMENTS)}.")
        raise UserError(f"Model Garden's project has no experiment {experiment!r}.{hint}")
    return dict(_EXPERIMENTS[experiment])
