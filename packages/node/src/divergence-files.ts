/**
 * Divergence bundles as files of a node.
 *
 * Invariant: a bundle is whole under its name: it is written beside it first.
 */
import { mkdir, rename, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { Effect } from "effect"
import type { NodePaths } from "./directory.ts"

/** Writes bundles into the node's directory `divergence`, which is made with the first of them. */
export const divergenceFiles =
  ({ divergence }: Pick<NodePaths, "divergence">) =>
  (name: string, text: string): Effect.Effect<void> => {
    const path = join(divergence, name)
    const written = Effect.tryPromise(async () => {
      await mkdir(divergence, { recursive: true })
      await writeFile(`${path}.part`, text, { mode: 0o600 })
      await rename(`${path}.part`, path)
    })
    return Effect.matchEffect(written, {
      onSuccess: () => Effect.logWarning(`a block led to another state than it says: see coppice replay ${path}`),
      onFailure: (error) => Effect.logWarning(`the divergence bundle ${path} could not be written`, error),
    })
  }
