"""Tables of the parameters that correspond to settings of the published code.

Settings that are in none of these tables and that `translation` does not read must have the value
of the published experiments.
"""

from __future__ import annotations

# One-to-one correspondences. Our defaults are the values of the ResNet experiment.
SAME = {
    "task.losses.l2_weight_decay": "MaskRCNN.l2_weight_decay",
    "task.losses.rpn_huber_loss_delta": "Losses.rpn_huber_delta",
    "task.losses.frcnn_huber_loss_delta": "Losses.box_huber_delta",
    "task.losses.rpn_score_weight": "Losses.rpn_score_weight",
    "task.losses.rpn_box_weight": "Losses.rpn_box_weight",
    "task.losses.frcnn_class_weight": "Losses.class_weight",
    "task.losses.frcnn_box_weight": "Losses.box_weight",
    "task.losses.mask_weight": "Losses.mask_weight",
    "task.model.min_level": "Anchors.min_level",
    "task.model.max_level": "Anchors.max_level",
    "task.model.anchor.anchor_size": "Anchors.size",
    "task.model.anchor.num_scales": "Anchors.num_scales",
    "task.model.norm_activation.activation": "Norm.activation",
    "task.model.norm_activation.norm_momentum": "Norm.momentum",
    "task.model.norm_activation.norm_epsilon": "Norm.epsilon",
    "task.model.norm_activation.use_sync_bn": "Norm.synchronized",
    "task.model.rpn_head.num_convs": "RegionProposals.num_convs",
    "task.model.rpn_head.num_filters": "RegionProposals.num_filters",
    "task.model.roi_generator.pre_nms_top_k": "RegionProposals.pre_nms_top_k",
    "task.model.roi_generator.nms_iou_threshold": "RegionProposals.nms_iou",
    "task.model.roi_generator.num_proposals": "RegionProposals.num_proposals",
    "task.model.roi_generator.test_pre_nms_top_k": "RegionProposals.test_pre_nms_top_k",
    "task.model.roi_generator.test_num_proposals": "RegionProposals.test_num_proposals",
    "task.model.roi_sampler.mix_gt_boxes": "RegionSampler.mix_gt_boxes",
    "task.model.roi_sampler.num_sampled_rois": "RegionSampler.num_samples",
    "task.model.roi_sampler.foreground_fraction": "RegionSampler.foreground_fraction",
    "task.model.roi_sampler.foreground_iou_threshold": "RegionSampler.foreground_iou",
    "task.model.roi_sampler.background_iou_high_threshold": "RegionSampler.background_iou",
    "task.model.roi_aligner.crop_size": "BoxHead.crop_size",
    "task.model.detection_head.num_convs": "BoxHead.num_convs",
    "task.model.detection_head.num_filters": "BoxHead.num_filters",
    "task.model.detection_head.num_fcs": "BoxHead.num_fcs",
    "task.model.detection_head.fc_dims": "BoxHead.fc_dims",
    "task.train_data.parser.aug_rand_hflip": "TrainingData.flip",
    "task.train_data.parser.aug_scale_min": "TrainingData.scale_min",
    "task.train_data.parser.aug_scale_max": "TrainingData.scale_max",
    "task.train_data.parser.max_num_instances": "TrainingData.max_instances",
    "task.train_data.parser.mask_crop_size": "TrainingData.mask_crop_size",
    "task.train_data.parser.rpn_match_threshold": "Anchors.match_iou",
    "task.train_data.parser.rpn_unmatched_threshold": "Anchors.unmatched_iou",
    "task.train_data.parser.rpn_batch_size_per_im": "Anchors.samples_per_image",
    "task.train_data.parser.rpn_fg_fraction": "Anchors.positive_fraction",
    "task.validation_data.global_batch_size": "EvaluationData.batch_size",
    "trainer.optimizer_config.optimizer.sgd.momentum": "SGD.momentum",
    "trainer.optimizer_config.optimizer.sgd.global_clipnorm": "SGD.clip_norm",
    "trainer.optimizer_config.warmup.linear.warmup_steps": "warm_up.steps",
    "trainer.optimizer_config.warmup.linear.warmup_learning_rate": "warm_up.start",
}

# Parameters that are written even if they have our defaults, as in `gin/schedules`, so that a
# schedule can be read as a whole.
SPELT_OUT = frozenset({
    "TrainingData.scale_min", "TrainingData.scale_max", "warm_up.steps", "warm_up.start",
    "Norm.momentum", "Norm.epsilon", "BatchNorm.momentum", "BatchNorm.epsilon",
    "Training.init_parts",
})

# One-to-one correspondences that depend on the machine and the user: the values of the experiment
# are ignored, only explicit settings are translated.
IF_SET = {
    "runtime.distribution_strategy": "Runtime.strategy",
    "runtime.tpu": "Runtime.tpu",
    "runtime.enable_xla": "Runtime.jit_compile",
    "trainer.checkpoint_interval": "Runtime.checkpoint_every",
    "trainer.max_to_keep": "Runtime.keep_checkpoints",
    "trainer.summary_interval": "Runtime.log_every",
    "trainer.validation_interval": "Evaluation.every",
    "task.train_data.shuffle_buffer_size": "TrainingData.shuffle_buffer",
}

# Settings without effect on results, with the reason.
LEFT_OUT = {
    "task.annotation_file": "the dataset includes its annotations",
    "task.per_category_metrics": "results per class are always computed",
    "task.use_coco_metrics": "COCO metrics are always computed",
    "task.use_approx_instance_metrics": "metrics are exact",
    "task.allow_image_summary": "evaluate --draw draws images",
    "task.train_data.dtype": "Training.precision decides the precision",
    "task.train_data.parser.match_threshold": "the published code does not read it",
    "task.train_data.parser.unmatched_threshold": "the published code does not read it",
    "task.validation_data.dtype": "Training.precision decides the precision",
    "task.validation_data.drop_remainder": "every image is evaluated",
    "task.model.detection_generator.use_cpu_nms": "it depends on the devices",
    "task.model.decoder.fpn.use_keras_layer": "both values give the same layer",
    "trainer.validation_steps": "every image is evaluated",
    "trainer.steps_per_loop": "chosen automatically, about a second or two",
    "trainer.continuous_eval_timeout": "there is no separate process for evaluation",
    "runtime.num_gpus": "all GPUs are used",
    "runtime.worker_hosts": "TF_CONFIG decides",
    "runtime.task_index": "TF_CONFIG decides",
    "runtime.all_reduce_alg": "it depends on the devices",
    "runtime.num_packs": "it depends on the devices",
    "runtime.gpu_thread_mode": "it depends on the devices",
    "runtime.per_gpu_thread_count": "it depends on the devices",
    "runtime.dataset_num_private_threads": "it depends on the devices",
    "runtime.run_eagerly": "steps are always compiled",
    "runtime.loss_scale": "bfloat16 needs no loss scaling",
}
