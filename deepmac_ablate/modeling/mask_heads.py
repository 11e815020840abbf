"""Mask heads: what turns the features inside a box into a mask.

A new head is a new subclass of `MaskHead` with a `build_body`, and a gin file that selects it.
"""

from __future__ import annotations

import abc

import gin
import tensorflow as tf
import tf_keras
from official.modeling import tf_utils

from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling import hourglass
from deepmac_ablate.modeling.normalization import Activation, MaskedBatchNormalization


class MaskHead(tf_keras.layers.Layer, abc.ABC):
    """A body, an up-sampling, and one logit per pixel (per class).

    Attributes:
        crop_size: side of the feature crop that the head takes.
        mask_size: side of the mask that it gives.
        width: channels of the tail.
        class_agnostic: whether one mask serves all classes.
    """

    def __init__(
        self,
        *,
        crop_size: int,
        width: int,
        upsample_factor: int = 2,
        class_agnostic: bool = True,
        sync_norm: bool = False,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        activation: Activation = "relu",
    ) -> None:
        super().__init__(name="mask_head")
        self.crop_size = crop_size
        self.mask_size = crop_size * upsample_factor
        self.class_agnostic = class_agnostic
        self._upsample_factor = upsample_factor
        self.width = width
        self._norm_options = {
            "momentum": norm_momentum, "epsilon": norm_epsilon, "synchronized": sync_norm}
        self._activation = tf_utils.get_activation(activation)
        self._num_classes: int | None = None
        self._regularizer: tf_keras.regularizers.Regularizer | None = None

    def attach(
        self, num_classes: int, regularizer: tf_keras.regularizers.Regularizer | None
    ) -> None:
        """Tells the head what the model knows, before the head is first called.

        Args:
            num_classes: classes of the data set, background included.
            regularizer: weight decay of the convolutions that have it.
        """
        self._num_classes = num_classes
        self._regularizer = regularizer

    def norm(self) -> MaskedBatchNormalization:
        """Returns a new normalisation layer with the tail's settings."""
        return MaskedBatchNormalization(**self._norm_options)

    @abc.abstractmethod
    def build_body(self) -> None:
        """Creates the layers of the body."""

    @abc.abstractmethod
    def body(self, features: tf.Tensor, valid: tf.Tensor | None, training: bool) -> tf.Tensor:
        """[n, crop, crop, c] -> [n, crop, crop, any number of channels]."""

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates body and tail.

        Raises:
            RuntimeError: if `attach` was not called.
        """
        if self._num_classes is None:
            raise RuntimeError("MaskHead.attach must be called before the head is")
        self.build_body()
        self.deconv = tf_keras.layers.Conv2DTranspose(
            self.width,
            kernel_size=self._upsample_factor,
            strides=self._upsample_factor,
            kernel_initializer=_fan_out(),
            kernel_regularizer=self._regularizer,
            name="mask-upsampling",
        )
        self.deconv_norm = self.norm()
        self.logits = tf_keras.layers.Conv2D(
            1 if self.class_agnostic else self._num_classes,
            kernel_size=1,
            kernel_initializer=_fan_out(),
            kernel_regularizer=self._regularizer,
            name="mask-logits",
        )
        super().build(input_shape)

    def call(
        self,
        features: tf.Tensor,
        classes: tf.Tensor,
        valid: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> tf.Tensor:
        """Predicts masks.

        Args:
            features: [n, crop_size, crop_size, c], the features inside each box.
            classes: [n] integers, the class whose mask is wanted; without effect if the head is
                class-agnostic. Padding (-1) is given some mask, which means nothing.
            valid: [n] bool, the rows that are not padding; None: all.
            training: whether batch statistics are used.

        Returns:
            [n, mask_size, mask_size] logits.
        """
        x = self.body(features, valid, bool(training))
        x = self._activation(self.deconv_norm(self.deconv(x), valid=valid, training=training))
        logits = self.logits(x)
        if self.class_agnostic:
            return tf.squeeze(logits, axis=-1)
        classes = tf.clip_by_value(tf.cast(classes, tf.int32), 0, self._num_classes - 1)
        return tf.gather(logits, classes, axis=-1, batch_dims=1)


@gin.register
class ConvMaskHead(MaskHead):
    """Mask R-CNN's own head: a stack of 3x3 convolutions (arXiv:1703.06870 figure 4, right)."""

    def __init__(
        self,
        num_convs: int = 4,
        width: int = 256,
        crop_size: int = 14,
        upsample_factor: int = 2,
        class_agnostic: bool = True,
        sync_norm: bool = False,
        norm_momentum: float = 0.99,
        norm_epsilon: float = 0.001,
        activation: Activation = "relu",
    ) -> None:
        super().__init__(
            crop_size=crop_size, upsample_factor=upsample_factor, width=width,
            class_agnostic=class_agnostic, sync_norm=sync_norm, norm_momentum=norm_momentum,
            norm_epsilon=norm_epsilon, activation=activation)
        self._num_convs = num_convs

    def build_body(self) -> None:
        """Creates the convolutions."""
        self.convs = [
            tf_keras.layers.Conv2D(
                self.width, 3, padding="same", name=f"mask-conv_{i}",
                kernel_initializer=_fan_out(), kernel_regularizer=self._regularizer)
            for i in range(self._num_convs)
        ]
        self.norms = [self.norm() for _ in range(self._num_convs)]

    def body(self, features: tf.Tensor, valid: tf.Tensor | None, training: bool) -> tf.Tensor:
        """[n, crop, crop, c] -> [n, crop, crop, width]."""
        x = features
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = self._activation(norm(conv(x), valid=valid, training=training))
        return x


@gin.register
class HourglassMaskHead(MaskHead):
    """The deep mask head of arXiv:2104.00613: an hourglass of 10 to 100 layers.

    The head's width is that of the hourglass's first convolution and of the tail; inside, an
    hourglass is two to four times as wide. As published, the hourglass itself has no weight decay.
    """

    def __init__(
        self,
        depth: int = 52,
        width: int = 64,
        crop_size: int = 32,
        upsample_factor: int = 2,
        class_agnostic: bool = True,
        sync_norm: bool = True,
        norm_momentum: float = 0.9,
        norm_epsilon: float = 1e-5,
        tail_sync_norm: bool = False,
        tail_norm_momentum: float = 0.99,
        tail_norm_epsilon: float = 0.001,
        activation: Activation = "relu",
    ) -> None:
        if depth not in hourglass.SHAPES:
            known = ", ".join(str(d) for d in hourglass.SHAPES)
            raise UserError(f"HourglassMaskHead.depth = {depth} is not a known depth: {known}.")
        stages = hourglass.SHAPES[depth].num_stages
        if crop_size % 2**stages:
            raise UserError(
                f"HourglassMaskHead.crop_size = {crop_size} does not suit depth {depth}, which "
                f"halves its input {stages} times: use a multiple of {2**stages}.")
        super().__init__(
            crop_size=crop_size, upsample_factor=upsample_factor, width=width,
            class_agnostic=class_agnostic, sync_norm=tail_sync_norm,
            norm_momentum=tail_norm_momentum, norm_epsilon=tail_norm_epsilon,
            activation=activation)
        self._depth = depth
        self._body_norm = {
            "momentum": norm_momentum, "epsilon": norm_epsilon, "synchronized": sync_norm}

    def build_body(self) -> None:
        """Creates the hourglass."""
        self.hourglass = hourglass.Hourglass(
            self._depth, self.width, lambda: MaskedBatchNormalization(**self._body_norm))

    def body(self, features: tf.Tensor, valid: tf.Tensor | None, training: bool) -> tf.Tensor:
        """[n, crop, crop, c] -> [n, crop, crop, 2 * width]."""
        return self.hourglass(features, valid=valid, training=training)


def _fan_out() -> tf_keras.initializers.Initializer:
    return tf_keras.initializers.VarianceScaling(
        scale=2, mode="fan_out", distribution="untruncated_normal")
