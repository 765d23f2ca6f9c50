"""Private keys: ed25519, encrypted with a passphrase, in a folder that is never served.

    KEYS/root.key targets.key snapshot.key timestamp.key     JSON: scrypt's settings, then the key
    KEYS/root.json                                           public: the root this publisher trusts

Each role has its own key, so that a machine which only refreshes needs the last two.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from packlight.errors import BadInput, MissingExtra
from packlight.files import replace_file

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

ROLES = ("root", "targets", "snapshot", "timestamp")
PASSPHRASE = "PACKLIGHT_PASSPHRASE"
TRUSTED = "root.json"
_N, _R, _P = 1 << 15, 8, 1  # scrypt: 32 MB and about 0.1 s for each guess
_MOST_N = 1 << 20


def need_extra() -> None:
    """Refuse early where the extra `delivery` is not installed.

    Raises:
        MissingExtra: one of its packages can not be imported.
    """
    try:
        import cryptography  # noqa: F401
        import filelock  # noqa: F401
        import securesystemslib  # noqa: F401
        import tuf  # noqa: F401
        import urllib3  # noqa: F401
    except ImportError as problem:
        raise MissingExtra(problem.name or "tuf", "delivery") from problem


def passphrase(*, new: bool = False) -> str:
    """From the environment, or asked for on the terminal; twice for `new` keys.

    Raises:
        BadInput: there is none.
    """
    given = os.environ.get(PASSPHRASE)
    if given is None and sys.stdin is not None and sys.stdin.isatty():
        import click

        given = click.prompt("Passphrase", hide_input=True, confirmation_prompt=new, err=True)
    if not given:
        raise BadInput(f"the keys need a passphrase; set {PASSPHRASE}, or type one in a terminal")
    return given


def default_folder(repo: Path) -> Path:
    """Beside the repository."""
    repo = repo.absolute()
    return repo.with_name(f"{repo.name}-keys")


def make_keys(folder: Path, secret: str) -> dict[str, CryptoSigner]:
    """New keys, written encrypted, readable by their owner alone.

    Raises:
        BadInput: there are keys already, or the folder can not be written to.
    """
    if any((folder / f"{role}.key").exists() for role in ROLES):
        raise BadInput(f"{folder} holds keys already; give another folder with --keys")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise BadInput(f"{folder} can not be made ({problem.strerror}); say --keys") from problem
    salt = os.urandom(16)
    return {role: make_key(folder / f"{role}.key", secret, salt) for role in ROLES}


def make_key(path: Path, secret: str, salt: bytes | None = None) -> CryptoSigner:
    """A new key, written encrypted, readable by its owner alone."""
    from securesystemslib.signer import CryptoSigner

    signer = CryptoSigner.generate_ed25519()
    replace_file(path, _sealed(signer.private_bytes, secret, salt or os.urandom(16)))
    path.chmod(0o600)
    return signer


def read_key(folder: Path, role: str, secret: str) -> CryptoSigner:
    """A role's key.

    Raises:
        BadInput: it is not there, is damaged, or the passphrase is another.
    """
    from cryptography.fernet import Fernet, InvalidToken
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    path = folder / f"{role}.key"
    try:
        held = json.loads(path.read_bytes())
        n, salt, token = int(held["n"]), bytes.fromhex(held["salt"]), held["key"].encode()
        if held["kdf"] != "scrypt" or n & (n - 1) or not 2 <= n <= _MOST_N:
            raise ValueError
    except OSError as problem:
        raise BadInput(
            f"the {role} key {path} can not be read ({problem.strerror}); say --keys DIR"
        ) from problem
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise BadInput(f"{path} is no key that packlight wrote; say --keys DIR") from problem
    try:
        private = load_pem_private_key(Fernet(_stretched(secret, salt, n)).decrypt(token), None)
    except (InvalidToken, ValueError) as problem:
        raise BadInput(f"the passphrase does not open {path}, or that file is damaged") from problem
    if not isinstance(private, Ed25519PrivateKey):
        raise BadInput(f"{path} holds no ed25519 key; say --keys DIR")
    return CryptoSigner(private)


def _sealed(private: bytes, secret: str, salt: bytes) -> bytes:
    from cryptography.fernet import Fernet

    token = Fernet(_stretched(secret, salt, _N)).encrypt(private)
    held = {"kdf": "scrypt", "n": _N, "salt": salt.hex(), "key": token.decode()}
    return json.dumps(held, indent=1).encode()


@lru_cache(maxsize=8)
def _stretched(secret: str, salt: bytes, n: int) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return base64.urlsafe_b64encode(Scrypt(salt, 32, n, _R, _P).derive(secret.encode()))
