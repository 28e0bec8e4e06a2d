/** Errors of the command in the words of the person who has to act. */
import {
  type Explanation,
  explain,
  type ListenFailed,
  type NodeFailure,
  type NodeOpenError,
  type NoNode,
} from "@coppice/node"
import type { VerdictsDiverged } from "@coppice/simulate"
import type { DivergenceUnreadable } from "@coppice/stateful/diagnosis"
import type { ReplayRefused } from "./commands/replay.ts"
import type { SimulationFailed, UnknownScenario } from "./commands/simulate.ts"
import type { Vacuous } from "./commands/torture.ts"
import type { NoDevnet, NodeSilent } from "./commands/transfer.ts"
import type { NotSettled } from "./devnet/devnet.ts"
import type { HomeRefused } from "./devnet/home.ts"
import type { RootsDiffer } from "./devnet/verify.ts"
import type { NotWritten } from "./simulate/regression-files.ts"
import type { Damaged } from "./torture/check.ts"
import type { ChildFailed } from "./torture/supervisor.ts"

type Known =
  | NodeOpenError
  | NodeFailure
  | ListenFailed
  | HomeRefused
  | NotSettled
  | RootsDiffer
  | VerdictsDiverged
  | Vacuous
  | Damaged
  | ChildFailed
  | SimulationFailed
  | UnknownScenario
  | NotWritten
  | NoDevnet
  | NoNode
  | NodeSilent
  | ReplayRefused
  | DivergenceUnreadable

const isTagged = (error: unknown): error is Known => error instanceof Error && "_tag" in error

/** Explains a failure; undefined for what no person can settle. */
export const explainFailure = (error: unknown): Explanation | undefined => {
  if (!isTagged(error)) return undefined
  switch (error._tag) {
    case "HomeRefused":
      return { what: `${error.directory}: ${error.reason}`, advice: error.advice }
    case "NotSettled":
      return {
        what: `not every validator came to height ${error.expected}: ${error.durable.join(", ")}`,
        advice: "Nothing is lost; start again. If it happens again, the machine is too busy or this is a defect.",
      }
    case "RootsDiffer":
      return {
        what: `${error.directory} at height ${error.height}: ${error.member} is ${error.actual}, expected ${error.expected}`,
        advice: "The application is not deterministic, or this is a defect: keep the directory and report it.",
      }
    case "VerdictsDiverged":
      return {
        what: `validators ${error.accepted.join(", ")} accept a block that ${error.refused.join(", ")} refuse`,
        advice: "The application is not deterministic: look for clocks, chance and state outside the databases.",
      }
    case "Vacuous":
      return {
        what: `only ${error.inside} of ${error.kills} kills hit a flush: the run shows too little`,
        advice: "Run it again on a machine that is less busy, or with more kills.",
      }
    case "Damaged":
    case "ChildFailed":
      return {
        what: `${error.directory}: ${error.what}`,
        advice: "This is a defect: keep the directory and report it.",
      }
    case "SimulationFailed":
      return {
        what: `${error.scenario}: ${error.failed.length === 0 ? "not everything happened that it is about" : `seeds ${error.failed.join(", ")} failed`}`,
        advice: error.failed.length === 0 ? "Run it with more seeds." : error.advice,
      }
    case "UnknownScenario":
      return { what: `there is no scenario ${error.scenario}`, advice: "npm run simulate lists them." }
    case "NotWritten":
      return {
        what: `nothing can be written to ${error.directory}: ${error.cause.message}`,
        advice: "Name a directory that belongs to you: --write DIR.",
      }
    case "NoDevnet":
      return {
        what: `there is no devnet in ${error.directory}`,
        advice: "Start one with npm start, or name it with --data.",
      }
    case "NodeSilent":
      return {
        what: `no answer from ${error.url}: ${error.cause instanceof Error ? error.cause.message : String(error.cause)}`,
        advice: "Start the devnet, name a validator with --url, or give the --nonce yourself.",
      }
    case "ReplayRefused":
      return { what: error.reason, advice: error.advice }
    case "DivergenceUnreadable":
      return {
        what: `the file is no divergence bundle for this application: ${error.reason}`,
        advice: "Name a file that this version of the program wrote, and the application it is about.",
      }
    default:
      return explain(error)
  }
}
