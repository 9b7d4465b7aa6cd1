"""The peak of a device's memory for a workload: the trace of `plan.predict`."""

from workflow_scripts.plan.predict import Case, predicted
from workflow_scripts.plan.workload import Workload


def peak_bytes(
    workload: Workload, *, strategy: str, ranks: int, batch: int, recompute: bool, gpu: bool
) -> int:
    """Bytes of the tensors of a step when most are alive.

    Args:
        workload: What is trained.
        strategy: One of `strategies.NAMES`.
        ranks: Devices of the job.
        batch: Images of a device.
        recompute: Activation checkpointing of every block.
        gpu: Whether the device is a GPU.

    Raises:
        UserError: A strategy that the ranks cannot have.
    """
    case = Case(
        recipe=workload.recipe | {"batch": batch * ranks}, channels=workload.channels,
        strategy=strategy, ranks=ranks, recompute=recompute, gpu=gpu, flat=workload.flat,
    )  # fmt: skip
    return predicted(case).total
