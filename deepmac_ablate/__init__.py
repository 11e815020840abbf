"""Ablations of Mask R-CNN with deep mask heads, for classes whose masks were never seen.

The way of the data, and of the imports (never against the arrows)::

    gin files, bindings -> plan -> launch -> training -> evaluation -> workdir -> results

Axis vocabulary used in docstrings: ``b`` images of a replica's batch, ``n`` instances or boxes,
``h`` ``w`` height and width, ``c`` channels. Boxes are ``[ymin, xmin, ymax, xmax]`` in pixels of
the (resized) image unless said otherwise. Class ids are those of the annotations (COCO: 1..90),
0 is background.
"""

import os

# Models are of Keras 2 (tf_keras), as Model Garden's are. Told so, TensorFlow leaves out Keras 3,
# which takes a second of each start, and layers that users take from `tf.keras` fit the models.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
