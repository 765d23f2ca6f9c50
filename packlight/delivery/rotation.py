"""Another key for a role, after a theft or from time to time; no reader is ever in between.

The first new root believes the old key and the new one, everything is signed by both, and a second
new root believes the new one alone. A thief's signatures, and the versions that they have run ahead
to, end with the old key.
"""

from __future__ import annotations

import os
from pathlib import Path

from packlight.delivery.keys import ROLES, make_key
from packlight.delivery.locking import locked
from packlight.delivery.repository import PATIENCE, Repository, open_repository
from packlight.errors import BadInput


def rotate(
    repo: str | Path, role: str, *, keys: str | Path | None = None, secret: str
) -> Repository:
    """Replace a role's key; needs all four, and leaves the new one in the old one's place.

    Where this is killed, the old key may still be believed: run it again.

    Raises:
        BadInput: there is no such role, a key is missing, or the passphrase is another.
    """
    if role not in ROLES:
        raise BadInput(f"{role!r} is no role; there are {', '.join(ROLES)}")
    with locked(Path(repo), PATIENCE):
        held = open_repository(repo, keys)
        signers = held.signers(secret, ROLES)
        fresh = held.keys / f"{role}.key.next"
        new = make_key(fresh, secret)
        both = {**signers, role: [*signers[role], new]}
        held = held.believing({role: both[role]}, both["root"])
        held = held.renewed({name: both[name] for name in ROLES[1:]})
        os.replace(fresh, held.keys / f"{role}.key")
        return held.believing({role: [new]}, both["root"])
