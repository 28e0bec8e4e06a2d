/**
 * What ties an application to an environment: its genesis on a chain, and the identity derived from it.
 *
 * Invariant: genesis commits to exactly the targets of freshly created databases (INV-39).
 */
import type { Block } from "@coppice/consensus"
import type { Hasher } from "@coppice/crypto"
import type { Application } from "./application.ts"
import type { Databases } from "./database-set.ts"
import { GenesisTargetsMismatch } from "./errors.ts"
import { NAME_BYTES_MAX } from "./limits.ts"
import type { SetIdentity } from "./root-record.ts"
import { initialTargets, memberNames, targetsEqual } from "./targets.ts"

/** What identifies a set: the part of an application that its environment is bound to, and the chain. */
export interface SetBinding<B extends Block, M extends Databases> {
  readonly application: Pick<Application<B, M>, "name" | "databases" | "genesis" | "syncTargets">
  /** Name of the network, at most 64 bytes of UTF-8. */
  readonly chainId: string
  readonly hasher: Hasher
}

/** An application's first block on a chain, and what its environment is marked with. */
export interface BoundSet<B extends Block> {
  readonly genesis: B
  readonly identity: SetIdentity
}

const APPLICATION_NAME = /^[a-z][a-z0-9-]*$/

/**
 * The genesis block of an application and the identity of its set. Pure.
 *
 * Errors: throws `GenesisTargetsMismatch` when genesis does not commit to fresh databases (F37), RangeError for a bad name.
 */
export const bindSet = <B extends Block, M extends Databases>(binding: SetBinding<B, M>): BoundSet<B> => {
  const { application, chainId, hasher } = binding
  if (!APPLICATION_NAME.test(application.name) || application.name.length > NAME_BYTES_MAX) {
    throw new RangeError(`application name ${JSON.stringify(application.name)} does not match ${APPLICATION_NAME}`)
  }
  const names = memberNames(application.databases)
  const initial = initialTargets(application.databases, hasher)
  const genesis = application.genesis(initial)
  const declared = application.syncTargets(genesis)
  for (const member of names) {
    const [expected, actual] = [initial[member], declared[member]]
    if (actual === undefined || !targetsEqual(expected, actual)) {
      throw new GenesisTargetsMismatch({ member, expected, actual })
    }
  }
  return {
    genesis,
    identity: {
      chainId,
      genesis: genesis.digest,
      application: application.name,
      members: names.map((name) => {
        const { format, canonical } = application.databases[name]!
        return { name, format, canonical, incarnation: 0 }
      }),
    },
  }
}
