"""Which of the run's processes this one is."""

import pytest

from exits_jax.system.errors import UserError
from exits_jax.system.hosts import ALONE, Hosts, hosts_from


def test_flags_and_schedulers_say_which_process_this_is():
    assert hosts_from("", None, None, {}) == ALONE
    assert hosts_from("a:1", 3, 2, {}) == Hosts(2, 3, "a:1")
    assert hosts_from("", 3, 0, {}).first
    slurm = {"SLURM_PROCID": "1", "SLURM_NTASKS": "4"}
    assert hosts_from("auto", None, None, slurm) == Hosts(1, 4, "auto")
    assert hosts_from("", None, None, slurm) == ALONE  # a job of one task in a larger allocation
    tpu = {"TPU_WORKER_ID": "0", "TPU_WORKER_HOSTNAMES": "a,b"}
    assert hosts_from("auto", None, None, tpu) == Hosts(0, 2, "auto")


def test_a_scheduler_that_gives_no_number_is_named():
    with pytest.raises(UserError, match="SLURM_PROCID is 'x', expected a number"):
        hosts_from("auto", None, None, {"SLURM_PROCID": "x", "SLURM_NTASKS": "4"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", 2, None), "given together"),
        (("", None, 0), "given together"),
        (("a:1", None, None), "given together"),
        (("", 2, 2), "expected 0 to 1"),
        (("", 0, 0), "process_id=0 of --num_processes=0"),
        (("auto", None, None), "give --coordinator=HOST:PORT"),
        (("auto", 2, 0), "finds --num_processes and --process_id itself"),
        (("host", 2, 0), "expected HOST:PORT"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        hosts_from(*arguments, {})
