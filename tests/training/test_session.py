"""The settings of a trial are checked against its dataset before anything is built."""

from __future__ import annotations

import types

import pytest

from deepmac_ablate.data.dataset_info import Category, DatasetInfo
from deepmac_ablate.errors import UserError
from deepmac_ablate.modeling.losses import Losses
from deepmac_ablate.modeling.weak_losses import ProjectionLoss
from deepmac_ablate.training.session import Training


def test_training_without_any_mask_is_refused():
    """Seen classes without a mask would train nothing, unless a weak loss trains them by boxes."""
    info = DatasetInfo(
        "train", "0123456789ab", 3, 3, 0, 1, (Category(3, "box"), Category(7, "leaf")),
        num_masks_by_class={7: 2})
    data = types.SimpleNamespace(info=info, batch_size=2)

    for split in (["leaf"], "all", []):
        Training(None, data, split, Losses(), None, 1).check_data(1)
    with pytest.raises(UserError, match=r"seen_classes = \['box'\] selects no mask in the dataset"):
        Training(None, data, ["box"], Losses(), None, 1).check_data(1)
    weak = Losses(further_losses=[ProjectionLoss()])
    Training(None, data, ["box"], weak, None, 1).check_data(1)
