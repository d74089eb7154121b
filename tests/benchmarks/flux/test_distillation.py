"""Few-step distillation: losses of the parts, tables and picture."""

import torch

from benchmarks.flux import distillation
from benchmarks.flux.distillation_tables import draw_curve, render
from clearpane.separation.flux.sampling import Sampling


def test_a_student_that_equals_a_teacher_of_one_step_has_no_error(backbone, task, monkeypatch):
    crops = [torch.rand((1, 3, 16, 16), generator=torch.Generator().manual_seed(i)) for i in range(3)]
    for editor in distillation.EDITORS:
        losses = {}
        for steps in (1, 4):
            monkeypatch.setattr(distillation, "TEACHER_STEPS", steps)
            generator = torch.Generator().manual_seed(0)
            losses[steps] = distillation.loss_of_part(
                "distilled", editor, backbone, backbone, task, crops, generator
            ).item()
        assert losses[1] < 1e-10 < 1e-4 < losses[4]
        made = distillation.remove(editor, backbone, task, crops[0], Sampling(1))
        assert made.shape == crops[0].shape


def test_tables_and_picture_place_the_student_by_its_time():
    def scores(psnr, seconds=None):
        row = {s: {"psnr": [psnr, psnr + 1], "psnr_g": [psnr, psnr]} for s in ("val", "blends")}
        return row | ({} if seconds is None else {"seconds": seconds, "own seconds": seconds})

    document = {
        "runs": {
            "GenSIRR, teacher": {
                "training_seconds": 7.0,
                "scores": {"1": scores(18, 0.064), "4": scores(19, 0.256)},
            },
            "GenSIRR, distilled": {"training_seconds": None, "scores": {"1": scores(20, 0.064)}},
        },
        "others": {"nothing": scores(17), "compact": scores(22, 0.016)},
        **{"steps": 1, "distilling_steps": 1, "batch": 1, "side": 48},
        "machine": distillation.describe_machine(),
    }
    text = render(document)
    assert "| GenSIRR, distilled | 4 steps | +1.00" in text and "| 4.0 |" in text
    curve = draw_curve(document)
    assert curve.count("<circle") == 3 and curve.count('width="10"') == 1
