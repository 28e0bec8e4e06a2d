/**
 * `coppice replay`: executes the block of a divergence bundle again, over what the node's databases answered, and names
 * the first operation that differs.
 *
 * Invariant: reads one file and changes nothing. The node that wrote it, and its databases, are not needed.
 */
import { readFile } from "node:fs/promises"
import { resolve } from "node:path"
import { pathToFileURL } from "node:url"
import type { Block } from "@coppice/consensus"
import { nodeHasher } from "@coppice/crypto/node"
import type { Application, Databases } from "@coppice/stateful"
import {
  type BatchCall,
  type Divergence,
  type PlainTarget,
  type Replayed,
  readDivergence,
  replayDivergence,
} from "@coppice/stateful/diagnosis"
import { makeLedger } from "@coppice-apps/ledger"
import { Console, Data, Effect, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { readHome } from "../devnet/home.ts"
import { makeLedgerChain } from "../devnet/ledger-chain.ts"
import { REPLAY_CALLS_SHOWN } from "../limits.ts"

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
  { application, chain }: Divergence,
  module: Option.Option<string>,
  data: Option.Option<string>,
): Effect.Effect<AnyApplication, ReplayRefused | Effect.Error<ReturnType<typeof ledgerOf>>> => {
  if (Option.isSome(module)) return applicationOf(module.value)
  if (application === "ledger") return ledgerOf(chain, data)
  const advice = "Give the module that exports it: --application MODULE."
  return new ReplayRefused({ reason: `this program does not have the application ${application}`, advice })
}

const callWords = (call: BatchCall | undefined, end: string): string => {
  if (call === undefined) return end
  const { member, method, args } = call
  return `${member}.${method}${args === undefined ? "" : `(${args.map((arg) => JSON.stringify(arg)).join(", ")})`}`
}

const rootOf = (target: PlainTarget | undefined): string => target?.canonical ?? target?.root ?? "none"

const stateLines = ({ members }: Divergence): ReadonlyArray<string> =>
  members.flatMap(({ name, parent, header, states, appended }) => [
    `  ${name}`,
    `    parent     ${rootOf(parent)}`,
    `    header     ${rootOf(header)}`,
    ...states.map((state, i) => `    execution ${i + 1} ${rootOf(state)}`),
    `    appended   ${appended ?? "no"} operations`,
  ])

const contextLines = ({ calls }: Divergence, at: number): ReadonlyArray<string> => {
  const from = Math.max(0, at - REPLAY_CALLS_SHOWN)
  return calls.slice(from, at).map((call, i) => `  ${from + i}  ${callWords(call, "")}`)
}

const verdictLines = (bundle: Divergence, found: Replayed): ReadonlyArray<string> => {
  switch (found.tag) {
    case "differs":
      return [
        `first difference: call ${found.at} of ${bundle.calls.length}`,
        ...contextLines(bundle, found.at),
        `  ${found.at}  recorded  ${callWords(found.recorded, "(the end)")}`,
        `  ${found.at}  here      ${callWords(found.replayed, "(the end)")}`,
      ]
    case "ended":
      return [
        `all ${found.calls} calls are the same; then it was ${found.recorded} there and is ${found.replayed} here`,
      ]
    case "reproduced":
      return [
        `all ${found.calls} calls are the same, and so is the end: this is the code that was recorded`,
        "either it is wrong, or the header lies, or the state below the block differs: compare the roots of the parent",
      ]
    case "cut":
      return [`the record was cut after ${found.calls} calls; up to there nothing differs`]
  }
}

const linesOf = (bundle: Divergence, found: Replayed): ReadonlyArray<string> => [
  `block ${bundle.height} ${bundle.digest} of ${bundle.application} on chain ${bundle.chain}`,
  `  ${bundle.hook} on ${bundle.parent.height} ${bundle.parent.digest}`,
  ...stateLines(bundle),
  ...verdictLines(bundle, found),
]

const run = Effect.fnUntraced(function* (
  file: string,
  module: Option.Option<string>,
  data: Option.Option<string>,
  json: boolean,
) {
  const text = yield* Effect.tryPromise({
    try: () => readFile(file, "utf8"),
    catch: (cause) =>
      new ReplayRefused({ reason: `${file} cannot be read: ${cause}`, advice: "Name a file that can." }),
  })
  const bundle = yield* readDivergence(text)
  const found = yield* replayDivergence(yield* choose(bundle, module, data), bundle)
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
      Flag.withDescription("Module that exports the application to execute with (default: the ledger)"),
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
