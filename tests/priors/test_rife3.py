"""RIFE 3.x: laws."""

from __future__ import annotations

import pytest
import torch

from vid4d.priors.rife3 import IFNet3, IFNet3Config


@pytest.mark.parametrize("learned_growth", [True, False])
def test_the_middle_of_rife_3_does_not_depend_on_the_order(learned_growth):
    torch.manual_seed(0)
    model = IFNet3(IFNet3Config(learned_growth)).eval()
    first, second = torch.rand(1, 4, 30, 40), torch.rand(1, 4, 30, 40)
    with torch.no_grad():
        torch.testing.assert_close(model(first, second).frame, model(second, first).frame)
    with pytest.raises(ValueError, match="middle"):
        model(first, second, 0.25)
