/**
 * `coppice devnet`: validators on this machine, live in the terminal.
 *
 * Invariant: with `--json` standard output holds one line of JSON and nothing else. Its roots were read from the
 * validators' environments after they had stopped, and are those of the block at its height.
 */
import { Height } from "@coppice/consensus"
import { toHex } from "@coppice/node"
import type { LedgerBlock } from "@coppice-apps/ledger"
import { Clock, Console, Effect, Option, Schema } from "effect"
import { Command, Flag } from "effect/cli"
import { type Devnet, type DevnetOptions, openDevnet } from "../devnet/devnet.ts"
import { rootOnDisk } from "../devnet/verify.ts"
import { makeWatch, SAMPLE_HEAD, sampleLine, type Watch } from "../devnet/watch.ts"
import { LOAD_PER_SECOND_MAX, VALIDATORS_MAX } from "../limits.ts"
import { listenForStop } from "../signals.ts"
import { DEFAULT_DATA, DEFAULT_PORT, dataFlag } from "./flags.ts"

const HEAD_EVERY_LINES = 25
const POLL_MS = 20

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const flags = {
  data: dataFlag,
  port: Flag.Int("port").pipe(
    Flag.withSchema(between(0, 65_535)),
    Flag.withDescription("Port of the first validator, the others follow; 0 takes free ones (default: 7070)"),
    Flag.withDefault(DEFAULT_PORT),
  ),
  load: Flag.Int("load").pipe(
    Flag.withSchema(between(0, LOAD_PER_SECOND_MAX)),
    Flag.withDescription("Transfers per second; 0 for none (default: 400)"),
    Flag.withDefault(400),
  ),
  validators: Flag.Int("validators").pipe(
    Flag.withSchema(between(1, VALIDATORS_MAX)),
    Flag.withDescription(`Validators of a new devnet, 1 to ${VALIDATORS_MAX} (default: 4)`),
    Flag.optional,
  ),
  seed: Flag.Int("seed").pipe(
    Flag.withSchema(between(0, Number.MAX_SAFE_INTEGER)),
    Flag.withDescription("Makes keys of a new devnet and the script of consensus reproducible"),
    Flag.optional,
  ),
  blocks: Flag.Int("blocks").pipe(
    Flag.withSchema(between(1, Number.MAX_SAFE_INTEGER)),
    Flag.withDescription("Stop after at least this many more final blocks"),
    Flag.optional,
  ),
  development: Flag.Boolean("development").pipe(
    Flag.withDescription(
      "Nodes execute every block twice, in shuffled time, chance and order, and assert the order of calls",
    ),
    Flag.withDefault(false),
  ),
  json: Flag.Boolean("json").pipe(
    Flag.withDescription("One line of JSON at the end on standard output, progress on standard error"),
    Flag.withDefault(false),
  ),
}

type Say = (line: string) => Effect.Effect<void>

const welcome = ({ home, validators, chain }: Devnet, height: number): ReadonlyArray<string> => {
  const first = validators[0]!.listening.url
  const { host, port } = validators[0]!.listening
  const person = toHex(chain.people[0]!.publicKey)
  const where = `${home.directory === DEFAULT_DATA ? "" : ` --data ${home.directory}`}${port === DEFAULT_PORT ? "" : ` --url ${first}`}`
  return [
    `coppice devnet   ${home.chainId}, ${validators.length} validators, ${home.isNew ? "new" : `goes on at height ${height}`}`,
    `data             ${home.directory}`,
    `API              ${validators.map(({ listening }) => listening.url).join("  ")}`,
    `page             ${first}/   verifies a balance in your browser`,
    `documentation    ${first}/docs`,
    `try              curl ${host}:${port}/status`,
    `                 curl ${host}:${port}/blocks/latest`,
    `                 curl ${host}:${port}/accounts/${person}`,
    `send             npm run -s coppice -- transfer --amount 5${where} |`,
    `                   curl -d @- -H 'content-type: application/json' ${host}:${port}/transfers`,
    "stop             Ctrl-C; the same command goes on where it stopped",
    "",
  ]
}

const showSamples = (watch: Watch, say: Say): Effect.Effect<never> =>
  Effect.gen(function* () {
    for (let line = 0; ; line++) {
      yield* Effect.sleep(1000)
      if (line % HEAD_EVERY_LINES === 0) yield* say(SAMPLE_HEAD)
      yield* say(sampleLine(yield* watch.sample))
    }
  })

const until = (devnet: Devnet, watch: Watch, height: number): Effect.Effect<void> =>
  Effect.gen(function* () {
    while ((yield* devnet.height) < height) {
      yield* Effect.sleep(POLL_MS)
      yield* watch.follow
    }
  })

/** What a run came to; blocks are the last block as each validator holds it. */
interface Outcome {
  readonly devnet: Devnet
  readonly start: number
  readonly height: number
  readonly seconds: number
  readonly transfers: number
  readonly blocks: ReadonlyArray<LedgerBlock>
}

const settled = Effect.fnUntraced(function* (devnet: Devnet, watch: Watch, start: number, startMs: number) {
  const height = yield* devnet.settle
  const seconds = ((yield* Clock.currentTimeMillis) - startMs) / 1000
  const transfers = yield* watch.follow
  const blocks = yield* Effect.forEach(devnet.nodes(), ({ marshal, genesis }) =>
    height === 0 ? Effect.succeed(genesis) : Effect.map(marshal.finalizedAt(Height(height)), (block) => block!),
  )
  const outcome: Outcome = { devnet, start, height, seconds, transfers, blocks }
  return outcome
})

const summary = Effect.fnUntraced(function* ({ devnet, start, height, seconds, transfers, blocks }: Outcome) {
  const { home, chain, validators } = devnet
  const roots = yield* Effect.forEach(validators, ({ directory, index }) =>
    rootOnDisk(directory, chain.ledger, blocks[index]!),
  )
  const counts = yield* Effect.forEach(validators, (validator) => validator.counts)
  const { forks, restarts, nullified } = yield* devnet.statistics
  return {
    blocks: height - start,
    transfers,
    seconds: Number(seconds.toFixed(3)),
    height,
    roots,
    forksPruned: counts.reduce((sum, { forksPruned }) => sum + forksPruned, 0),
    replayed: counts.reduce((sum, { replayed }) => sum + replayed, 0),
    blocksPerSecond: Number(((height - start) / seconds).toFixed(1)),
    transfersPerSecond: Number((transfers / seconds).toFixed(1)),
    digest: toHex(blocks[0]!.digest),
    forks,
    nullified,
    restarts,
    validators: validators.length,
    chain: home.chainId,
    data: home.directory,
  }
})

const run = Effect.fnUntraced(function* (options: DevnetOptions, blocks: number | undefined, json: boolean) {
  const say: Say = json ? Console.error : Console.log
  const asked = yield* listenForStop
  const outcome = yield* Effect.scoped(
    Effect.gen(function* () {
      const devnet = yield* openDevnet(options)
      const startMs = yield* Clock.currentTimeMillis
      const start = yield* devnet.height
      const watch = yield* makeWatch(devnet)
      for (const line of welcome(devnet, start)) yield* say(line)
      const end = blocks === undefined ? Effect.never : until(devnet, watch, start + blocks)
      const reason = yield* Effect.raceAllFirst([
        Effect.as(end, "reached" as const),
        Effect.as(asked, "asked" as const),
        showSamples(watch, say),
        devnet.failed,
      ])
      return reason === "asked" && !json ? undefined : yield* settled(devnet, watch, start, startMs)
    }),
  )
  if (outcome === undefined) return yield* say("stopped; the same command goes on")
  const result = yield* summary(outcome)
  if (json) return yield* Console.log(JSON.stringify(result))
  yield* say(`stopped at height ${result.height}: ${result.blocks} blocks, ${result.transfers} transfers`)
  yield* say(`state root ${result.roots[0]} on each of ${result.validators} validators, as in block ${result.height}`)
})

/** The command. */
export const devnet = Command.make(
  "devnet",
  flags,
  ({ data, port, load, validators, seed, blocks, development, json }) =>
    run(
      {
        directory: data,
        port,
        load,
        development,
        ...(Option.isSome(validators) ? { validators: validators.value } : {}),
        ...(Option.isSome(seed) ? { seed: seed.value } : {}),
      },
      Option.getOrUndefined(blocks),
      json,
    ),
).pipe(Command.withDescription("Run validators on this machine under simulated consensus, with an HTTP API and a load"))
