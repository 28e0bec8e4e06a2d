/** Errors of the command in the words of the person who has to act. */
import { type Explanation, explain, type ListenFailed, type NodeFailure, type NodeOpenError } from "@coppice/node"
import type { VerdictsDiverged } from "@coppice/simulate"
import type { NotSettled } from "./devnet/devnet.ts"
import type { HomeRefused } from "./devnet/home.ts"
import type { RootsDiffer } from "./devnet/verify.ts"

type Known = NodeOpenError | NodeFailure | ListenFailed | HomeRefused | NotSettled | RootsDiffer | VerdictsDiverged

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
    default:
      return explain(error)
  }
}
