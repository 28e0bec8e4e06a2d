/**
 * `coppice replay`: executes the block of a divergence bundle again, over the state that the bundle has of the block's parent,
 * and names the first call and the first operation that differ.
 *
 * Invariant: reads one file and changes nothing. The node that wrote it, and its databases, are not needed.
 */
import { readFile, stat } from "node:fs/promises"
import { resolve } from "node:path"
import { pathToFileURL } from "node:url"
import type { Block } from "@coppice/consensus"
import { nodeHasher } from "@coppice/crypto/node"
import { SCENARIO_APPLICATIONS } from "@coppice/simulate/scenarios"
import { type Application, type Databases, DIVERGENCE_FILE_BYTES_MAX } from "@coppice/stateful"
import { type Divergence, readDivergence, replayDivergence } from "@coppice/stateful/diagnosis"
import { makeLedger } from "@coppice-apps/ledger"
import { Console, Data, Effect, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { readHome } from "../devnet/home.ts"
import { makeLedgerChain } from "../devnet/ledger-chain.ts"
import { linesOf } from "../replay-words.ts"

/** A bundle, or the application to execute it with, could not be had. */
export class ReplayRefused extends Data.TaggedError("ReplayRefused")<{
  readonly reason: string
  readonly advice: string
}> {}

type AnyApplication = Application<Block, Databases>

const isApplication = (value: unknown): value is AnyApplication =>
  typeof value === "object" && value !== null && "apply" in value && "syncTargets" in value && "databases" in value

/** The application that a module exports, under whatever name. */
const applicationOf = (module: string) =>
  Effect.flatMap(
    Effect.tryPromise({
      try: () => import(pathToFileURL(resolve(module)).href) as Promise<Readonly<Record<string, unknown>>>,
      catch: (cause) =>
        new ReplayRefused({ reason: `${module} does not load: ${cause}`, advice: "Name a module that does." }),
    }),
    (exports) => {
      const found = Object.values(exports).filter(isApplication)
      if (found.length === 1) return Effect.succeed(found[0]!)
      const reason = `${module} exports ${found.length} applications`
      return new ReplayRefused({ reason, advice: "Name a module that exports exactly one." })
    },
  )

/** The ledger of a chain. What its accounts hold at height 1 is a matter of the devnet it belongs to. */
const ledgerOf = Effect.fnUntraced(function* (chain: string, data: Option.Option<string>) {
  const home = Option.isNone(data) ? undefined : yield* readHome(data.value)
  const ledger =
    home === undefined
      ? makeLedger({ chainId: chain, allocations: [], hasher: nodeHasher })
      : makeLedgerChain(chain, home.accountsSeed, home.validators).ledger
  return ledger.application as unknown as AnyApplication
})

const choose = (
  { application, chain, members }: Divergence,
  module: Option.Option<string>,
  data: Option.Option<string>,
): Effect.Effect<AnyApplication, ReplayRefused | Effect.Error<ReturnType<typeof ledgerOf>>> => {
  if (Option.isSome(module)) return applicationOf(module.value)
  const names = members.map(({ name }) => name).join()
  const hasMembers = (databases: Databases): boolean => Object.keys(databases).join() === names
  if (application === "ledger") return ledgerOf(chain, data)
  const own = SCENARIO_APPLICATIONS.find(({ name, databases }) => name === application && hasMembers(databases))
  if (own !== undefined) return Effect.succeed(own as unknown as AnyApplication)
  const advice = "Give the module that exports it: --application MODULE."
  return new ReplayRefused({ reason: `this program does not have the application ${application}`, advice })
}

/** The text of a file that may be a bundle. */
const textOf = Effect.fnUntraced(function* (file: string) {
  const reading = <A>(read: () => Promise<A>) =>
    Effect.tryPromise({
      try: read,
      catch: (cause) =>
        new ReplayRefused({ reason: `${file} cannot be read: ${cause}`, advice: "Name a file that can." }),
    })
  const { size } = yield* reading(() => stat(file))
  if (size > DIVERGENCE_FILE_BYTES_MAX) {
    const reason = `${file} has ${size} bytes, a bundle has at most ${DIVERGENCE_FILE_BYTES_MAX}`
    return yield* new ReplayRefused({ reason, advice: "Name a file that a node wrote." })
  }
  return yield* reading(() => readFile(file, "utf8"))
})

const run = Effect.fnUntraced(function* (
  file: string,
  module: Option.Option<string>,
  data: Option.Option<string>,
  json: boolean,
) {
  const bundle = yield* readDivergence(yield* textOf(file))
  const found = yield* replayDivergence(yield* choose(bundle, module, data), bundle, nodeHasher)
  if (json) return yield* Console.log(JSON.stringify(found))
  for (const line of linesOf(bundle, found)) yield* Console.log(line)
})

/** The command. */
export const replay = Command.make(
  "replay",
  {
    file: Argument.String("FILE").pipe(
      Argument.withDescription("A divergence bundle, from a node's directory divergence"),
    ),
    application: Flag.String("application").pipe(
      Flag.withMetavar("MODULE"),
      Flag.withDescription(
        "Module that exports the application to execute with (default: the ledger, or that of the simulated scenarios)",
      ),
      Flag.optional,
    ),
    data: Flag.String("data").pipe(
      Flag.withMetavar("DIR"),
      Flag.withDescription("Devnet that the bundle is from: it knows what accounts hold at height 1"),
      Flag.optional,
    ),
    json: Flag.Boolean("json").pipe(Flag.withDescription("One line of JSON"), Flag.withDefault(false)),
  },
  ({ file, application, data, json }) => run(file, application, data, json),
).pipe(
  Command.withDescription("Execute the block of a divergence bundle again, and name the first operation that differs"),
)
