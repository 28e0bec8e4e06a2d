/**
 * The `current` family: the keyed family whose states have grafts, a target with the canonical root, and proofs against it.
 *
 * Invariant: pruning stops at the sync boundary, so that whoever syncs from there can compute the canonical root.
 */
import { Location } from "@coppice/merkle"
import type { CurrentFormat } from "@coppice/verify"
import { syncBoundary } from "@coppice/verify/grafting"
import type { KeyedReader } from "../keyed-reader.ts"
import { CurrentProver } from "./current-proofs.ts"
import type { Family } from "./family.ts"
import type { KeyedBatch } from "./keyed-batch.ts"
import { type KeyedKind, keyedFamily } from "./keyed-family.ts"
import type { IndexPart, KeyedState } from "./keyed-state.ts"
import type { LogState } from "./log-state.ts"
import { targetOf } from "./log-state.ts"

/** The `current` family of a format. `proofs` picks from a prover those that its reader has. */
export const currentFamily = <K, V, B extends KeyedBatch<K, V>, R extends KeyedReader<K, V>, P extends object>(
  format: CurrentFormat<K, V>,
  kind: KeyedKind<K, V, B, R>,
  proofs: (prover: CurrentProver<K, V>, reader: R) => P,
): Family<B, R & P, KeyedState, IndexPart> => {
  const { grafting } = format
  const proving: KeyedKind<K, V, B, R & P> = {
    ...kind,
    readerOf: (index) => {
      const reader = kind.readerOf(index)
      return Object.assign(reader, proofs(new CurrentProver(index.core, format, reader), reader))
    },
  }
  const keyed = keyedFamily(format, proving, grafting)
  const boundary = ({ size, floor }: LogState): Location => syncBoundary(grafting, Location(size), Location(floor))
  return {
    ...keyed,
    canonical: true,
    targetOf: (state) => ({
      ...targetOf(state),
      start: boundary(state),
      canonical: state.current!.canonical.root,
    }),
    prunable: boundary,
  }
}
