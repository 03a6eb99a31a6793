"""The embedded PostgreSQL comes up on its own, survives being killed, and explains itself in one line."""

import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cli.dev import postgres, postgres_home
from cli.dev.database import DATABASE, LOGIN, create_database
from cli.dev.postgres import Cluster, ClusterError, ensure_cluster, remove_cluster
from cli.dev.postgres_failure import explain
from cli.dev.postgres_home import may_enter
from tests.dev.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
FAST = {"fsync": "off"}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def open_root() -> Iterator[Path]:
    """A directory that every account can reach, as an ordinary checkout is."""
    directory = Path(tempfile.mkdtemp(prefix="postbox test "))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def shared(open_root: Path) -> Iterator[Cluster]:
    cluster = ensure_cluster(open_root / "shared", settings=FAST)
    yield cluster
    cluster.remove()


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    shared.start()
    return shared


def ask(cluster: Cluster, query: str) -> object:
    with psycopg.connect(cluster.url()) as conn:
        row = conn.execute(query).fetchone()
    return row and row[0]


def test_it_is_version_18_on_this_machine_only(cluster: Cluster) -> None:
    assert str(ask(cluster, "show server_version")).startswith("18.")
    assert ask(cluster, "show listen_addresses") == "127.0.0.1"


def test_a_commit_is_durable_unless_a_test_says_otherwise(open_root: Path) -> None:
    cluster = ensure_cluster(open_root / "durable")
    try:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert ask(cluster, f"show {setting}") == "on"
        assert ask(cluster, "show max_connections") == "200"
    finally:
        remove_cluster(open_root / "durable")
    assert not cluster.data_dir.exists(), "what is removed is not there"
    # a server without its files is found by nothing else
    with pytest.raises(psycopg.OperationalError, match="refused"):
        ask(cluster, "select 1")


def test_asking_again_adopts_the_running_server(cluster: Cluster) -> None:
    pid = cluster.pid()
    again = ensure_cluster(cluster.home.path.parent, settings=FAST)
    assert (again, again.pid()) == (cluster, pid)


def test_the_port_is_remembered_over_a_restart(cluster: Cluster) -> None:
    cluster.stop()
    assert not cluster.is_running()
    assert ensure_cluster(cluster.home.path.parent, settings=FAST).port == cluster.port


def test_a_remembered_port_that_was_taken_is_replaced(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "PORT_SECONDS", 0.1)
    cluster.stop()
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", cluster.port))
        squatter.listen()
        with pytest.raises(ClusterError, match="is taken by another program"):
            cluster.start()
        moved = ensure_cluster(cluster.home.path.parent, settings=FAST)
    assert moved.port != cluster.port
    with pytest.raises(ClusterError, match="runs already, but on port"):
        cluster.start()
    moved.stop()
    (moved.home.port_file).write_text(str(cluster.port))


def test_a_killed_server_comes_back_with_what_was_committed(cluster: Cluster) -> None:
    with psycopg.connect(cluster.url(), autocommit=True) as conn:
        conn.execute("create table kept as select 42 as answer")
    os.kill(cluster.pid() or 0, signal.SIGKILL)
    assert ensure_cluster(cluster.home.path.parent, settings=FAST).port == cluster.port
    assert ask(cluster, "select answer from kept") == 42


def test_an_immediate_stop_is_recovered_from(cluster: Cluster) -> None:
    cluster.stop("immediate")
    assert not cluster.is_running()
    cluster.start()
    assert ask(cluster, "select 1") == 1


def test_a_pid_file_whose_number_belongs_to_another_process_is_no_server(cluster: Cluster) -> None:
    cluster.stop()
    pid_file = cluster.data_dir / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{cluster.data_dir}\n0\n{cluster.port}\n\n127.0.0.1\n\nready\n")
    assert not cluster.is_running()
    cluster.start()
    assert ask(cluster, "select 1") == 1


def test_nobody_connects_without_the_password(cluster: Cluster) -> None:
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(host="127.0.0.1", port=cluster.port, user="postgres", dbname="postgres")
    assert stat.S_IMODE(cluster.home.secret_file.stat().st_mode) == 0o600
    assert cluster.secret not in repr(cluster)


def test_the_socket_is_short_and_private_wherever_the_checkout_is(cluster: Cluster) -> None:
    assert len(f"{cluster.socket_dir}/.s.PGSQL.65535") < 100
    assert stat.S_IMODE(cluster.socket_dir.stat().st_mode) == 0o700


def test_the_programs_that_come_with_it_run(cluster: Cluster) -> None:
    for program in ("psql", "pgbench", "pg_dump"):
        ran = subprocess.run([cluster.bin_dir / program, "--version"], capture_output=True, text=True)
        assert "18." in ran.stdout


def test_two_that_start_it_at_once_get_the_same_server(open_root: Path) -> None:
    code = (
        "import pathlib, sys\nfrom cli.dev.postgres import ensure_cluster\n"
        "c = ensure_cluster(pathlib.Path(sys.argv[1]), settings={'fsync': 'off'})\nprint(c.pid(), c.port)"
    )
    argv = [sys.executable, "-c", code, str(open_root / "twice")]
    both = [subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = {process.communicate(timeout=120)[0] for process in both}
    ensure_cluster(open_root / "twice").remove()
    assert len(told) == 1
    assert told.pop().strip()


@pytest.mark.parametrize("closed", [False, pytest.param(True, marks=as_root)], ids=["open checkout", "closed checkout"])
def test_whoever_is_second_to_make_the_home_uses_that_of_the_first(
    open_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    """Between the look at what is there and the making of it, another process makes it."""
    monkeypatch.setattr(postgres_home, "SHARED_STATE", open_root / "of two")
    root = tmp_path / "closed" if closed else open_root / "open"
    make = "symlink_to" if closed else "mkdir"
    unhurried = getattr(Path, make)

    def overtaken(path: Path, *arguments: object, **options: object) -> None:
        if path == root / "postgres" and not path.exists():
            monkeypatch.setattr(Path, make, unhurried)
            others.append(postgres_home.find_home(root))
        unhurried(path, *arguments, **options)

    others: list[postgres_home.Home] = []
    monkeypatch.setattr(Path, make, overtaken)
    assert [postgres_home.find_home(root)] == others
    assert len(list((open_root / "of two").glob("*"))) == closed


@pytest.mark.parametrize(
    "harm, told",
    [
        (lambda data: (data / "PG_VERSION").unlink(), "is broken .PG_VERSION is missing"),
        (lambda data: (data / "PG_VERSION").write_text("?"), "is broken .PG_VERSION is not a number"),
        (lambda data: (data / "PG_VERSION").write_text("17\n"), "was written by PostgreSQL 17, this is 18"),
        (lambda data: (data / "global" / "pg_control").unlink(), "is broken .global/pg_control is missing"),
        (lambda data: (data / "global" / "pg_control").write_bytes(b"\0" * 8192), "is broken"),
    ],
    ids=["no version", "no number", "old version", "no control file", "wrong control file"],
)
def test_a_broken_data_directory_is_one_clear_line(cluster: Cluster, harm, told: str) -> None:  # type: ignore[no-untyped-def]
    cluster.stop()
    keep = {
        path: path.read_bytes() for path in (cluster.data_dir / "PG_VERSION", cluster.data_dir / "global/pg_control")
    }
    try:
        harm(cluster.data_dir)
        with pytest.raises(ClusterError, match=told) as error:
            ensure_cluster(cluster.home.path.parent, settings=FAST)
        assert "\n" not in str(error.value)
    finally:
        for path, content in keep.items():
            path.write_bytes(content)
            shutil.copystat(cluster.data_dir / "postgresql.conf", path)
            if cluster.home.account:
                os.chown(path, cluster.home.account.pw_uid, cluster.home.account.pw_gid)


def test_a_full_disk_is_one_clear_line(cluster: Cluster, open_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_home.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(ClusterError, match="the disk is full"):
        ensure_cluster(open_root / "full", settings=FAST)
    assert "the disk is full" in explain("FATAL:  could not write: No space left on device", cluster.data_dir)


def test_an_interrupted_creation_leaves_nothing_in_the_way(open_root: Path) -> None:
    (open_root / "cut" / "postgres" / "data.new" / "base").mkdir(parents=True)
    cluster = ensure_cluster(open_root / "cut", settings=FAST)
    try:
        assert ask(cluster, "select 1") == 1
    finally:
        cluster.remove()


@as_root
def test_as_root_the_server_runs_under_another_account(cluster: Cluster) -> None:
    assert Path(f"/proc/{cluster.pid()}").stat().st_uid == cluster.data_dir.stat().st_uid != 0


@as_root
def test_as_root_in_a_closed_checkout_data_and_binaries_live_where_the_account_can_reach_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_root: Path
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(postgres_home, "SHARED_STATE", open_root / "state")
    monkeypatch.setattr(postgres_home, "_readable", lambda *_: False)
    cluster = ensure_cluster(tmp_path / ".postbox", settings=FAST)
    try:
        assert ask(cluster, "select 1") == 1
        assert cluster.data_dir.is_relative_to(open_root / "state")
        assert cluster.bin_dir.is_relative_to(open_root / "state")
        assert (tmp_path / ".postbox" / "postgres").is_symlink()
        assert ensure_cluster(tmp_path / ".postbox", settings=FAST).pid() == cluster.pid()
    finally:
        cluster.remove()


@as_root
def test_a_normal_user_runs_it_too_and_is_refused_what_is_not_theirs(open_root: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    needed = (ROOT, Path(sys.executable).resolve().parent, Path(psycopg.__file__).parent)
    if not all(may_enter(nobody, path) for path in needed):
        pytest.skip("this checkout or its Python is closed to other accounts")
    (open_root / "theirs").mkdir()
    shutil.chown(open_root / "theirs", nobody.pw_uid, nobody.pw_gid)
    code = (
        "import pathlib, sys\nfrom cli.dev.postgres import ClusterError, ensure_cluster\n"
        "c = ensure_cluster(pathlib.Path(sys.argv[1]) / 'theirs' / '.postbox', settings={'fsync': 'off'})\n"
        "print(c.is_running())\nc.remove()\n"
        "try: ensure_cluster(pathlib.Path(sys.argv[1]) / 'ours')\nexcept ClusterError as e: print(e)"
    )
    ran = subprocess.run(
        [sys.executable, "-B", "-c", code, str(open_root)],
        cwd=ROOT, capture_output=True, text=True, user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[],
    )  # fmt: skip
    assert ran.stdout.splitlines()[0] == "True", ran.stderr
    assert ran.stdout.splitlines()[1].startswith("not permitted to create")


def test_the_database_and_its_login_are_created_once_and_the_login_owns_nothing(cluster: Cluster) -> None:
    create_database(cluster)
    create_database(cluster)
    with psycopg.connect(cluster.url(DATABASE, LOGIN)) as conn:
        row = conn.execute("select rolsuper, rolcreatedb, rolinherit from pg_roles where rolname = user").fetchone()
    assert row == (False, False, False)


def test_after_removal_no_server_is_left(open_root: Path) -> None:
    cluster = ensure_cluster(open_root / "gone", settings=FAST)
    pid = cluster.pid()
    assert pid
    cluster.remove()
    eventually(lambda: not Path(f"/proc/{pid}/cwd").exists())
