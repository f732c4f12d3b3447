"""The digest of a file."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from automation.actions.foresight import Foreseen, Foresight, Reading, looked
from automation.actions.form import STRICT, TreePath

Algorithm = Literal["md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "sha3_512", "blake2b", "blake2s"]


class Checksum(BaseModel):
    """Reads the whole file."""

    model_config = STRICT
    type: Literal["checksum"] = "checksum"
    path: TreePath
    algorithm: Algorithm = "sha256"

    async def perform(self, context: Reading) -> Any:
        """`{algorithm, digest, size}`, the digest in hexadecimal."""
        digest = await context.workspace.checksum(self.path, self.algorithm)
        size = (await context.workspace.stat(self.path)).size
        return {"algorithm": self.algorithm, "digest": digest, "size": size}

    async def foresee(self, view: Foresight) -> Foreseen:
        """It is done."""
        return await looked(self.perform(view), "algorithm", "digest", "size")
