/**
 * Goal: a planted bug on one node leaves a file, from which `coppice replay` names the first operation that went wrong.
 * Method: a node with the bug judges a block of the sound application; the command runs in a process of its own.
 */
import { readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { type Block, type ConsensusContext, Height, Round } from "@coppice/consensus"
import { createParticipants, keyPairFromSeed } from "@coppice/crypto"
import { nodeEd25519, nodeHasher } from "@coppice/crypto/node"
import { keepSecret, nodePaths, openNode } from "@coppice/node"
import { makeBlockNetwork } from "@coppice/simulate"
import {
  type Application,
  type Databases,
  DIVERGENCE_FILE_BYTES_MAX,
  openDatabaseSet,
  SET_MAPS,
} from "@coppice/stateful"
import { makeMemoryDisk } from "@coppice/storage"
import { it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { expect } from "vitest"
import { openHome } from "../src/devnet/home.ts"
import { makeLedgerChain } from "../src/devnet/ledger-chain.ts"
import { runToEnd, temporaryDirectory } from "./support/cli.ts"
import { faulty } from "./support/divergence-app-faulty.ts"
import { sound } from "./support/divergence-app-sound.ts"

const TRANSACTIONS = [
  { name: "a", amount: 1n },
  { name: "bad", amount: 2n },
]

/** The targets after the transactions, as the sound application has them. */
const soundTargets = Effect.gen(function* () {
  const storage = yield* makeMemoryDisk({ chance: () => 0 }).open("set", SET_MAPS)
  const set = yield* openDatabaseSet({
    application: sound,
    chainId: "replay",
    hasher: nodeHasher,
    storage,
    pendingAcksMax: 1,
  })
  const batches = set.openBatches(set.tip)
  for (const { name, amount } of TRANSACTIONS) batches.counts.put(name, amount)
  return (yield* set.seal(batches)).targets
})

type Judged<B extends Block> = (context: ConsensusContext, genesis: B) => Effect.Effect<B, unknown, Scope.Scope>

/** The file that a node leaves of a block at height 1 that it refuses. */
const refusedBy = Effect.fnUntraced(function* <B extends Block, M extends Databases>(
  directory: string,
  application: Application<B, M>,
  judged: Judged<B>,
) {
  const secret = yield* keepSecret(nodePaths(directory), Effect.succeed(new Uint8Array(32).fill(5)))
  const { publicKey } = keyPairFromSeed(nodeEd25519, secret)
  const node = yield* openNode({
    directory,
    application,
    chainId: "replay",
    participants: createParticipants([publicKey]),
    transport: makeBlockNetwork({ latencyMs: { min: 0, max: 1 }, lossChance: 0 }).transport(publicKey),
  })
  const { genesis, executor } = node
  const context = {
    round: Round(0, 1),
    leader: publicKey,
    parent: { view: genesis.context.round.view, digest: genesis.digest },
  }
  const block = yield* judged(context, genesis)
  const walk = [block, genesis].values()
  expect(yield* executor.port.verify(context, { next: Effect.sync(() => walk.next().value) })).toBe(false)
  return join(node.paths.divergence, readdirSync(node.paths.divergence)[0]!)
}, Effect.scoped)

/** The file that a node with the bug leaves of a sound block. */
const planted = (directory: string) =>
  refusedBy(directory, faulty, (context) =>
    Effect.map(soundTargets, (targets) => sound.blocks.make({ height: Height(1), context, targets }, TRANSACTIONS)),
  )

const module = (name: string): string => join(import.meta.dirname, "support", name)

it.live("the right code names the first operation that differs, the wrong code says that it is the one recorded", () =>
  Effect.gen(function* () {
    const file = yield* planted(yield* temporaryDirectory)
    const right = yield* runToEnd("replay", file, "--application", module("divergence-app-faulty.ts"), "--json")
    expect(JSON.parse(right.out)).toMatchObject({
      ended: { recorded: "sealed", replayed: "sealed" },
      state: { isHeader: false, equals: [0, 1], differences: [], damaged: [] },
    })
    const { out, err, code } = yield* runToEnd("replay", file, "--application", module("divergence-app-sound.ts"))
    expect(err).toBe("")
    expect(code).toBe(0)
    expect(out).toContain("first difference: call 3 of 4")
    expect(out).toContain('3  recorded  counts.put("bad", {"$int":"3"})')
    expect(out).toContain('3  here      counts.put("bad", {"$int":"2"})')
    expect(out).toContain("first differing operation of counts: location 2")
    expect(out).toMatch(/recorded {2}.*"key":"bad".*"value":\{"\$int":"3"\}/)
    expect(out).toMatch(/here {6}.*"key":"bad".*"value":\{"\$int":"2"\}/)
    expect(out).toContain("the state here is what the header says: the code that was recorded is at fault")
  }).pipe(Effect.scoped),
)

it.live("a file that is no bundle, and a module that is no application, are refused in a sentence", () =>
  Effect.gen(function* () {
    const directory = yield* temporaryDirectory
    const bundle = yield* planted(join(directory, "node"))
    const [cut, long] = [join(directory, "cut.json"), join(directory, "long.json")]
    const whole = readFileSync(bundle)
    writeFileSync(cut, whole.subarray(0, whole.length / 2))
    writeFileSync(long, "")
    truncateSync(long, DIVERGENCE_FILE_BYTES_MAX + 1)
    const cases = [
      ["is cut", cut],
      ["a bundle has at most", long],
      ["does not load", bundle, "--application", join(directory, "missing.ts")],
      ["does not have the application counters", bundle],
    ] as const
    for (const [why, ...args] of cases) {
      const { err, code } = yield* runToEnd("replay", ...args)
      expect(code, err).toBe(1)
      expect(err).toMatch(/^coppice: .*\n? .*/)
      expect(err).toContain(why)
      expect(err).not.toContain("    at ")
    }
  }).pipe(Effect.scoped),
)

it.live("the ledger needs no module, and for height 1 the devnet that it is from", () =>
  Effect.gen(function* () {
    const data = yield* temporaryDirectory
    const { accountsSeed, validators } = yield* Effect.scoped(openHome({ directory: data }))
    const { application } = makeLedgerChain("replay", accountsSeed, validators).ledger
    const file = yield* refusedBy(yield* temporaryDirectory, application, (context, { targets }) =>
      Effect.succeed(application.blocks.make({ height: Height(1), context, targets }, [])),
    )
    const known = yield* runToEnd("replay", file, "--data", data, "--json")
    expect(JSON.parse(known.out)).toMatchObject({ state: { equals: [0, 1], damaged: [] } })
    const unknown = yield* runToEnd("replay", file, "--json")
    expect(JSON.parse(unknown.out)).toMatchObject({
      calls: { tag: "call", recorded: { member: "accounts", method: "put" } },
      state: { equals: [], differences: [{ member: "accounts", tag: "operation" }] },
    })
  }).pipe(Effect.scoped),
)
