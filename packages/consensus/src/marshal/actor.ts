/** The marshal's Effect shell: mailbox, writes, fetches, delivery. */
import type { Storage } from "@coppice/storage"
import type { Effect, Scope } from "effect"
import type { Block } from "../block.ts"
import type { MarshalFailure } from "../errors.ts"
import type { Marshal, MarshalOptions } from "./marshal.ts"

/** Opens the marshal's environment, creating it for a new chain, and runs it until the scope closes. */
export declare const makeMarshal: <B extends Block>(
  options: MarshalOptions<B>,
) => Effect.Effect<Marshal<B>, MarshalFailure, Storage | Scope.Scope>

/** The maps that a marshal's environment must be opened with. */
export declare const MARSHAL_MAPS: ReadonlyArray<string>
