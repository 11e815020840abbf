"""What all mask heads have in common, and what those have that keep the plane of the crop."""

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
    """Features inside a box to one mask, or one for each class of which the wanted is given.

    Attributes:
        crop_size: side of the feature crop that the head takes.
        mask_size: side of the mask that it gives.
        class_agnostic: whether one mask serves all classes.
        regularizer: weight decay of kernels, known once the head is attached.
    """

    def __init__(self, *, crop_size: int, mask_size: int, class_agnostic: bool = True) -> None:
        super().__init__(name="mask_head")
        self.crop_size = crop_size
        self.mask_size = mask_size
        self.class_agnostic = class_agnostic
        self.regularizer: Regularizer | None = None
        self._num_classes: int | None = None

    def attach(self, num_classes: int, regularizer: Regularizer | None) -> None:
        """Tell the head what the model knows, before the head is first called.

        Args:
            num_classes: classes of the dataset, background included.
            regularizer: weight decay of the kernels that have it.
        """
        self._num_classes = num_classes
        self.regularizer = regularizer

    @property
    def masks_per_box(self) -> int:
        """How many masks the head predicts in a box: one, or one per class."""
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
            RuntimeError: if `attach` was not called.
        """
        if self._num_classes is None:
            raise RuntimeError("MaskHead.attach must be called before the head is")
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
            features: [n, crop_size, crop_size, c], the features inside each box.
            classes: [n] integers, the class whose mask is wanted; without effect if the head is
                class-agnostic. Padding (-1) is given some mask, which means nothing.
            valid: [n] bool, the rows that are not padding; None: all.
            training: whether batch statistics are used.

        Returns:
            [n, mask_size, mask_size] logits.
        """
        logits = self.predict_logits(features, valid, bool(training))
        if self.class_agnostic:
            return tf.squeeze(logits, axis=-1)
        classes = tf.clip_by_value(tf.cast(classes, tf.int32), 0, self._num_classes - 1)
        return tf.gather(logits, classes, axis=-1, batch_dims=1)


class FullyConvolutionalMaskHead(MaskHead):
    """A body, an up-sampling, and one logit per pixel (per class).

    Attributes:
        width: channels of the up-sampling.
        activation: what follows a normalisation.
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
        """Record the settings.

        Args:
            crop_size: side of the feature crop.
            width: channels of the up-sampling.
            upsampling: from the crop's size to the mask's; None: `Deconvolution()`.
            class_agnostic: whether one mask serves all classes.
            norm: of the up-sampling; None: `BatchNorm()`.
            activation: what follows a normalisation.
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
