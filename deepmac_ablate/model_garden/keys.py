"""Which of our parameters means what a setting of the published code means.

A setting that is in none of these tables and not read by `translation` either has one value here,
that of the published experiments.
"""

from __future__ import annotations

# One to one. Our classes' defaults are the values of the ResNet experiment.
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

# Written out even where they are our defaults, as `gin/schedules` does: one reads it as a whole.
SPELT_OUT = frozenset({
    "TrainingData.scale_min", "TrainingData.scale_max", "warm_up.steps", "warm_up.start",
    "Norm.momentum", "Norm.epsilon", "BatchNorm.momentum", "BatchNorm.epsilon",
    "Training.init_parts",
})

# One to one as well, but a matter of the machine and of one's patience: the experiment's own values
# are not taken over, only those that somebody sets.
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

# Without effect on results, and why there is nothing to set.
LEFT_OUT = {
    "task.annotation_file": "records carry their annotations",
    "task.per_category_metrics": "every class is always counted",
    "task.use_coco_metrics": "they are always computed",
    "task.use_approx_instance_metrics": "metrics are exact",
    "task.allow_image_summary": "evaluate --draw shows images",
    "task.train_data.dtype": "Training.precision says in what is computed",
    "task.train_data.parser.match_threshold": "nothing reads it",
    "task.train_data.parser.unmatched_threshold": "nothing reads it",
    "task.validation_data.dtype": "Training.precision says in what is computed",
    "task.validation_data.drop_remainder": "every image is evaluated",
    "task.model.detection_generator.use_cpu_nms": "a matter of devices",
    "task.model.decoder.fpn.use_keras_layer": "the same layer",
    "trainer.validation_steps": "every image is evaluated",
    "trainer.steps_per_loop": "as many as a second or two hold",
    "trainer.continuous_eval_timeout": "hours",
    "runtime.num_gpus": "all are used",
    "runtime.worker_hosts": "TF_CONFIG tells",
    "runtime.task_index": "TF_CONFIG tells",
    "runtime.all_reduce_alg": "a matter of devices",
    "runtime.num_packs": "a matter of devices",
    "runtime.gpu_thread_mode": "a matter of devices",
    "runtime.per_gpu_thread_count": "a matter of devices",
    "runtime.dataset_num_private_threads": "a matter of devices",
    "runtime.run_eagerly": "steps are compiled",
    "runtime.loss_scale": "bfloat16 needs none",
}
