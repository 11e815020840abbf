"""Ablations of Mask R-CNN with deep mask heads, for classes whose masks were never seen.

Data flows through the rooms of the package in this order::

    gin files, bindings -> plan -> launch -> training -> evaluation -> workdir -> results

Shapes in docstrings: ``b`` images in the batch of a replica, ``n`` instances or boxes, ``h`` and
``w`` height and width, ``c`` channels. Boxes are ``[ymin, xmin, ymax, xmax]`` in pixels of the
(resized) image unless stated otherwise. Class ids are those of the annotations (COCO: 1..90); 0 is
background.
"""

import os

# Models use Keras 2 (tf_keras), as Model Garden does. With this setting TensorFlow does not import
# Keras 3, which takes a second, and layers that users take from `tf.keras` fit the models.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
