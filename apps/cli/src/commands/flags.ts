/** Flags that several commands share. */
import { join } from "node:path"
import { Flag } from "effect/cli"

/** Where a devnet lives unless it is said otherwise: in the repository, ignored by git. */
export const DEFAULT_DATA = join(import.meta.dirname, "..", "..", "..", "..", ".coppice", "devnet")

/** Port of a devnet's first validator unless it is said otherwise. */
export const DEFAULT_PORT = 7070

/** Directory of a devnet. */
export const dataFlag = Flag.String("data").pipe(
  Flag.withMetavar("DIR"),
  Flag.withDescription("Directory of the devnet (default: .coppice/devnet in the repository)"),
  Flag.withDefault(DEFAULT_DATA),
)
