"""Where a net begins with the shipped weights if nobody says otherwise, and where it does not."""

from trainer.backbone import PLENTY, find_backbone
from trainer.sizes import NetShape


def test_auto_goes_without_where_the_shipped_file_does_not_fit() -> None:
    found, told = find_backbone("auto", None, NetShape(2, 3, width=40))
    assert found is None
    assert "drawn at random" in told


def test_auto_goes_without_where_there_is_plenty_to_learn_from() -> None:
    found, told = find_backbone("auto", None, NetShape(2, 3), defective=PLENTY)
    assert found is None
    assert f"{PLENTY} defective pictures are enough" in told
    scarce, _ = find_backbone("auto", None, NetShape(2, 3), defective=PLENTY - 1)
    assert scarce is not None


def test_auto_goes_without_on_binarised_copper_unless_there_is_a_reference() -> None:
    found, told = find_backbone("auto", None, NetShape(1, 3), is_copper=True)
    assert found is None
    assert "on binarised copper without a reference" in told
    for shape, is_copper in ((NetShape(2, 3), True), (NetShape(1, 3), False)):
        found, _ = find_backbone("auto", None, shape, is_copper=is_copper)
        assert found is not None
