import pytest

from clearpane.separation.flux.settings import load_settings, save_settings
from clearpane.separation.gensirr.separator import GensirrSettings
from clearpane.separation.panel.separator import PanelSettings


@pytest.mark.parametrize(
    "settings",
    [
        PanelSettings("base", "0123", side=32, rank=2, guidance=2.5, caption="three panels"),
        GensirrSettings(None, None, 32, 2, 2.5, "remove it.", one_step=True),
    ],
)
def test_settings_come_back_as_they_were(settings, tmp_path):
    save_settings(settings, tmp_path / "a.json")
    assert load_settings(type(settings), tmp_path / "a.json", "clearpane train panel") == settings
