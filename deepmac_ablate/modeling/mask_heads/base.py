"""Base classes of mask heads: all heads, and those that keep the spatial layout of the crop."""

from __future__ import annotations

import abc

import tensorflow as tf
import tf_keras
from official.modeling import tf_utils

from deepmac_ablate.modeling.initializers import fan_out
from deepmac_ablate.modeling.mask_heads.upsampling import Deconvolution, Upsampling
from deepmac_ablate.modeling.normalization import Activation, BatchNorm, HeadNorm

Regularizer = tf_keras.regularizers.Regularizer


class MaskHead(tf_keras.layers.Layer, abc.ABC):
    """Layer from the features inside a box to a mask; may predict one mask per class internally.

    Attributes:
        crop_size: Side of the feature crop that the head takes, in cells.
        mask_size: Side of the mask that the head predicts, in cells.
        class_agnostic: Whether one mask is used for all classes.
        regularizer: Weight decay of kernels; set by `attach`.
    """

    def __init__(self, *, crop_size: int, mask_size: int, class_agnostic: bool = True) -> None:
        super().__init__(name="mask_head")
        self.crop_size = crop_size
        self.mask_size = mask_size
        self.class_agnostic = class_agnostic
        self.regularizer: Regularizer | None = None
        self._num_classes: int | None = None

    def attach(self, num_classes: int, regularizer: Regularizer | None) -> None:
        """Set what the model knows; must be called before the head is first called.

        Args:
            num_classes: Number of classes of the dataset, background included.
            regularizer: Weight decay of kernels.
        """
        self._num_classes = num_classes
        self.regularizer = regularizer

    @property
    def masks_per_box(self) -> int:
        """Number of masks that the head predicts in a box: one, or one per class."""
        return 1 if self.class_agnostic else self._num_classes

    @abc.abstractmethod
    def build_layers(self) -> None:
        """Create the layers."""

    @abc.abstractmethod
    def predict_logits(
        self, features: tf.Tensor, valid: tf.Tensor | None, training: bool
    ) -> tf.Tensor:
        """[n, crop, crop, c] -> [n, mask_size, mask_size, masks_per_box]."""

    def build(self, input_shape: tf.TensorShape) -> None:
        """Create the layers.

        Raises:
            RuntimeError: If `attach` was not called.
        """
        if self._num_classes is None:
            raise RuntimeError("MaskHead.attach must be called before the head is called.")
        self.build_layers()
        super().build(input_shape)

    def call(
        self,
        features: tf.Tensor,
        classes: tf.Tensor,
        valid: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Predict masks.

        Args:
            features: Features inside each box, [n, crop_size, crop_size, c].
            classes: Classes whose masks to return, [n] integers; ignored if the head is
                class-agnostic. Padding (-1) gets an arbitrary mask.
            valid: True for rows that are not padding, [n] bool; None if there is no padding.
            training: Whether batch statistics are used.

        Returns:
            Logits, [n, mask_size, mask_size].
        """
        logits = self.predict_logits(features, valid, bool(training))
        if self.class_agnostic:
            return tf.squeeze(logits, axis=-1)
        classes = tf.clip_by_value(tf.cast(classes, tf.int32), 0, self._num_classes - 1)
        return tf.gather(logits, classes, axis=-1, batch_dims=1)


class FullyConvolutionalMaskHead(MaskHead):
    """Mask head of a body, an up-sampling, and one logit per pixel (and class).

    Attributes:
        width: Number of channels of the up-sampling.
        activation: Activation after each normalisation.
    """

    def __init__(
        self,
        *,
        crop_size: int,
        width: int,
        upsampling: Upsampling | None = None,
        class_agnostic: bool = True,
        norm: HeadNorm | None = None,
        activation: Activation = "relu",
    ) -> None:
        """Store the settings.

        Args:
            crop_size: Side of the feature crop, in cells.
            width: Number of channels of the up-sampling.
            upsampling: Up-sampling from the size of the crop to that of the mask; None for
                `Deconvolution()`.
            class_agnostic: Whether one mask is used for all classes.
            norm: Normalisation of the up-sampling; None for `BatchNorm()`.
            activation: Activation after each normalisation.
        """
        upsampling = upsampling or Deconvolution()
        super().__init__(
            crop_size=crop_size, mask_size=crop_size * upsampling.factor,
            class_agnostic=class_agnostic)
        self.width = width
        self.activation = tf_utils.get_activation(activation)
        self._upsampling = upsampling
        self._norm = norm or BatchNorm()

    @abc.abstractmethod
    def build_body(self) -> None:
        """Create the layers of the body."""

    @abc.abstractmethod
    def body(self, features: tf.Tensor, valid: tf.Tensor | None, training: bool) -> tf.Tensor:
        """[n, crop, crop, c] -> [n, crop, crop, any number of channels]."""

    def build_logits(self) -> tf_keras.layers.Layer:
        """Create the layer from the up-sampled features to one channel per mask."""
        return tf_keras.layers.Conv2D(
            self.masks_per_box, 1, kernel_initializer=fan_out(),
            kernel_regularizer=self.regularizer, name="mask-logits")

    def build_layers(self) -> None:
        """Create body, up-sampling and logits."""
        self.build_body()
        self.upsampling = self._upsampling.build(self.width, self.regularizer)
        self.upsampling_norm = self._norm.build()
        self.logits = self.build_logits()

    def predict_logits(
        self, features: tf.Tensor, valid: tf.Tensor | None, training: bool
    ) -> tf.Tensor:
        """[n, crop, crop, c] -> [n, mask_size, mask_size, masks_per_box]."""
        x = self.upsampling(self.body(features, valid, training))
        x = self.activation(self.upsampling_norm(x, valid=valid, training=training))
        return self.logits(x)
