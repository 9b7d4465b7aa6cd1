"""What a benchmark asks of an encoder that it has not is told before the encoder is trained."""

import pytest

from tests.test_probed import configured
from workflow_scripts.config_check import check_config
from workflow_scripts.errors import UserError
from workflow_scripts.probe.table import main


def refused(**benchmarks):
    with pytest.raises(UserError) as told:
        check_config(configured(**benchmarks))
    return str(told.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"image_size": 37}, "image_size: 37 is no multiple of 8, as 'scenes-mae' needs it"),
        ({"image_size": 40}, "image_size: 40 is no multiple of 32, as 'scenes-gfm' needs it"),
        ({"layers": 2}, "layers: 2, but 'scenes-gfm' has 1 blocks in its last stage"),
        ({"poolings": ["mean", "mean+class"]}, "poolings: 'scenes-gfm' is a Swin"),
        ({"protocols": ["lars"], "lars": {"pooling": "class"}}, "lars.pooling: 'scenes-gfm' is"),
        ({"encoders": ["modis-simmim@9"]}, "encoders: 'modis-simmim' is pretrained on chips"),
        ({"dataset": "sample-modis"}, "dataset: 'sample-modis' are chips without labels"),
        ({"seeds": [-1]}, "seeds.0: Input should be greater than or equal to 0"),
        ({"lars": {"epochs": 10}}, "lars: warmup_epochs is 10 and epochs 10"),
    ],
)
def test_what_no_encoder_can_give_is_refused_with_its_key(change, told):
    assert f"benchmarks.scenes.{told}" in refused(scenes=change)


def test_images_are_not_for_the_labels_of_chips():
    assert "'scenes-mae' is pretrained on images, 'aicca' has chips" in refused(
        aicca={"encoders": ["scenes-mae"]}
    )


def test_what_encoders_can_give_is_accepted():
    swin = {"encoders": ["scenes-gfm"], "image_size": 64, "protocols": ["linear", "lars"]}
    check_config(configured(scenes=swin))
    vit = {"encoders": ["scenes-mae", "vit-b"], "layers": 4, "poolings": ["mean+class"]}
    check_config(configured(scenes=vit))
    # Of fine-tuning alone, neither layers nor poolings count.
    tuned = {"protocols": ["finetune"], "layers": 4, "poolings": ["class"]}
    check_config(configured(scenes=tuned))


def test_a_benchmark_that_judges_nothing_says_so_on_the_terminal():
    with pytest.raises(SystemExit, match="name encoders in the benchmark"):
        main([])
