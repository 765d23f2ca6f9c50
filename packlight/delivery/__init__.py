"""Networks that reach the phone after installation, from a folder that any static host serves.

A publisher fills the folder: `publish` adds a version of a network, signed through The Update
Framework, with the differences to the versions before it. A `Client` follows one network of it.

    names         what may be a name, a version, a file
    index         the signed list of a network's versions
    keys          private keys, encrypted, never in the folder that is served
    repository    the signed folder: made, read, extended, refreshed
    rotation      another key for a role
    cleaning      old versions, and files that none needs, removed
    variants      the packed files that a fit left behind
    inputs        the shapes of a network's inputs
    publishing    `publish`, `withdraw`, `rollout`: a version's files, its differences, its entry
    reporting     what `repo status` tells
    locking       one process at a time in a folder
    routes        the fewest bytes from what is there to what is wanted
    web           HTTP with bounds
    downloads     a file of known hash and length, resumed where it stopped
    trust         metadata that a device believes
    store         what lies on the device, switched in one step
    choosing      which version, and which files of it, a device takes
    making        files out of what was downloaded and what is there
    client        `Client`: one network on one device
"""

from __future__ import annotations

from packlight.delivery.client import Client, Update
from packlight.delivery.publishing import publish, rollout, withdraw
from packlight.delivery.repository import Repository, make
from packlight.delivery.store import Installed

__all__ = [
    "Client",
    "Installed",
    "Repository",
    "Update",
    "make",
    "publish",
    "rollout",
    "withdraw",
]
