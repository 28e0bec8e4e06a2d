/**
 * The process that is killed: one validator on real storage, under simulated consensus, that says what it does.
 *
 *   argv   directory, seed          fd 3   one line per event, written before anything else happens
 *
 *   up HEIGHT            the node runs and stands at a durable height
 *   begin / end          a flush of the databases was handed to storage / is durable
 *   durable HEIGHT       the block's effects are acknowledged
 *
 * Invariant: `durable` is written only after the flush that covers the block has succeeded: what it says must be there
 * after any kill.
 */
import { writeSync } from "node:fs"
import { createParticipants, keyPairFromSeed } from "@coppice/crypto"
import { nodeEd25519, nodeHasher } from "@coppice/crypto/node"
import { explain, keepSecret, nodePaths, type OpenEnvironment, openNode } from "@coppice/node"
import { DEFAULT_SCHEDULE, makeBlockNetwork, makeSimulatedConsensus } from "@coppice/simulate"
import { openLmdb } from "@coppice/storage/lmdb"
import { Effect, References, Runtime } from "effect"
import { type CellsBlock, makeCells, makeStrokes } from "../cells/cells.ts"
import { CHAIN_ID, LIMITS, TORTURE_SECRET, WORKLOAD } from "./site.ts"

const PIPE = 3
const NONCES_PER_PROCESS = 1_000_000_000n
const [directory = "", seedText = "0"] = process.argv.slice(2)
const seed = Number(seedText)

const tell = (line: string): void => void writeSync(PIPE, `${line}\n`)

/** LMDB that says when a flush of the databases begins and ends. */
const openTelling: OpenEnvironment = (options) =>
  Effect.map(openLmdb(options), (storage) => {
    if (options.scratch === true || !options.directory.includes("/sets/")) return storage
    return {
      ...storage,
      write: (changes) =>
        Effect.sync(() => tell("begin")).pipe(
          Effect.andThen(storage.write(changes)),
          Effect.tap(() => Effect.sync(() => tell("end"))),
        ),
    }
  })

const main = Effect.gen(function* () {
  const secret = yield* keepSecret(nodePaths(directory), Effect.succeed(TORTURE_SECRET))
  const keys = keyPairFromSeed(nodeEd25519, secret)
  const network = makeBlockNetwork({ latencyMs: { min: 0, max: 1 }, lossChance: 0 })
  const strokes = makeStrokes(WORKLOAD, BigInt(seed) * NONCES_PER_PROCESS)
  const application = makeCells(nodeHasher, strokes, ({ height }) => tell(`durable ${height}`))
  const node = yield* openNode({
    directory,
    application,
    chainId: CHAIN_ID,
    participants: createParticipants([keys.publicKey]),
    transport: network.transport(keys.publicKey),
    openEnvironment: openTelling,
    limits: LIMITS,
  })
  tell(`up ${node.set.durable.height}`)
  const consensus = yield* makeSimulatedConsensus<CellsBlock>({
    chainId: CHAIN_ID,
    genesis: node.genesis,
    codec: application.codec,
    validators: [keys],
    ed25519: nodeEd25519,
    seed,
    schedule: { ...DEFAULT_SCHEDULE, corruptChance: 0, viewMs: 1, latencyMs: { min: 0, max: 1 }, restarts: undefined },
  })
  yield* consensus.join(0, { executor: node.executor.port, marshal: node.marshal })
  return yield* Effect.raceFirst(consensus.run, node.failed)
}).pipe(Effect.scoped, Effect.provideService(References.LogToStderr, true))

const reported = Effect.tapError(main, (error) =>
  Effect.sync(() => console.error(error._tag === "VerdictsDiverged" ? error : explain(error).what)),
)

Runtime.makeRunMain(({ fiber }) => fiber.addObserver(() => process.exit(1)))(reported)
