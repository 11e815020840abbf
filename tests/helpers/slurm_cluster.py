"""A real Slurm of two nodes on this machine, with daemons, keys and state in a folder of its own.

Debian's packages slurm-wlm and munge are enough; nothing of an installed cluster is touched. Needs
root, as slurmd starts jobs for any user. Each node has two GPUs that are only device files, so that
Slurm shares them out.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.helpers.supervised import wait_until

NODES = ("n1", "n2")
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")

# Without cgroups, which need systemd, and without a database. Jobs of "urgent" take the nodes of
# others. Times are short, so that tests are.
_CONFIGURATION = """\
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge/socket,cred_expire=5
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_interval=1,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=10
SlurmdTimeout=6
ReturnToService=2
GresTypes=gpu
NodeName=DEFAULT CPUs=2 RealMemory=1000 Gres=gpu:2
NodeName={nodes} NodeHostname={host} NodeAddr=127.0.0.1 Port={node_ports}
PartitionName=main Nodes={nodes} Default=YES PriorityTier=1 GraceTime=20 MaxTime=INFINITE
PartitionName=urgent Nodes={nodes} PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE
"""


@contextlib.contextmanager
def serving(root: Path) -> Iterator[Cluster]:
    """Yield a cluster that lasts as long as the context; skip the test where there can be none."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"no Slurm here: {', '.join(missing)} (Debian: slurm-wlm, munge)")
    if os.geteuid() != 0:
        pytest.skip("no Slurm here: its daemons need root to start jobs")
    cluster = Cluster(root)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


class Cluster:
    """One cluster.

    Args:
        root: Folder of its files, which does not exist yet.

    Attributes:
        root: That folder.
        variables: Environment variables by which Slurm's programs find it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.variables = {"SLURM_CONF": str(root / "slurm.conf")}
        for folder in ("state", "munge", *NODES):
            (root / folder).mkdir(parents=True)
            # munged wants folders that nobody else can write.
            (root / folder).chmod(0o711)
        (root / "munge" / "key").write_bytes(os.urandom(1024))
        (root / "munge" / "key").chmod(0o600)
        for number in (0, 1):
            os.mknod(root / f"gpu{number}", 0o020666, os.makedev(1, 3))
        (root / "gres.conf").write_text(
            f"AutoDetect=off\nNodeName={','.join(NODES)} Name=gpu File={root}/gpu[0-1]\n")
        first, *ports = _free_ports(1 + len(NODES))
        (root / "slurm.conf").write_text(_CONFIGURATION.format(
            name="test", host=socket.gethostname().partition(".")[0], root=root,
            controller_port=first, nodes=",".join(NODES), node_ports=",".join(map(str, ports))))

    def start(self, *daemons: str) -> None:
        """Start "slurmctld" or the slurmd of nodes; without names all, and wait for the nodes."""
        if not daemons:
            munge = self.root / "munge"
            self.ask(
                "munged", f"--key-file={munge}/key", f"--socket={munge}/socket",
                f"--pid-file={munge}.pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed",
                "--num-threads=2", "--force")
        for daemon in daemons or ("slurmctld", *NODES):
            self.ask(*(["slurmd", "-N", daemon] if daemon in NODES else [daemon]))
        if not daemons:
            wait_until(lambda: self.ask("sinfo", "-h", "-N", "-p", "main", "-o", "%t").split()
                       == ["idle"] * len(NODES))

    def resume_nodes(self) -> None:
        """Do an administrator's work: take back nodes that a controller without memory drained."""
        for node in self.ask("sinfo", "-h", "-N", "-p", "main", "-t", "drain", "-o", "%N").split():
            self.ask("scontrol", "update", f"nodename={node}", "state=resume")

    def kill(self, daemon: str) -> None:
        """Kill "slurmctld", "munge" or the slurmd of a node; jobs go on."""
        with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
            process = psutil.Process(int((self.root / f"{daemon}.pid").read_text()))
            process.kill()
            # Init may reap it late.
            wait_until(lambda: process.status() == psutil.STATUS_ZOMBIE)

    def crash(self, node: str) -> None:
        """Kill everything on a node, as a failure of its machine does."""
        self.kill(node)
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.environ()["SLURMD_NODENAME"] == node:
                    parent = process.parent()
                    if parent is not None and parent.name().startswith("slurmstepd"):
                        parent.kill()
                    process.kill()

    def stop(self) -> None:
        """Kill all daemons, jobs, and others that were started with this cluster's variables."""
        for daemon in (*NODES, "slurmctld", "munge"):
            self.kill(daemon)
        # Daemons that end may start others in their last moment.
        while living := self._living():
            for process in living:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(living, timeout=1.0)

    def ask(self, *command: str, script: str = "") -> str:
        """Return what a program of Slurm prints."""
        done = subprocess.run(
            command, input=script, env={**os.environ, **self.variables}, text=True,
            capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def processes(self) -> list[psutil.Process]:
        """Return the living processes of jobs on all nodes."""
        return [each for each in self._living() if "SLURMD_NODENAME" in _environment(each)]

    def _living(self) -> list[psutil.Process]:
        configuration = self.variables["SLURM_CONF"]
        return [
            each for each in psutil.process_iter()
            if each.pid != os.getpid() and _environment(each).get("SLURM_CONF") == configuration]


def _environment(process: psutil.Process) -> dict[str, str]:
    with contextlib.suppress(psutil.Error):
        return process.environ()
    return {}


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
